//! Id maps of user namespaces: which ids outside the ids inside are.
//!
//! A user may map one id by himself: his own. For more he needs ids that root has lent him in /etc/subuid and
//! /etc/subgid, and the set-uid programs newuidmap and newgidmap, which check those files and write the map for him.
//!
//! The subtlety: whoever may write a gid map could drop a group from his list, and "everyone but this group" permissions
//! would let him in. So the kernel wants `setgroups` denied for good first, unless a privileged writer (newgidmap) does it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::process::in_path;
use crate::sys;
use crate::trace::{self, Topic};

/// `size` ids from `container` on are, outside, those from `host` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside (in the namespace of whoever writes the map).
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// Which kind of id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// User ids.
    Uid,
    /// Group ids.
    Gid,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Kind::Uid => "uid_map",
            Kind::Gid => "gid_map",
        }
    }

    /// The set-uid program that writes this kind of map.
    pub fn program(self) -> &'static str {
        match self {
            Kind::Uid => "newuidmap",
            Kind::Gid => "newgidmap",
        }
    }

    /// Where root lends ids of this kind.
    pub fn subordinate_file(self) -> &'static Path {
        Path::new(match self {
            Kind::Uid => "/etc/subuid",
            Kind::Gid => "/etc/subgid",
        })
    }
}

/// Ids lent to a user: `count` from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// The ids lent to the user called `name` with number `uid` (the files may use either); none if the file is missing.
pub fn subordinate(kind: Kind, name: &str, uid: u32) -> Result<Vec<Range>> {
    let file = kind.subordinate_file();
    match std::fs::read_to_string(file) {
        Ok(text) => parse_subordinate(&text, name, uid).with_context(|| file.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

fn parse_subordinate(text: &str, name: &str, uid: u32) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut fields = line.trim().splitn(3, ':');
        let owner = fields.next().unwrap_or_default();
        if owner.starts_with('#') || (owner != name && owner.parse() != Ok(uid)) {
            continue;
        }
        let mut number = || fields.next().and_then(|text| text.trim().parse::<u32>().ok());
        match (number(), number()) {
            (Some(start), Some(count)) if start.checked_add(count).is_some() => ranges.push(Range { start, count }),
            _ => bail!("line {}: {line:?} is not NAME:START:COUNT", index + 1),
        }
    }
    Ok(ranges)
}

/// The first of 65536 ids that are lent to nobody: after all that are, as useradd chooses.
pub fn unlent() -> u32 {
    const FIRST: u32 = 100_000;
    let ends = [Kind::Uid, Kind::Gid].into_iter().flat_map(|kind| {
        let text = std::fs::read_to_string(kind.subordinate_file()).unwrap_or_default();
        text.lines().filter_map(end_of_range).collect::<Vec<_>>()
    });
    ends.max().unwrap_or(0).max(FIRST)
}

fn end_of_range(line: &str) -> Option<u32> {
    let mut fields = line.trim().split(':').skip(1).map(|field| field.trim().parse::<u32>().ok());
    fields.next()??.checked_add(fields.next()??)
}

/// Why nobody writes a map of more than a user's own id for him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// /etc/subuid or /etc/subgid lends him nothing.
    Ranges,
    /// The program is not installed.
    Program(&'static str),
    /// The program is neither set-uid root nor has it file capabilities.
    Privilege(PathBuf),
    /// This process may not gain privileges by executing anything (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    NewPrivileges,
}

impl Lack {
    /// What the user called `name` with number `uid` lacks, if anything.
    pub fn of(name: &str, uid: u32) -> Result<Option<Self>> {
        for kind in [Kind::Uid, Kind::Gid] {
            if subordinate(kind, name, uid)?.iter().all(|range| range.count == 0) {
                return Ok(Some(Self::Ranges));
            }
        }
        Ok(Self::of_programs())
    }

    /// What newuidmap and newgidmap lack, if anything.
    pub fn of_programs() -> Option<Self> {
        for program in [Kind::Uid, Kind::Gid].map(Kind::program) {
            match in_path(program) {
                None => return Some(Self::Program(program)),
                Some(path) if !is_privileged(&path) => return Some(Self::Privilege(path)),
                Some(_) => {}
            }
        }
        nix::sys::prctl::get_no_new_privs().is_ok_and(|set| set).then_some(Self::NewPrivileges)
    }

    /// What to do about it.
    pub fn cure(&self, name: &str) -> String {
        match self {
            Self::Ranges => {
                let (first, last) = (unlent(), unlent() + 65535);
                format!("sudo usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {name}")
            }
            Self::Program(_) => "sudo apt-get install uidmap (Fedora: sudo dnf install shadow-utils)".into(),
            Self::Privilege(path) => format!("sudo chmod u+s {}", path.display()),
            Self::NewPrivileges => "start podling where no_new_privs is not set (systemd: NoNewPrivileges=no)".into(),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Ranges => f.write_str("/etc/subuid or /etc/subgid lends you no ids"),
            Self::Program(program) => write!(f, "{program} is not installed"),
            Self::Privilege(path) => write!(f, "{} has no privilege", path.display()),
            Self::NewPrivileges => f.write_str("no_new_privs is set: newuidmap gets no privilege"),
        }
    }
}

/// Whether whoever executes this file becomes root or gets capabilities. One that cannot be read may.
fn is_privileged(program: &Path) -> bool {
    if std::fs::metadata(program).is_ok_and(|it| it.mode() & 0o4000 != 0 && it.uid() == 0) {
        return true;
    }
    File::open(program).is_ok_and(|file| {
        sys::fgetxattr(file.as_fd(), OsStr::new("security.capability")).is_ok_and(|it| !it.is_empty())
    })
}

/// A map that puts `own` at 0 and the lent ranges one after another from 1 on.
pub fn with_subordinates(own: u32, ranges: &[Range]) -> Vec<IdMap> {
    let mut map = vec![IdMap { container: 0, host: own, size: 1 }];
    let mut next = 1u32;
    for range in ranges.iter().filter(|range| range.count > 0) {
        let size = range.count.min(u32::MAX - next);
        map.push(IdMap { container: next, host: range.start, size });
        next += size;
    }
    map
}

/// The id outside that `id` inside is, if the map has it.
pub fn to_host(map: &[IdMap], id: u32) -> Option<u32> {
    map.iter().find(|range| id >= range.container && id - range.container < range.size).map(|range| {
        let offset = id - range.container;
        range.host + offset
    })
}

/// The id inside that `id` outside is, if the map has it.
pub fn to_container(map: &[IdMap], id: u32) -> Option<u32> {
    map.iter().find(|range| id >= range.host && id - range.host < range.size).map(|range| {
        let offset = id - range.host;
        range.container + offset
    })
}

/// How many ids the map holds.
pub fn count(map: &[IdMap]) -> u64 {
    map.iter().map(|range| u64::from(range.size)).sum()
}

/// This process's own map.
pub fn current(kind: Kind) -> Result<Vec<IdMap>> {
    let path = format!("/proc/self/{}", kind.file());
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    parse(&text).with_context(|| path)
}

/// Whether this is the machine's first user namespace, where all ids are themselves.
pub fn is_initial(uids: &[IdMap]) -> bool {
    uids == [IdMap { container: 0, host: 0, size: u32::MAX }]
}

fn parse(text: &str) -> Result<Vec<IdMap>> {
    text.lines()
        .map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
                (Some(Ok(container)), Some(Ok(host)), Some(Ok(size)), None) => Ok(IdMap { container, host, size }),
                _ => bail!("{line:?} is not three numbers"),
            }
        })
        .collect()
}

