//! Usage: slow-reader DIRECTORY PROGRAM [ARGUMENT…]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio, exit};

use anyhow::{Context, Result};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let dir = PathBuf::from(words.next().context("which directory?")?);
    let program = words.next().context("which program?")?;
    fs::create_dir_all(&dir)?;
    mkfifo(&dir.join("attach"), Mode::from_bits_truncate(0o600))?;
    let mut log = File::create(dir.join("log"))?;
    let mut child = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().context("its output is a pipe")?;
    let mut attached = File::options().write(true).open(dir.join("attach"))?;
    let mut piece = [0; 4096];
    loop {
        let length = output.read(&mut piece)?;
        if length == 0 {
            break;
        }
        attached.write_all(&piece[..length])?;
        log.write_all(&piece[..length])?;
    }
    exit(child.wait()?.code().unwrap_or(125))
}
