//! Usage: kill-the-manager DIRECTORY PROGRAM [ARGUMENT…]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write, pipe};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

use anyhow::{Context, Result};
use nix::unistd::{ForkResult, fork, setsid};

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let dir = PathBuf::from(words.next().context("which directory?")?);
    let program: Vec<OsString> = words.collect();
    fs::create_dir_all(&dir)?;
    let (mut heard, said) = pipe()?;
    // SAFETY: this process has one thread.
    if let ForkResult::Child = unsafe { fork() }? {
        drop(heard);
        exit(monitor(&dir, &program, said).map_or(125, |()| 0))
    }
    drop(said);
    // One byte: the status that we end with. No byte: the monitor has gone.
    let mut status = [125];
    heard.read_exact(&mut status).ok();
    exit(status[0].into())
}

/// The process that stays.
fn monitor(dir: &Path, program: &[OsString], mut said: impl Write) -> Result<()> {
    setsid()?;
    let log = File::create(dir.join("log"))?;
    let mut command = Command::new(program.first().context("which program?")?);
    command.args(&program[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{error}");
            said.write_all(&[if error.kind() == ErrorKind::NotFound { 127 } else { 126 }])?;
            return Ok(());
        }
    };
    write_whole(&dir.join("pid"), child.id().to_string())?;
    let_go_of_streams()?;
    said.write_all(&[0])?;
    drop(said);
    let status = child.wait()?;
    let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    write_whole(&dir.join("exit"), status.to_string())
}

/// Whoever waits for the end of our output shall not wait for the program's.
fn let_go_of_streams() -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(nix::unistd::dup2_stderr(&null)?)
}

fn write_whole(path: &Path, text: String) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text + "\n")?;
    Ok(fs::rename(new, path)?)
}
