//! A name for the container's user in its /etc/passwd, because programs ask what they are called and where they live: for
//! the caller, who with `--userns=keep-id` is there under his own number, and for a number that the image does not know.
//!
//! The lines go into the container's own layer, as if somebody in it had added them, and only if the image knows no such
//! user or group. (A file bound over the image's would be a mount point, and `useradd` inside could not replace it.)

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use super::user;
use crate::engine::container::{ContainerConfig, Root};
use crate::engine::environment::expand;
use crate::engine::settings::{Passwd, UsernsMode};
use crate::engine::{Engine, Owner, userns};
use crate::linux::resolve;

/// Adds the user to the root file system's /etc/passwd and /etc/group, if they lack him and nobody said to leave them.
pub fn introduce(engine: &Engine, config: &ContainerConfig, root: &File) -> Result<()> {
    if config.passwd.leave || !matches!(config.root, Root::Image { .. }) {
        return Ok(());
    }
    let (passwd, group) = (user::read(root, "/etc/passwd")?, user::read(root, "/etc/group")?);
    let (in_passwd, in_group) = match (&config.namespaces.user, engine.owner) {
        (UsernsMode::KeepId { uid, gid }, Owner::User { uid: own_uid, gid: own_gid }) => {
            let inside = (uid.unwrap_or(own_uid), gid.unwrap_or(own_gid));
            let login = userns::login(own_uid).filter(|_| inside.0 == own_uid);
            let name = login.as_ref().map(|login| login.name.as_str());
            let there =
                |path: &str| resolve::open_in_root(root, Path::new(path), OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok();
            let mounted = |path: &str| config.mounts.iter().any(|mount| Path::new(path).starts_with(&mount.target));
            let home = login.as_ref().map(|login| login.home.as_str()).filter(|home| there(home) || mounted(home));
            lines(&passwd, &group, name, inside, home.unwrap_or(&config.working_dir), &config.passwd)
        }
        _ if config.user.is_empty() => return Ok(()),
        _ => {
            let who = user::resolve(root, &config.user, &[])?;
            lines(&passwd, &group, None, (who.uid, who.gid), &config.working_dir, &config.passwd)
        }
    };
    for (path, text, line) in [("/etc/passwd", &passwd, in_passwd), ("/etc/group", &group, in_group)] {
        if let Some(line) = line
            && !text.is_empty()
        {
            append(root, path, text, &line).with_context(|| format!("adding the user to the container's {path}"))?;
        }
    }
    Ok(())
}

/// The lines that are missing.
fn lines(
    passwd: &str,
    group: &str,
    name: Option<&str>,
    (uid, gid): (u32, u32),
    home: &str,
    said: &Passwd,
) -> (Option<String>, Option<String>) {
    let knows = |text: &str, id: u32| text.lines().any(|line| line.split(':').nth(2) == Some(&id.to_string()));
    let taken = |text: &str, name: &str| text.lines().any(|line| line.split(':').next() == Some(name));
    let free = |text: &str, id: u32| name.filter(|name| !taken(text, name)).map_or_else(|| id.to_string(), Into::into);
    let user = free(passwd, uid);
    let comment = if name.is_some() { "" } else { "container user" };
    let meant = |word: &str| match word {
        "USERNAME" => Some(user.clone()),
        "UID" => Some(uid.to_string()),
        "GID" => Some(gid.to_string()),
        "NAME" => Some(comment.into()),
        "HOME" => Some(home.into()),
        "GROUPNAME" => Some(free(group, gid)),
        _ => None,
    };
    let line = |asked: &Option<String>, usual: &str| expand(asked.as_deref().unwrap_or(usual), meant) + "\n";
    let in_passwd = (!knows(passwd, uid)).then(|| line(&said.entry, "$USERNAME:*:$UID:$GID:$NAME:$HOME:/bin/sh"));
    let in_group = (!knows(group, gid)).then(|| line(&said.group_entry, "$GROUPNAME:x:$GID:$USERNAME"));
    (in_passwd, in_group)
}

fn append(root: &File, path: &str, text: &str, line: &str) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
    let mut file = File::from(resolve::open_file_in_root(root, Path::new(path), flags)?);
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    Ok(file.write_all(format!("{newline}{line}").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_missing_is_added() {
        let (passwd, group) =
            ("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n", "root:x:0:\nstaff:x:50:\n");
        let told = |name, ids| {
            let (user, group) = lines(passwd, group, name, ids, "/work", &Passwd::default());
            format!("{}{}", user.unwrap_or_default(), group.unwrap_or_default())
        };
        assert_eq!(told(Some("bob"), (2000, 2000)), "bob:*:2000:2000::/work:/bin/sh\nbob:x:2000:bob\n");
        assert_eq!(told(Some("bob"), (2000, 50)), "bob:*:2000:50::/work:/bin/sh\n");
        assert_eq!(told(None, (5, 6)), "5:*:5:6:container user:/work:/bin/sh\n6:x:6:5\n");
        assert_eq!(told(Some("bob"), (1000, 0)), "");
        let said = Passwd { entry: Some("$USERNAME:x:$UID:7:${NAME}:/h:/bin/ash".into()), ..Passwd::default() };
        let own = lines(passwd, group, None, (5, 0), "/work", &said).0;
        assert_eq!(own.as_deref(), Some("5:x:5:7:container user:/h:/bin/ash\n"));
        // The image has another user of the caller's name.
        assert_eq!(told(Some("ann"), (7, 0)), "7:*:7:0::/work:/bin/sh\n");
    }
}
