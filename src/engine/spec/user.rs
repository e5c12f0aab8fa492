//! Who the process is: `--user name:group`, looked up in the root file system's own /etc/passwd and /etc/group.
//!
//! The files belong to the image, so they are opened inside the root whatever links they are, read to a bounded length,
//! and parsed strictly: a number too large or a field too few is an error, not uid 0.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::engine::failure::Failure;
use crate::linux::resolve;

/// Whom the process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// uid inside.
    pub uid: u32,
    /// gid inside.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Its home directory; / if the image does not know the user.
    pub home: String,
}

/// `--group-add keep-groups`: no group by name, but those that the caller has already.
pub const KEEP_GROUPS: &str = "keep-groups";

/// The most of /etc/passwd or /etc/group that is read.
const FILE_MAX: u64 = 4 << 20;

/// Resolves `asked` (`user`, `user:group`, `uid`, `uid:gid`, or nothing for root) and the groups beside it.
pub fn resolve(root: impl AsFd, asked: &str, more_groups: &[String]) -> Result<User> {
    let passwd = read(&root, "/etc/passwd")?;
    let group = read(&root, "/etc/group")?;
    look_up(&passwd, &group, asked, more_groups)
}

fn look_up(passwd: &str, group: &str, asked: &str, more_groups: &[String]) -> Result<User> {
    let (user, asked_group) = match asked.split_once(':') {
        Some((user, group)) if !group.contains(':') => (user, Some(group).filter(|group| !group.is_empty())),
        Some(_) => bail!(Failure::Invalid(format!("{asked:?} is not user[:group]"))),
        None => (asked, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = number(user)?;
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6 && (fields[0] == user || number.is_some_and(|uid| fields[2].parse() == Ok(uid)))
    });
    let (name, uid, primary, home) = match (&entry, number) {
        (Some(fields), _) => {
            let id = |field: &str| {
                field.parse::<u32>().with_context(|| format!("the image's /etc/passwd: {field:?} is no id"))
            };
            (fields[0], id(fields[2])?, id(fields[3])?, fields[5])
        }
        (None, Some(uid)) => ("", uid, 0, "/"),
        (None, None) => {
            bail!(Failure::NoSuchUser(format!("unable to find user {user}: no matching entries in passwd file")))
        }
    };
    let gid = asked_group.map_or(Ok(primary), |asked| group_id(group, asked))?;
    let mut groups = Vec::new();
    // A group named on purpose replaces the user's own list, as in Docker.
    if asked_group.is_none() && !name.is_empty() {
        for fields in group.lines().map(|line| line.split(':').collect::<Vec<_>>()) {
            if let [_, _, id, members] = fields[..]
                && members.split(',').any(|member| member == name)
                && let Ok(id) = id.parse()
            {
                groups.push(id);
            }
        }
    }
    for asked in more_groups.iter().filter(|asked| *asked != KEEP_GROUPS) {
        groups.push(group_id(group, asked)?);
    }
    // His own group again among the further ones, so that a set-group-id program cannot lose it for him: what is closed to
    // a group (mode 0705) must stay closed (CVE-2022-2989).
    if !asked.is_empty() {
        groups.push(gid);
    }
    groups.sort_unstable();
    groups.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(User { uid, gid, groups, home: home.into() })
}

fn group_id(group: &str, asked: &str) -> Result<u32> {
    let number = number(asked)?;
    group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 3 && fields[0] == asked)
        .and_then(|fields| fields[2].parse().ok())
        .or(number)
        .ok_or_else(|| {
            Failure::NoSuchUser(format!("unable to find group {asked}: no matching entries in group file")).into()
        })
}

/// A number, if the word is one; a number no id can be is an error.
fn number(word: &str) -> Result<Option<u32>> {
    if !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse::<u32>() {
        Ok(id) if i32::try_from(id).is_ok() => Ok(Some(id)),
        _ => bail!(Failure::Invalid(format!("{word} is too large for a user or group id"))),
    }
}

/// A file of the root file system, or nothing if there is none.
pub fn read(root: impl AsFd, path: &str) -> Result<String> {
    let file = match resolve::open_file_in_root(root, Path::new(path), OFlag::O_RDONLY) {
        Err(Errno::EINVAL) => bail!("the image's {path} is not a file"),
        Err(_) => return Ok(String::new()),
        Ok(file) => File::from(file),
    };
    let mut text = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut text).with_context(|| format!("reading the image's {path}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbad:x:99999999999:0::/:\n";
    const GROUP: &str = "root:x:0:\nann:x:1000:\naudio:x:29:bob,ann\nvideo:x:44:\n";

    fn told(asked: &str) -> Result<(u32, u32, Vec<u32>, String)> {
        look_up(PASSWD, GROUP, asked, &[]).map(|user| (user.uid, user.gid, user.groups, user.home))
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(told("").expect("root"), (0, 0, vec![], "/root".into()));
        assert_eq!(told("ann").expect("ann"), (1000, 1000, vec![29, 1000], "/home/ann".into()));
        assert_eq!(told("1000").expect("1000"), (1000, 1000, vec![29, 1000], "/home/ann".into()));
        assert_eq!(told("ann:video").expect("ann:video"), (1000, 44, vec![44], "/home/ann".into()));
        assert_eq!(told("5:6").expect("5:6"), (5, 6, vec![6], "/".into()));
        assert_eq!(look_up(PASSWD, GROUP, "5", &["audio".into()]).expect("5").groups, [0, 29]);
    }

    #[test]
    fn nothing_misread_becomes_root() {
        for asked in ["nobody", "1:2:3", "bad", "4294967296", "-1", "ann:none", "99999999999"] {
            assert!(told(asked).is_err(), "{asked:?} is nobody");
        }
    }
}
