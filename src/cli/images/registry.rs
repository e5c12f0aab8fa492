//! `pull`, `push`, `login`, `logout`: what passes between the store and registries.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cli::failure::hinted;
use crate::cli::progress::Watch;
use crate::cli::request::{Connection, Platform, Reach, pull_policy};
use crate::cli::{Context, Verb, failure};
use crate::engine::events::Type;
use crate::engine::request::{PullPolicy, PullRequest};
use crate::image::auth::{self, Credentials};
use crate::image::convert::{Format, Wishes};
use crate::image::layer::Compression;
use crate::image::reference::DOCKER_IO;
use crate::image::registries::Registries;
use crate::image::{Reference, pull, push, registry};

/// podling pull
#[derive(Debug, Args)]
pub struct Pull {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    platform: Platform,
    /// When to pull: always, missing, newer, never
    #[arg(long, value_name = "WHEN", value_parser = pull_policy, default_value = "always", hide_default_value = true)]
    policy: PullPolicy,
    /// All images that the registry has under the name, which must be without a tag
    #[arg(long, short)]
    all_tags: bool,
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
        let request = PullRequest { policy: self.policy, platform: self.platform.said(), access: self.reach.access() };
        let watch = Watch::new(self.quiet);
        let mut status = 0;
        for typed in &self.images {
            let typed = typed.strip_prefix("docker://").unwrap_or(typed);
            let names = if self.all_tags {
                pull::tags(typed, &request.access.clone().with_files()?)?
            } else {
                vec![typed.to_owned()]
            };
            for name in names {
                let found = match elsewhere(&name) {
                    Some((_, path)) => Err(hinted(
                        format!("{name}: images are pulled from registries only"),
                        format!("podling load --input {path}"),
                    )),
                    None => engine.resolve(&name, &request, &watch),
                };
                match found {
                    Ok(image) => drop(failure::print(&format!("{}\n", image.id))?),
                    Err(error) => status = failure::report(&error),
                }
            }
        }
        Ok(status)
    }
}

/// A place that is no registry, as Podman writes it: `oci-archive:/tmp/x.tar`. The kind of place, and the path.
fn elsewhere(typed: &str) -> Option<(&str, &str)> {
    let (transport, path) = typed.split_once(':')?;
    let known = ["docker-archive", "oci-archive", "oci", "dir"].contains(&transport);
    // Else it is an image of that name, with a tag.
    (known && path.contains('/')).then_some((transport, path))
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
    /// Whose words the manifest is in: oci, or v2s2 for Docker's (as the image is)
    #[arg(long, short, value_name = "FORMAT", value_parser = manifest_format)]
    format: Option<Format>,
    /// Compress layers that are not so compressed: gzip, zstd
    #[arg(long, value_name = "FORMAT", value_parser = compression)]
    compression_format: Option<Compression>,
    /// Image, by name or by the beginning of its id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where to, if not to the image's own name
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

fn manifest_format(text: &str) -> Result<Format, String> {
    match text {
        "oci" => Ok(Format::Oci),
        "v2s2" | "docker" => Ok(Format::Docker),
        "v2s1" => Err("nobody reads Docker's old schema 1 any more; there are oci and v2s2".into()),
        _ => Err("expected oci or v2s2".into()),
    }
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err("expected gzip or zstd".into()),
    }
}

impl Verb for Push {
    fn run(self, context: &Context) -> Result<i32> {
        let engine = context.engine()?;
        let layout = engine.layout()?;
        let image = layout.find(&self.image)?;
        let name = match &self.destination {
            Some(to) => match elsewhere(to) {
                Some((transport, path)) => {
                    let format = if transport.ends_with("archive") { transport } else { "oci-dir" };
                    return Err(hinted(
                        format!("{to}: images are pushed to registries only"),
                        format!("podling save --format {format} --output {path} {}", self.image),
                    ));
                }
                None => to.strip_prefix("docker://").unwrap_or(to).parse::<Reference>()?,
            },
            None => match image.names.iter().find(|name| name.fits(&self.image).is_some()) {
                Some(name) => name.clone(),
                None => {
                    return Err(failure::misuse(format!("{} is not a name: say where to push", self.image), "push"));
                }
            },
        };
        let wishes = Wishes { format: self.format, compression: self.compression_format };
        let (access, watch) = (self.reach.access().with_files()?, Watch::new(self.quiet));
        let digest = push::push(&layout, &image, &name, wishes, &access, &watch)?;
        engine.record_other(Type::Image, "push", &image.id, &name.to_string());
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
    #[command(flatten)]
    connection: Connection,
    /// Say where the credentials are stored
    #[arg(long, short)]
    verbose: bool,
    /// Registry
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// A registry, or a namespace in one, as people write it; else the first in which short names are looked for.
fn host(registry: Option<&str>, registries: &Registries) -> String {
    let first = registries.search().first().map_or(DOCKER_IO, String::as_str);
    let typed = registry.unwrap_or(first);
    let bare = typed.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    bare.to_owned()
}

impl Verb for Login {
    fn run(self, _: &Context) -> Result<i32> {
        let access = self.connection.access().with_files()?;
        let key = host(self.registry.as_deref(), &access.registries);
        let registry = key.split('/').next().unwrap_or_default();
        let authfile = access.authfile.as_deref();
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
        if self.username.is_none()
            && self.password.is_none()
            && let Some(known) = auth::find(&key, "", authfile)?
        {
            failure::print(&format!("Authenticating with existing credentials for {key}\n"))?;
            if registry::verify(registry, known, &access).is_ok() {
                return failure::print(&format!("Existing credentials are valid. Already logged in to {registry}\n"));
            }
            failure::print("Existing credentials are invalid, please enter valid username and password\n")?;
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
        let key = host(self.registry.as_deref(), &Registries::load()?);
        if !auth::forget(&key, authfile)? {
            bail!("not logged into {key}");
        }
        failure::print(&format!("Removed login credentials for {key}\n"))
    }
}
