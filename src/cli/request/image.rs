//! Where an image comes from: which registry client, which platform, and when. The same for every verb that fetches.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cli::failure::hinted;
use crate::engine::request::{ContainerRequest, PullPolicy, PullRequest};
use crate::image::auth::Credentials;
use crate::image::registry::Access;

/// The image flags of `run` and `create`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image")]
pub struct ImageFlags {
    /// When to pull the image: always, missing, newer, never
    #[arg(long, value_name = "WHEN", value_parser = pull_policy)]
    pull: Option<PullPolicy>,
    #[command(flatten)]
    platform: Platform,
    /// Say nothing while pulling
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    reach: Reach,
}

impl ImageFlags {
    pub fn ask(self, request: &mut ContainerRequest) -> Result<()> {
        let platform = self.platform.said();
        if platform.as_deref().is_some_and(|platform| !platform.starts_with("linux/")) {
            return Err(hinted("only images for linux can run here", "leave --os out"));
        }
        request.pull = PullRequest { policy: self.pull.unwrap_or_default(), platform, access: self.reach.access() };
        Ok(())
    }
}

/// Which of several images of one name.
#[derive(Debug, Args)]
pub struct Platform {
    /// System of the image: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM", value_parser = platform, conflicts_with_all = ["arch", "os", "variant"])]
    #[expect(clippy::struct_field_names, reason = "the flag's name is Podman's")]
    platform: Option<String>,
    /// Architecture of the image
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Operating system of the image
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
}

impl Platform {
    /// The flags as one word, `OS/ARCH[/VARIANT]`; none if nothing was said.
    pub fn said(self) -> Option<String> {
        let Self { platform, arch, os, variant } = self;
        if platform.is_some() || os.is_none() && arch.is_none() && variant.is_none() {
            return platform;
        }
        // Go's names for what Rust calls x86_64 and aarch64.
        let own = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let mut platform = format!("{}/{}", os.as_deref().unwrap_or("linux"), arch.as_deref().unwrap_or(own));
        if let Some(variant) = variant {
            platform.push('/');
            platform.push_str(&variant);
        }
        Some(platform)
    }
}

/// How a registry is reached, whoever asks it.
#[derive(Debug, Args)]
pub struct Connection {
    /// Insist on HTTPS and check certificates; =false: take plain HTTP and any certificate
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    tls_verify: Option<bool>,
    /// The file that login stores credentials in
    #[arg(long, env = "REGISTRY_AUTH_FILE", hide_env_values = true, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Directory of further certificates
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
}

impl Connection {
    /// What was asked; [`Access::with_files`] adds what the machine's files say.
    pub fn access(self) -> Access {
        Access { tls_verify: self.tls_verify, authfile: self.authfile, cert_dir: self.cert_dir, ..Access::default() }
    }
}

/// How a registry is reached, and as whom.
#[derive(Debug, Args)]
pub struct Reach {
    #[command(flatten)]
    connection: Connection,
    /// Credentials, instead of those that login stored
    #[arg(long, value_name = "USER[:PASSWORD]", value_parser = credentials)]
    creds: Option<Credentials>,
}

impl Reach {
    /// What was asked; [`Access::with_files`] adds what the machine's files say.
    pub fn access(self) -> Access {
        Access { credentials: self.creds, ..self.connection.access() }
    }
}

fn credentials(text: &str) -> Result<Credentials, String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    if user.is_empty() {
        return Err("expected USER:PASSWORD".into());
    }
    Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
}

/// When to pull.
pub fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "always" | "true" => Ok(PullPolicy::Always),
        "missing" | "ifnotpresent" | "" => Ok(PullPolicy::Missing),
        "newer" | "ifnewer" => Ok(PullPolicy::Newer),
        "never" | "false" => Ok(PullPolicy::Never),
        _ => Err("expected always, missing, newer or never".into()),
    }
}

/// `OS/ARCH[/VARIANT]`.
fn platform(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.split('/').collect();
    let sound = matches!(parts.len(), 2 | 3) && parts.iter().all(|part| !part.is_empty());
    if sound { Ok(text.to_owned()) } else { Err("expected OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64".into()) }
}