/// Writes a map of process `pid`'s user namespace ourselves. Without privilege outside that may only be one id, our own,
/// and for gids only after [`deny_setgroups`].
pub fn write(pid: Pid, kind: Kind, map: &[IdMap]) -> Result<()> {
    let text: String = map.iter().map(|range| format!("{range}\n")).collect();
    let path = format!("/proc/{pid}/{}", kind.file());
    // One write: the kernel takes a map only once, and only whole.
    trace::ask(Topic::User, "write", format_args!("{path} {}", text.trim_end().replace('\n', ", ")), || {
        std::fs::write(&path, &text)
    })
    .with_context(|| format!("writing {path}: {}", text.trim_end().replace('\n', ", ")))
}

/// Forbids `setgroups` in process `pid`'s user namespace for good (user_namespaces(7)).
pub fn deny_setgroups(pid: Pid) -> Result<()> {
    let path = format!("/proc/{pid}/setgroups");
    trace::ask(Topic::User, "write", format_args!("{path} deny"), || std::fs::write(&path, "deny")).context(path)
}

/// newuidmap or newgidmap at work.
#[derive(Debug)]
pub struct Writer {
    program: &'static str,
    told: String,
    child: Child,
}

/// Has newuidmap or newgidmap begin to write a map of process `pid`'s user namespace. The two files do not wait for each
/// other, so neither need the two programs.
pub fn begin_with_program(pid: Pid, kind: Kind, map: &[IdMap]) -> Result<Writer> {
    let program = kind.program();
    let numbers = map.iter().flat_map(|range| [range.container, range.host, range.size]);
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let told = map.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let child = trace::ask(Topic::User, program, format_args!("{pid} {told}"), || command.spawn())
        .with_context(|| format!("running {program}"))?;
    Ok(Writer { program, told, child })
}

impl Writer {
    /// Waits until the map is written.
    pub fn end(self) -> Result<()> {
        let Self { program, told, child } = self;
        let output = child.wait_with_output().with_context(|| format!("waiting for {program}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} refused {told}: {}", said.trim().lines().last().unwrap_or("no reason given"));
        }
        Ok(())
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} {} {}", self.container, self.host, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lent_ids_are_found_by_name_and_by_number() {
        let text = "# lent\nroot:1:1\nann:100000:65536\n1000:300000:10\nbob:1:2\n";
        let expected = [Range { start: 100_000, count: 65536 }, Range { start: 300_000, count: 10 }];
        assert_eq!(parse_subordinate(text, "ann", 1000).expect("sound"), expected);
        assert!(parse_subordinate("ann:1000", "ann", 1000).is_err());
        assert!(parse_subordinate("ann:4294967295:2", "ann", 1000).is_err());
    }

    #[test]
    fn a_range_ends_where_the_next_may_begin() {
        assert_eq!(end_of_range("ann:100000:65536"), Some(165_536));
        assert_eq!(end_of_range("# ann"), None);
        assert_eq!(end_of_range("ann:4294967295:2"), None);
    }

    #[test]
    fn an_id_is_found_in_both_directions() {
        let map = with_subordinates(1000, &[Range { start: 100_000, count: 65536 }]);
        assert_eq!(to_host(&map, 0), Some(1000));
        assert_eq!(to_host(&map, 1), Some(100_000));
        assert_eq!(to_host(&map, 65537), None);
        assert_eq!(to_container(&map, 100_001), Some(2));
        assert_eq!(count(&map), 65537);
    }

    #[test]
    fn the_kernel_s_own_table_is_read() {
        let map = parse("         0       1000          1\n         1     100000      65536\n").expect("sound");
        assert_eq!(map[1], IdMap { container: 1, host: 100_000, size: 65536 });
        assert!(is_initial(&parse("0 0 4294967295\n").expect("sound")));
    }
}
