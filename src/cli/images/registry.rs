//! `pull`, `push`, `login`, `logout`: what passes between the store and registries.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cli::progress::Watch;
use crate::cli::request::{chosen, platform, pull_policy};
use crate::cli::{Context, Verb, failure};
use crate::engine::request::PullPolicy;
use crate::image::auth::{self, Credentials};
use crate::image::registry::{self, Access};
use crate::image::{Digest, Layout, LoadedImage, Reference, pull, push};

/// How a registry is reached.
#[derive(Debug, Args)]
pub struct Reach {
    /// Insist on HTTPS and check certificates; =false: take plain HTTP and any certificate
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    tls_verify: Option<bool>,
    /// Credentials, instead of those that login stored
    #[arg(long, value_name = "USER[:PASSWORD]", value_parser = credentials)]
    creds: Option<Credentials>,
    /// The file that login stores credentials in
    #[arg(long, env = "REGISTRY_AUTH_FILE", hide_env_values = true, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Directory of further certificates
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
}

impl Reach {
    fn access(self) -> Result<Access> {
        let mut access = Access::load()?;
        access.tls_verify = self.tls_verify;
        access.credentials = self.creds;
        access.authfile = self.authfile;
        access.cert_dir = self.cert_dir;
        Ok(access)
    }
}

fn credentials(text: &str) -> Result<Credentials, String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    if user.is_empty() {
        return Err("expected USER:PASSWORD".into());
    }
    Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
}

/// podling pull
#[derive(Debug, Args)]
pub struct Pull {
    #[command(flatten)]
    reach: Reach,
    /// Choose the image for this system: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM", value_parser = platform, conflicts_with_all = ["arch", "os", "variant"])]
    platform: Option<String>,
    /// Choose the image for this architecture
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Choose the image for this operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Choose the image for this variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// When to pull: always, missing, newer, never
    #[arg(long, value_name = "WHEN", value_parser = pull_policy, default_value = "always", hide_default_value = true)]
    policy: PullPolicy,
    /// Print only the id
    #[arg(long, short)]
    quiet: bool,
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Images, by name
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Verb for Pull {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        // Before anything is fetched: unpacking needs the user's ids, and threads may not change namespaces.
        engine.enter(None)?;
        let layout = engine.layout()?;
        let access = self.reach.access()?;
        let platform = chosen(self.os, self.arch, self.variant).or(self.platform);
        let platform = super::platform(platform.as_deref())?;
        let watch = Watch::new(self.quiet);
        let mut status = 0;
        for typed in &self.images {
            let typed = typed.strip_prefix("docker://").unwrap_or(typed);
            let have = || here(&layout, typed, self.policy, &access);
            let pulled = match have() {
                Ok(Some(image)) => Ok(image),
                Ok(None) => pull::pull(&layout, typed, &platform, &access, &watch),
                Err(error) => Err(error),
            };
            match pulled.and_then(|image| super::unpack(&engine, &layout, &image, &watch).map(|()| image)) {
                Ok(image) => drop(failure::print(&format!("{}\n", image.id))?),
                Err(error) => status = failure::report(&error),
            }
        }
        Ok(status)
    }
}

/// The image that is here already, if the policy is content with it.
fn here(layout: &Layout, typed: &str, policy: PullPolicy, access: &Access) -> Result<Option<LoadedImage>> {
    let image = match (policy, layout.find(typed)) {
        (PullPolicy::Always, _) => return Ok(None),
        (PullPolicy::Never, found) => return found.map(Some),
        (_, Err(error)) if super::is_missing(&error) => return Ok(None),
        (_, found) => found?,
    };
    if policy == PullPolicy::Newer {
        let name = image.names.iter().find(|name| name.fits(typed).is_some());
        let newest = name.and_then(|name| pull::current_digest(name, access).ok());
        if newest.is_some_and(|digest: Digest| !image.digests.contains(&digest)) {
            return Ok(None);
        }
    }
    Ok(Some(image))
}

