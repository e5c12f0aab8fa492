//! `ps`: the processes of a container, in numbers of the host.

use std::io::{Write, stdout};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;

use super::state::Store;
use crate::linux::namespace::{self, Namespace};

/// Whom to show, and how.
#[derive(Debug)]
pub struct Processes<'a> {
    pids: Vec<i32>,
    words: &'a [String],
}

/// The processes of container `id`; `words` are for ps(1).
pub fn list<'a>(store: &Store, id: &str, words: &'a [String]) -> Result<Processes<'a>> {
    let state = store.load(id)?;
    let pids = match &state.cgroup {
        Some(place) => place.processes()?,
        None => state.process()?.map_or(Ok(vec![]), |first| beside(first.pid()))?,
    };
    Ok(Processes { pids, words })
}

/// Without a cgroup of its own a container is known by its pid namespace; and if it shares ours, only its first process is.
fn beside(first: Pid) -> Result<Vec<i32>> {
    let ours = namespace::identity(Pid::this(), Namespace::Pid)?;
    if namespace::identity(first, Namespace::Pid)? == ours {
        return Ok(vec![first.as_raw()]);
    }
    namespace::sharing(first, Namespace::Pid)
}

impl Processes<'_> {
    /// Prints them.
    pub fn print(&self, format: &str) -> Result<()> {
        match format {
            "json" => Ok(writeln!(stdout(), "{}", serde_json::json!(self.pids))?),
            "table" => self.table(),
            other => bail!("unknown format {other:?}: table or json"),
        }
    }

    /// What the host's ps says of them: it knows more columns than we shall ever have.
    fn table(&self) -> Result<()> {
        let ordinary = ["-ef".to_string()];
        let words = if self.words.is_empty() { &ordinary } else { self.words };
        let output = Command::new("ps").args(words).stdin(Stdio::null()).output().context("running ps")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ps: {}", said.trim().lines().next().unwrap_or("it failed"));
        let text = String::from_utf8_lossy(&output.stdout);
        let mut out = stdout().lock();
        for line in rows(&text, &self.pids).context("ps printed no column PID")? {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// The heading, and the lines of these processes.
fn rows<'t>(text: &'t str, pids: &[i32]) -> Option<Vec<&'t str>> {
    let mut lines = text.lines();
    let heading = lines.next()?;
    let column = heading.split_whitespace().position(|name| name == "PID")?;
    let is_theirs = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    Some(std::iter::once(heading).chain(lines.filter(is_theirs)).collect())
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn lines_are_chosen_by_their_pid() {
        let text = "UID  PID PPID CMD\nroot  1  0 init 7\nann   7  1 sh\n";
        assert_eq!(rows(text, &[7]), Some(vec!["UID  PID PPID CMD", "ann   7  1 sh"]));
        assert_eq!(rows("USER CMD\nann sh\n", &[7]), None);
    }
}
