//! Usage: neighbour

use std::fs;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let vault = find("vault")?;
    let environment = fs::read(vault.join("environ")).context("environ")?;
    let value = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"SECRET="));
    println!("{}", String::from_utf8_lossy(value.unwrap_or_default()));
    println!("{}", fs::read_to_string(vault.join("cwd/secret")).context("its directory")?.trim());
    for entry in fs::read_dir(vault.join("fd"))? {
        let path = entry?.path();
        // What the link says is for people; to follow it leads to the file, which has no name any more.
        if fs::read_link(&path)?.to_string_lossy().ends_with(" (deleted)") {
            println!("{}", fs::read_to_string(path).context("the deleted file")?.trim());
        }
    }
    Ok(())
}

/// The directory in /proc of the process of this name.
fn find(name: &str) -> Result<std::path::PathBuf> {
    for entry in fs::read_dir("/proc")? {
        let dir = entry?.path();
        if fs::read_to_string(dir.join("comm")).is_ok_and(|comm| comm.trim() == name) {
            return Ok(dir);
        }
    }
    None.with_context(|| format!("no process is called {name}"))
}
