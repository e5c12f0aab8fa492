//! The program podling: it tells what the machine can do, and runs the containers in which answers are graded.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use podling::hint::{cured, hinted};
use podling::linux::process::in_path;

/// Where it is: named by $PODLING, beside us (both were built here), or in $PATH.
pub fn find() -> Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("podling")));
    let named = std::env::var_os("PODLING").map(PathBuf::from);
    named.or_else(|| beside.filter(|path| path.is_file())).or_else(|| in_path("podling")).ok_or_else(|| {
        hinted("the program podling is not built yet", "./try doctor builds it, and looks at this machine")
    })
}

/// `podling doctor`, with its words and its exit status.
pub fn doctor() -> Result<u8> {
    let podling = find()?;
    let status = Command::new(&podling).arg("doctor").status();
    let status = status.map_err(|error| cured(error, format!("running {}", podling.display()), "cargo build"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
