//! Usage: join PID PROGRAM [ARGUMENT…]

use std::ffi::CString;

use anyhow::{Context, Result};
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
fn join(_pid: u32) -> Result<()> {
    // TODO
    Ok(())
}
