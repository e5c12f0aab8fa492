//! Chapter 9, the manager: what we ask of systemd. It does not watch the directories of units: whoever changes one says so
//! (`daemon-reload`), and then what is to be done.
//!
//! We ask through systemctl. (It speaks D-Bus to systemd, a protocol that the engine has written out in `linux::dbus`.)
//!
//! The subtlety is which systemd. The machine's is process 1 and root's. Each user has one of his own beside it, which runs
//! from his first login to his last logout; or always, if he *lingers*. What it starts ends with it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use nix::unistd::geteuid;
use podling::hint::{cured, hinted};
use podling::trace::{self, Topic};

use crate::chapter09_units::{Install, MARK, Unit, check_free, check_name, units};

// ANCHOR: systemctl
/// What it answers.
fn systemctl(words: &[&str]) -> Result<String> {
    let words = [&[if geteuid().is_root() { "--system" } else { "--user" }], words].concat();
    let told = format!("systemctl {}", words.join(" "));
    let call = || Command::new("systemctl").args(&words).output();
    let answer = trace::ask(Topic::Systemd, "systemctl", format_args!("{}", words.join(" ")), call);
    let answer = answer.map_err(|error| cured(error, &told, "without systemd there is chapter08_monitor"))?;
    let [text, complaint] =
        [&answer.stdout, &answer.stderr].map(|text| String::from_utf8_lossy(text).trim().to_owned());
    if answer.status.success() {
        return Ok(text);
    }
    let error = format!("{told}: {}", complaint.replace('\n', "; "));
    if complaint.contains("onnect to") {
        let cure = "log in at the console or by ssh, not with su; or let root say 'loginctl enable-linger YOU', and \
                    export XDG_RUNTIME_DIR=/run/user/$(id -u)";
        return Err(hinted(error, cure));
    }
    Err(anyhow!(error))
}

/// One of the things that it knows of a unit.
fn show(unit: &str, property: &str) -> Result<String> {
    systemctl(&["show", "--value", "--property", property, unit])
}

/// Where it looks for units that are ours to write.
fn directory() -> Result<PathBuf> {
    let all = systemctl(&["show", "--value", "--property", "UnitPath"])?;
    let ours = if geteuid().is_root() { "/systemd/system" } else { "/systemd/user" };
    let directory = all.split_whitespace().find(|directory| directory.ends_with(ours));
    Ok(directory.context("systemd names no directory for our units")?.into())
}
// ANCHOR_END: systemctl

// ANCHOR: install
/// Writes the units and starts them. What goes wrong leaves nothing behind.
pub fn install(wanted: &Install) -> Result<u8> {
    let units = units(wanted)?;
    let directory = directory()?;
    for (unit, _) in &units {
        // Not even one of the system's: a file of ours would hide it.
        if show(unit, "LoadState")? != "not-found" {
            let cure = format!("another name, or: chapter09_systemd uninstall {}", wanted.container.name);
            return Err(hinted(format!("there is a unit {unit} already"), cure));
        }
    }
    wanted.socket.as_deref().map_or(Ok(()), check_free)?;
    let started = begin(&directory, &units);
    if let Err(error) = started {
        let (service, _) = &units[0];
        let last_words = show(service, "StatusText").unwrap_or_default();
        let status = show(service, "ExecMainStatus").unwrap_or_default();
        remove(&directory, &units.iter().map(|(unit, _)| unit.as_str()).collect::<Vec<_>>())?;
        if let (false, Ok(status)) = (last_words.is_empty(), status.parse()) {
            eprintln!("{}", last_words.replace("; hint: ", "\nhint: "));
            return Ok(status);
        }
        return Err(error);
    }
    let (unit, _) = &units[units.len() - 1];
    println!("{unit}: {}", show(unit, "SubState")?);
    Ok(0)
}
// ANCHOR_END: install

// ANCHOR: begin
fn begin(directory: &Path, units: &[Unit]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for (unit, text) in units {
        let path = directory.join(unit);
        let written = File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("writing {}", path.display()))?;
    }
    let (unit, _) = units.last().context("there are units")?;
    // From now on it knows them; from its next start on it starts this one; and it starts it now, and says when it runs.
    for words in [&["daemon-reload"][..], &["enable", "--quiet", unit], &["start", unit]] {
        systemctl(words)?;
    }
    Ok(())
}
// ANCHOR_END: begin

// ANCHOR: uninstall
/// Stops a container for good.
pub fn uninstall(name: &str) -> Result<u8> {
    check_name(name)?;
    let directory = directory()?;
    // The socket first, or somebody who connects would start the service again.
    let both = [format!("{name}.socket"), format!("{name}.service")];
    let found: Vec<_> = both.iter().map(String::as_str).filter(|unit| directory.join(unit).exists()).collect();
    ensure!(!found.is_empty(), "there is no {name}.service in {}", directory.display());
    for unit in &found {
        let text = fs::read_to_string(directory.join(unit))?;
        ensure!(text.starts_with(MARK), "{unit} was not written by chapter09_systemd");
    }
    remove(&directory, &found)?;
    Ok(0)
}

/// Goes on when something fails, and says at the end what it was.
fn remove(directory: &Path, units: &[&str]) -> Result<()> {
    let mut outcome = Ok(());
    for unit in units {
        outcome = outcome.and(systemctl(&["disable", "--quiet", "--now", unit]).map(drop));
        // What was added to it since (set-property) lies elsewhere.
        outcome = outcome.and(systemctl(&["revert", unit]).map(drop));
        outcome = outcome.and(fs::remove_file(directory.join(unit)).with_context(|| format!("removing {unit}")));
    }
    outcome = outcome.and(systemctl(&["daemon-reload"]).map(drop));
    // That it failed is remembered until somebody says that he has seen it; most have nothing to forget.
    let _ = systemctl(&[&["reset-failed"], units].concat());
    outcome
}
// ANCHOR_END: uninstall
