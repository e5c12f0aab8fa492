//! Usage: kill-the-manager DIRECTORY PROGRAM [ARGUMENT…]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, exit};

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let dir = PathBuf::from(words.next().context("which directory?")?);
    let program = words.next().context("which program?")?;
    fs::create_dir_all(&dir)?;
    let mut child = Command::new(program).args(words).spawn()?;
    // TODO: here we stand, and wait. Who kills us is never told how it ended.
    let status = child.wait()?;
    fs::write(dir.join("exit"), format!("{}\n", status.code().unwrap_or(0)))?;
    exit(0)
}
