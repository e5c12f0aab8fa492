//! `top`: a container's processes, read from /proc.
//!
//! The descriptors are ps(1)'s AIX ones and Podman's additions. The subtlety is that a process has one set of numbers for
//! each namespace it is seen from: its pid inside is the last word of `NSpid` in /proc/PID/status, its uid there is the
//! one that the container's user namespace maps to ours; `hpid` and `huser` are the machine's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::Engine;
use super::container::{Container, Process};
use super::failure::Failure;
use crate::linux::caps::Capability;
use crate::linux::idmap::{self, IdMap, Kind};
use crate::linux::namespace::{self, Namespace};
use crate::linux::resolve;

/// Descriptor, ps(1)'s letter for it, heading.
const DESCRIPTORS: [(&str, &str, &str); 32] = [
    ("args", "%a", "COMMAND"),
    ("capamb", "", "AMBIENT CAPS"),
    ("capbnd", "", "BOUNDING CAPS"),
    ("capeff", "", "EFFECTIVE CAPS"),
    ("capinh", "", "INHERITED CAPS"),
    ("capprm", "", "PERMITTED CAPS"),
    ("comm", "%c", "COMMAND"),
    ("command", "", "COMMAND"),
    ("etime", "%t", "ELAPSED"),
    ("group", "%G", "GROUP"),
    ("groups", "", "GROUPS"),
    ("hgroup", "", "HGROUP"),
    ("hpid", "", "HPID"),
    ("huser", "", "HUSER"),
    ("label", "", "LABEL"),
    ("nice", "%n", "NI"),
    ("pcpu", "%C", "%CPU"),
    ("pgid", "%r", "PGID"),
    ("pid", "%p", "PID"),
    ("ppid", "%P", "PPID"),
    ("rgroup", "%g", "RGROUP"),
    ("rss", "", "RSS"),
    ("ruser", "%u", "RUSER"),
    ("seccomp", "", "SECCOMP"),
    ("state", "", "STATE"),
    ("stime", "", "STIME"),
    ("time", "%x", "TIME"),
    ("tty", "%y", "TTY"),
    ("user", "%U", "USER"),
    ("vsz", "%z", "VSZ"),
    ("%cpu", "", "%CPU"),
    ("stat", "", "STATE"),
];

/// What is shown if nothing is asked for.
pub const DEFAULT: [&str; 8] = ["user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args"];

/// A table of the container's processes: the headings first.
pub fn table(engine: &Engine, container: &Container, descriptors: &[String]) -> Result<Vec<Vec<String>>> {
    let mut columns = Vec::new();
    for asked in descriptors {
        let lower = asked.to_lowercase();
        match DESCRIPTORS.iter().find(|(name, letter, _)| *name == lower || !letter.is_empty() && letter == asked) {
            Some(column) => columns.push(*column),
            None => bail!(Failure::Invalid(format!(
                "unknown descriptor {asked:?}: there are {}",
                DESCRIPTORS.map(|(name, ..)| name).join(", ")
            ))),
        }
    }
    let Some(first) = container.process() else {
        bail!(Failure::WrongState {
            name: container.name().into(),
            state: container.status().word().into(),
            wanted: "top can only be used on running containers",
        })
    };
    engine.enter(Some(container))?;
    let view = View::of(first)?;
    let mut rows = vec![columns.iter().map(|(.., heading)| (*heading).to_string()).collect()];
    for pid in members(first.pid)? {
        // A process may end while we look: then it is not there.
        if let Some(process) = Sample::of(pid) {
            rows.push(columns.iter().map(|(name, ..)| view.show(name, &process)).collect());
        }
    }
    Ok(rows)
}

/// The processes that share the pid namespace of `first`; where that is ours too, those that descend from it.
fn members(first: i32) -> Result<Vec<i32>> {
    let of = |pid| namespace::identity(pid, Namespace::Pid);
    if of(Pid::from_raw(first)).context("the container has just ended")? != of(Pid::this())? {
        return namespace::sharing(Pid::from_raw(first), Namespace::Pid);
    }
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let Ok(pid) = entry?.file_name().into_string().unwrap_or_default().parse::<i32>() else { continue };
        if let Some(process) = Sample::of(pid) {
            parents.insert(pid, process.ppid);
        }
    }
    let descends = |mut pid: i32| {
        while pid != first {
            match parents.get(&pid) {
                Some(&parent) if parent > 0 => pid = parent,
                _ => return false,
            }
        }
        true
    };
    Ok(parents.keys().copied().filter(|&pid| descends(pid)).collect())
}

