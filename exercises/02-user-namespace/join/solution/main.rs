//! Usage: join PID PROGRAM [ARGUMENT…]

use std::ffi::CString;
use std::fs::File;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use nix::unistd::execvp;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pid: u32 = arguments.next().context("which process?")?.parse().context("a pid is a number")?;
    let words: Vec<CString> = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let program = words.first().context("which program?")?;
    join(pid)?;
    execvp(program, &words).context("exec")?;
    Ok(())
}

/// Enters the namespaces of a process: user, UTS, network.
fn join(pid: u32) -> Result<()> {
    let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}")).with_context(|| format!("{kind} of {pid}"));
    // All are opened before one is entered: the process may end in between.
    let (user, uts, net) = (open("user")?, open("uts")?, open("net")?);
    // The user namespace first: it gives the capabilities that the others ask for.
    setns(user, CloneFlags::CLONE_NEWUSER).context("entering user")?;
    setns(uts, CloneFlags::CLONE_NEWUTS).context("entering uts")?;
    setns(net, CloneFlags::CLONE_NEWNET).context("entering net")?;
    Ok(())
}
