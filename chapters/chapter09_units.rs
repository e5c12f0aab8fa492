//! Chapter 9, the units: what we want, as files that systemd reads.
//!
//! A unit says what there should be, not what to do next: systemd compares that with what there is, when it starts and
//! whenever something ends. A `.service` is a program. A `.socket` is an address: systemd listens there, and starts the
//! service when somebody comes. What is to be there from the start is *enabled*: a link in the directory of a target.
//!
//! The subtlety is that a unit is no shell script. systemd reads ExecStart= by rules of its own: `%h` is a home there, `$x`
//! a variable, and a word with a space needs quotes. Whoever writes such a file has to know them (systemd.service(5)).

use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::geteuid;
use podling::hint::{cured, hinted};

use crate::Container;

/// What we write begins with this; what does not is not ours to remove.
pub const MARK: &str = "# Written by chapter09_systemd.";

#[derive(clap::Args)]
pub struct Install {
    /// Start it when somebody connects to this: a port, an address with a port, or the path of a Unix socket
    #[arg(long, value_name = "ADDRESS")]
    pub socket: Option<String>,
    /// When to start it again: no, on-failure, always
    #[arg(long, value_name = "WHEN", default_value = "on-failure", value_parser = ["no", "on-failure", "always"])]
    #[arg(hide_possible_values = true)]
    pub restart: String,
    #[command(flatten)]
    pub container: Container,
}

/// A unit's name and its text.
pub type Unit = (String, String);

// ANCHOR: units
/// The units of a container: the service, and the socket if there is one. The last is the one to be started.
pub fn units(wanted: &Install) -> Result<Vec<Unit>> {
    let Container { name, root, program } = &wanted.container;
    check_name(name)?;
    let start = command_line(&std::env::current_exe()?, name, root.as_deref(), program)?;
    let restart = &wanted.restart;
    let mut service = format!(
        "{MARK}\n[Unit]\nDescription=Container {name}\n\n[Service]\nType=notify\n{start}\n\
         Restart={restart}\nRestartPreventExitStatus=125 126 127\nSuccessExitStatus=143\n\
         KillMode=mixed\nTimeoutStopSec=10\n"
    );
    let Some(address) = &wanted.socket else {
        // What a machine has to reach when it boots, and what a user's systemd has to reach when that starts.
        let target = if geteuid().is_root() { "multi-user.target" } else { "default.target" };
        service += &format!("\n[Install]\nWantedBy={target}\n");
        return Ok(vec![(format!("{name}.service"), service)]);
    };
    check_address(address)?;
    let address = address.replace('%', "%%");
    let socket = format!(
        "{MARK}\n[Unit]\nDescription=The socket of container {name}\n\n[Socket]\nListenStream={address}\n\
         SocketMode=0600\nRemoveOnStop=yes\n\n[Install]\nWantedBy=sockets.target\n"
    );
    Ok(vec![(format!("{name}.service"), service), (format!("{name}.socket"), socket)])
}
// ANCHOR_END: units

// ANCHOR: quoted
/// What the service runs: this program, as `run`. The colon before the words keeps each `$` a dollar.
fn command_line(ours: &Path, name: &str, root: Option<&Path>, program: &[OsString]) -> Result<String> {
    let mut words = vec![ours.into(), "run".into()];
    if let Some(root) = root {
        // systemd starts it in another directory.
        let root = root.canonicalize().with_context(|| root.display().to_string())?;
        words.extend(["--root".into(), root.into_os_string()]);
    }
    words.extend(["--".into(), name.into()]);
    let words = words.iter().chain(program).map(|word| quoted(word)).collect::<Result<Vec<_>>>()?;
    Ok(format!("ExecStart=:{}", words.join(" ")))
}

/// A word, so that systemd reads what we mean.
fn quoted(word: &OsStr) -> Result<String> {
    let text = word.to_str().with_context(|| format!("{}: a unit is a text in UTF-8", word.display()))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.,:=+".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(text.into());
    }
    let rules = [("\\", "\\\\"), ("\"", "\\\""), ("\n", "\\n"), ("%", "%%")];
    Ok(format!("\"{}\"", rules.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))))
}
// ANCHOR_END: quoted

/// It is to be a hostname as well.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = name.len() <= 64 && name.bytes().all(fits) && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let cure = "up to 64 letters, digits and -_. of which the first is a letter or a digit";
    if is_name { Ok(()) } else { Err(hinted(format!("{name:?} is no name for a container"), cure)) }
}

/// What systemd would take for ListenStream= (systemd.socket(5)), but for names with blanks in them.
fn check_address(address: &str) -> Result<()> {
    let is_local = address.starts_with(['/', '@']) && (2..=107).contains(&address.len());
    let cure = "a port (8080), an address with a port (127.0.0.1:8080, [::1]:8080), or an absolute path";
    let is_one = tcp(address).is_some_and(|tcp| tcp.port() > 0) || is_local && !address.contains(char::is_whitespace);
    if is_one { Ok(()) } else { Err(hinted(format!("{address:?} is no address to listen on"), cure)) }
}

fn tcp(address: &str) -> Option<SocketAddr> {
    address.parse().ok().or_else(|| Some(SocketAddr::from(([0; 4], address.parse().ok()?))))
}

/// Whether systemd will be able to listen there. It would not tell us why not; the kernel does.
pub fn check_free(address: &str) -> Result<()> {
    let Some(tcp) = tcp(address) else { return Ok(()) };
    let told = || format!("listening on {address}");
    TcpListener::bind(tcp).map(drop).map_err(|error| {
        let cure = "ss -ltnp shows who listens where; ports below 1024 are root's";
        cured(error, told(), cure)
    })
}