/// One process, as /proc tells now.
struct Sample {
    pid: i32,
    ppid: i32,
    pgid: i32,
    tty: i32,
    state: String,
    nice: String,
    /// Clock ticks: used, and since boot when it started.
    used: u64,
    started: u64,
    vsz: u64,
    rss: u64,
    comm: String,
    args: String,
    status: BTreeMap<String, String>,
}

impl Sample {
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may itself hold any character.
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let fields: Vec<&str> = stat[close + 1..].split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        let comm = stat[open + 1..close].to_string();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let status = status.lines().filter_map(|line| line.split_once(':'));
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
        Some(Self {
            pid,
            ppid: number(1)? as i32,
            pgid: number(2)? as i32,
            tty: number(4)? as i32,
            state: (*fields.first()?).to_string(),
            nice: (*fields.get(16)?).to_string(),
            used: (number(11)? + number(12)?) as u64,
            started: number(19)? as u64,
            vsz: number(20)? as u64 / 1024,
            rss: number(21)? as u64 * 4,
            args: if words.is_empty() { format!("[{comm}]") } else { words },
            comm,
            status: status.map(|(name, value)| (name.to_string(), value.trim().to_string())).collect(),
        })
    }

    fn word(&self, name: &str, index: usize) -> &str {
        self.status.get(name).and_then(|line| line.split_ascii_whitespace().nth(index)).unwrap_or_default()
    }

    fn id(&self, name: &str, index: usize) -> u32 {
        self.word(name, index).parse().unwrap_or(u32::MAX)
    }
}

/// From where the processes are looked at.
struct View {
    uids: Vec<IdMap>,
    gids: Vec<IdMap>,
    own_uids: Vec<IdMap>,
    own_gids: Vec<IdMap>,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    ticks: u64,
    uptime: f64,
}

impl View {
    fn of(first: Process) -> Result<Self> {
        let pid = first.pid;
        let map = |file: &str| -> Vec<IdMap> {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            text.lines()
                .filter_map(|line| {
                    let mut words = line.split_ascii_whitespace().map(str::parse);
                    let mut next = || words.next()?.ok();
                    Some(IdMap { container: next()?, host: next()?, size: next()? })
                })
                .collect()
        };
        let root = first.root().context("opening the container's root")?;
        let uptime = fs::read_to_string("/proc/uptime").context("reading /proc/uptime")?;
        Ok(Self {
            uids: map("uid_map"),
            gids: map("gid_map"),
            own_uids: idmap::current(Kind::Uid)?,
            own_gids: idmap::current(Kind::Gid)?,
            users: names(&root, "/etc/passwd"),
            groups: names(&root, "/etc/group"),
            ticks: nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100) as u64,
            uptime: uptime.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "clock ticks of years fit in 52 bits")]
    fn show(&self, name: &str, process: &Sample) -> String {
        let inside = |field: &str, whole: i32| innermost(process, field).unwrap_or(&whole.to_string()).to_string();
        let seconds = |ticks: u64| ticks as f64 / self.ticks as f64;
        let age = (self.uptime - seconds(process.started)).max(0.0);
        match name {
            "args" => process.args.clone(),
            "comm" | "command" => process.comm.clone(),
            "capamb" => capabilities(process.word("CapAmb", 0)),
            "capbnd" => capabilities(process.word("CapBnd", 0)),
            "capeff" => capabilities(process.word("CapEff", 0)),
            "capinh" => capabilities(process.word("CapInh", 0)),
            "capprm" => capabilities(process.word("CapPrm", 0)),
            "etime" => go_duration(age),
            "stime" => {
                let started = jiff::Timestamp::now().as_second() - age as i64;
                let time = jiff::Timestamp::from_second(started).unwrap_or_default();
                time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string()
            }
            "time" => go_duration(seconds(process.used)),
            "pcpu" | "%cpu" => format!("{:.3}", if age > 0.0 { 100.0 * seconds(process.used) / age } else { 0.0 }),
            "pid" => inside("NSpid", process.pid),
            "pgid" => inside("NSpgid", process.pgid),
            "ppid" => match Sample::of(process.ppid) {
                Some(parent) if depth(&parent) == depth(process) => {
                    innermost(&parent, "NSpid").unwrap_or_default().to_string()
                }
                // The parent of a container's first process is none of its own.
                _ => "0".into(),
            },
            "hpid" => process.pid.to_string(),
            "user" => named(&self.users, &self.uids, process.id("Uid", 1)),
            "ruser" => named(&self.users, &self.uids, process.id("Uid", 0)),
            "group" => named(&self.groups, &self.gids, process.id("Gid", 1)),
            "rgroup" => named(&self.groups, &self.gids, process.id("Gid", 0)),
            "groups" => {
                let ids = process.status.get("Groups").map(String::as_str).unwrap_or_default();
                let ids = ids.split_ascii_whitespace().filter_map(|id| id.parse().ok());
                ids.map(|id| named(&self.groups, &self.gids, id)).collect::<Vec<_>>().join(",")
            }
            "huser" => outside(&self.own_uids, process.id("Uid", 1)),
            "hgroup" => outside(&self.own_gids, process.id("Gid", 1)),
            "label" => {
                let label = fs::read_to_string(format!("/proc/{}/attr/current", process.pid)).unwrap_or_default();
                let label = label.trim_end_matches(['\0', '\n']);
                if label.is_empty() { "?".into() } else { label.into() }
            }
            "nice" => process.nice.clone(),
            "rss" => process.rss.to_string(),
            "vsz" => process.vsz.to_string(),
            "seccomp" => match process.word("Seccomp", 0) {
                "1" => "strict".into(),
                "2" => "filter".into(),
                _ => "disabled".into(),
            },
            "state" | "stat" => process.state.clone(),
            "tty" => terminal(process.tty),
            _ => String::new(),
        }
    }
}