/// podling push
#[derive(Debug, Args)]
pub struct Push {
    #[command(flatten)]
    reach: Reach,
    /// Write the digest it has there to a file
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Say nothing
    #[arg(long, short)]
    quiet: bool,
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    #[arg(long, hide = true)]
    remove_signatures: bool,
    #[arg(long, short, hide = true)]
    format: Option<String>,
    /// Image, by name or by the beginning of its id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where to, if not to the image's own name
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

impl Verb for Push {
    fn run(self, context: &Context) -> Result<i32> {
        let layout = context.engine()?.layout()?;
        let image = layout.find(&self.image)?;
        let name = match &self.destination {
            Some(to) => to.strip_prefix("docker://").unwrap_or(to).parse::<Reference>()?,
            None => match image.names.iter().find(|name| name.fits(&self.image).is_some()) {
                Some(name) => name.clone(),
                None => {
                    return Err(failure::misuse(format!("{} is not a name: say where to push", self.image), "push"));
                }
            },
        };
        let digest = push::push(&layout, &image, &name, &self.reach.access()?, &Watch::new(self.quiet))?;
        if let Some(file) = &self.digestfile {
            std::fs::write(file, digest.to_string()).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(0)
    }
}

/// podling login
#[derive(Debug, Args)]
pub struct Login {
    /// User
    #[arg(long, short, value_name = "USER")]
    username: Option<String>,
    /// Password; others can see it in the list of processes, --password-stdin is better
    #[arg(long, short, value_name = "PASSWORD")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Print who is logged in
    #[arg(long)]
    #[allow(clippy::struct_field_names)] // the flag's name
    get_login: bool,
    /// Insist on HTTPS and check certificates; =false: take plain HTTP and any certificate
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    tls_verify: Option<bool>,
    /// The file that credentials are stored in
    #[arg(long, env = "REGISTRY_AUTH_FILE", hide_env_values = true, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Directory of further certificates
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Say where the credentials are stored
    #[arg(long, short)]
    verbose: bool,
    /// Registry
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// A registry, or a namespace in one, as people write it.
fn host(registry: Option<&str>) -> String {
    let typed = registry.unwrap_or("docker.io");
    let bare = typed.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    bare.to_owned()
}

impl Verb for Login {
    fn run(self, _: &Context) -> Result<i32> {
        let key = host(self.registry.as_deref());
        let authfile = self.authfile.as_deref();
        if self.get_login {
            return match auth::user(&key, authfile)? {
                Some(user) => failure::print(&format!("{user}\n")),
                None => bail!("not logged into {key}"),
            };
        }
        if self.password.is_some() && self.password_stdin {
            return Err(failure::misuse("--password and --password-stdin cannot be used together", "login"));
        }
        if self.password_stdin && self.username.is_none() {
            return Err(failure::misuse("--password-stdin needs --username", "login"));
        }
        let user = match self.username {
            Some(user) => user,
            None => asked("Username: ", Echo::On)?,
        };
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => {
                std::io::read_to_string(std::io::stdin())?.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => asked("Password: ", Echo::Off)?,
        };
        let mut access = Access::load()?;
        access.tls_verify = self.tls_verify;
        access.cert_dir = self.cert_dir;
        let registry = key.split('/').next().unwrap_or_default();
        let credentials = Credentials::Password { user: user.clone(), password: password.clone() };
        registry::verify(registry, credentials, &access).with_context(|| format!("logging into {key:?}"))?;
        let file = auth::store(&key, &user, &password, authfile)?;
        if self.verbose {
            eprintln!("Used: {}", file.display());
        }
        failure::print("Login Succeeded!\n")
    }
}

/// Whether what is typed is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Echo {
    On,
    Off,
}

/// Asks on the terminal.
fn asked(prompt: &str, echo: Echo) -> Result<String> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    let input = std::io::stdin();
    eprint!("{prompt}");
    std::io::stderr().flush()?;
    let before = if echo == Echo::Off && input.is_terminal() { Some(tcgetattr(&input)?) } else { None };
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&input, SetArg::TCSAFLUSH, &silent)?;
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if let Some(before) = &before {
        tcsetattr(&input, SetArg::TCSAFLUSH, before)?;
        eprintln!();
    }
    if read? == 0 {
        bail!("no answer to {:?} on standard input", prompt.trim_end_matches([':', ' ']));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// podling logout
#[derive(Debug, Args)]
pub struct Logout {
    /// From all registries
    #[arg(long, short)]
    all: bool,
    /// The file that credentials are stored in
    #[arg(long, env = "REGISTRY_AUTH_FILE", hide_env_values = true, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Registry
    #[arg(value_name = "REGISTRY", conflicts_with = "all")]
    registry: Option<String>,
}

impl Verb for Logout {
    fn run(self, _: &Context) -> Result<i32> {
        let authfile = self.authfile.as_deref();
        if self.all {
            auth::forget_all(authfile)?;
            return failure::print("Removed login credentials for all registries\n");
        }
        let key = host(self.registry.as_deref());
        if !auth::forget(&key, authfile)? {
            bail!("not logged into {key}");
        }
        failure::print(&format!("Removed login credentials for {key}\n"))
    }
}
