//! Chapter 9, beside it: a server that is started when somebody comes, and leaves when nobody does.
//!
//! It opens no socket. Whoever started it did that, perhaps long before, and holds it still: a client that comes while
//! nobody serves is not refused but waits in the kernel's queue. So a server may end at any time and lose nobody.
//!
//! Podman's REST service lives like this (`podman system service`): a socket is always there, a process only when needed.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chapters::ask;
use clap::Parser;
use nix::sys::socket::accept;
use nix::unistd::gethostname;
use podling::linux::poll::{PollFlags, Wanted};
use podling::sys;
use podling::trace::Topic;

mod chapter09_sockets;

use chapter09_sockets::{FIRST, passed};

/// Say hello to whoever connects to the socket that this program was started with
///
/// Try: systemd-socket-activate --listen 8080 chapter09_hello; and: curl --http0.9 localhost:8080
#[derive(Parser)]
#[command(name = "chapter09_hello")]
struct Options {
    /// End when nobody has come for so long, at most 60
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(..=60))]
    idle: u64,
}

fn main() -> ExitCode {
    chapters::run(|options| serve(&options))
}

// ANCHOR: serve
fn serve(options: &Options) -> Result<u8> {
    ensure!(passed()? > 0, "no socket was passed to this process (LISTEN_FDS, LISTEN_PID)");
    let listening = sys::inherited(FIRST)?;
    let (host, idle) = (gethostname()?, Duration::from_secs(options.idle));
    loop {
        let mut wanted = Wanted::default();
        wanted.add((), &listening, PollFlags::POLLIN);
        if wanted.wait(Some(Instant::now() + idle))?.is_empty() {
            return Ok(0);
        }
        let client = ask(Topic::Systemd, "accept", "", || accept(listening.as_raw_fd()))?;
        let mut client = File::from(sys::inherited(client).context("a client")?);
        // One who has gone again is no reason to end.
        let _ = writeln!(client, "hello from process {} on {}", std::process::id(), host.display());
    }
}
// ANCHOR_END: serve