/// The name inside of an id as we see it.
fn named(names: &BTreeMap<u32, String>, map: &[IdMap], id: u32) -> String {
    let inside = idmap::to_container(map, id).unwrap_or(id);
    names.get(&inside).cloned().unwrap_or_else(|| inside.to_string())
}

/// The number inside: of those that a process has, one for each pid namespace that it is seen from, the last.
fn innermost<'a>(process: &'a Sample, field: &str) -> Option<&'a str> {
    process.status.get(field)?.split_ascii_whitespace().last()
}

/// How many pid namespaces deep it is.
fn depth(process: &Sample) -> usize {
    process.status.get("NSpid").map_or(0, |numbers| numbers.split_ascii_whitespace().count())
}

fn outside(map: &[IdMap], id: u32) -> String {
    idmap::to_host(map, id).unwrap_or(id).to_string()
}

/// Names by id, from the container's own files, which may be anything.
fn names(root: &File, file: &str) -> BTreeMap<u32, String> {
    let mut text = String::new();
    if let Ok(fd) = resolve::open_in_root(root, std::path::Path::new(file), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        let _ = File::from(fd).take(4 << 20).read_to_string(&mut text);
    }
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_string();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first name of an id is its name.
    text.lines().rev().filter_map(entry).collect()
}

fn capabilities(hex: &str) -> String {
    let set = u64::from_str_radix(hex, 16).unwrap_or(0);
    let all = crate::linux::caps::last().map_or(u64::MAX, |last| u64::MAX >> (63 - u32::from(last)));
    match set {
        0 => "none".into(),
        set if set & all == all => "full".into(),
        set => Capability::list(set)
            .map(|one| one.to_string().trim_start_matches("CAP_").to_string())
            .collect::<Vec<_>>()
            .join(","),
    }
}

/// Seconds as Go prints a duration: `1h2m3s`, `4.5s`, `0s`.
#[expect(clippy::cast_precision_loss, reason = "seconds of years fit in 52 bits")]
fn go_duration(seconds: f64) -> String {
    let whole = seconds as u64;
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    let rest = format!("{:.9}", seconds - (whole / 60 * 60) as f64);
    let rest = rest.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// The device number of a controlling terminal, as a name.
fn terminal(number: i32) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match major {
        0 => "?".into(),
        4 => format!("tty{minor}"),
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_terminals_look_as_podman_writes_them() {
        assert_eq!(go_duration(0.0), "0s");
        assert_eq!(go_duration(62.5), "1m2.5s");
        assert_eq!(go_duration(3600.0), "1h0m0s");
        assert_eq!(terminal(0x8800), "pts/0");
        assert_eq!(terminal(0), "?");
    }
}
