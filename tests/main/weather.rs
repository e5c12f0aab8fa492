//! Bad weather: a machine that has no room, no ids, no directory, no reader, for what podling wants to do. One clear line,
//! a cure that works, the right exit status, and nothing lost.
//!
//! Most of it has to be made first, by mounting something over a piece of the machine: `Small` in the run's own mount
//! namespace, for what several commands must see, and `after` in one of a single command's own.

mod disk;
mod doctor;
mod ids;
mod pipes;
mod places;
mod registry;
mod store;

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::running::{Input, Output, Running};
use crate::setup::{self, setup};
use crate::world::{Who, World};

/// Whether root started this run, who alone can change the weather; if not, the test is skipped.
fn can_mount() -> bool {
    if !setup().is_root {
        crate::skip::skip("not started by root");
    }
    setup().is_root
}

/// A small file system of the world's.
struct Small<'a> {
    world: &'a World,
    dir: PathBuf,
}

impl<'a> Small<'a> {
    /// Mounts it on a directory, which is made.
    fn mount(world: &'a World, dir: PathBuf, size: &str) -> Self {
        setup::make_directory(&dir);
        let (uid, gid) = if world.who == Who::Root { (0, 0) } else { (setup().user.uid, setup().user.gid) };
        // What lies below it counts again in the end.
        chown(&dir, Some(uid), Some(gid)).expect("root gives away");
        let options = format!("size={size},mode=700,uid={uid},gid={gid}");
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("root mounts");
        Self { world, dir }
    }

    fn filler(&self) -> PathBuf {
        self.dir.join(".filler")
    }

    /// Leaves this many pages free.
    fn leave(&self, pages: u64) {
        let mut filler = fs::File::create(self.filler()).expect("our own file system");
        while filler.write_all(&[0; 4096]).is_ok() {}
        let end = filler.stream_position().expect("a position") & !4095;
        filler.set_len(end.saturating_sub(pages * 4096)).expect("shorter");
    }

    /// Makes room again.
    fn make_room(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    /// Removes the world's containers while their files are there, and unmounts.
    fn end(self) {
        self.world.podling(["rm", "--force", "--all", "--time=0"]).ok();
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
    }
}

/// It failed for want of room, in one line, and nothing else was said but the hint.
#[track_caller]
fn no_room(output: &Output) -> (&str, Option<&str>) {
    let lines: Vec<&str> = output.fails(125).lines().collect();
    assert!(lines[0].starts_with("Error: ") && lines[0].to_lowercase().contains("no space left on device"), "{output}");
    assert!(lines.len() == 1 || lines.len() == 2 && lines[1].starts_with("hint: "), "{output}");
    (lines[0], lines.get(1).copied())
}

/// A program of this world, in a mount namespace of its own in which root has run `script` first. There `$WORLD` is the
/// world's directory, and `$USER_ID` whoever acts.
fn after(world: &World, script: &str, program: &str, arguments: &[&str]) -> Output {
    let user = setup().user.uid;
    let become_user = format!("setpriv --reuid {user} --regid {} --clear-groups", setup().user.gid);
    let become_user = if world.who == Who::Root { "" } else { &become_user };
    in_private(world, &format!("{script}\nexec {become_user} \"$@\""), program, arguments)
}

/// The same, but root runs the program.
fn as_root_after(world: &World, script: &str, program: &str, arguments: &[&str]) -> Output {
    in_private(world, &format!("{script}\nexec \"$@\""), program, arguments)
}

fn in_private(world: &World, script: &str, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.env_clear().current_dir("/").env("WORLD", &world.dir);
    command.env("USER_ID", if world.who == Who::Root { "0".into() } else { setup().user.uid.to_string() });
    let known = world.command(program);
    command.envs(known.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["--mount", "--propagation=private", "sh", "-c", &format!("set -e\n{script}"), "sh", program]);
    command.args(arguments);
    Running::start(command, Input::Empty).wait()
}

/// `podling WORDS…` with some variables of its environment changed; an empty value takes one away.
fn with_environment(world: &World, changes: &[(&str, &OsStr)], words: &[&str]) -> Output {
    let mut command = world.command(setup().bin("podling"));
    for (name, value) in changes {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
    command.args(words);
    Running::start(command, Input::Empty).wait()
}

/// What a sh line does in this world.
fn shell(world: &World, line: &str) -> Output {
    world.program("sh", ["-c", line])
}

/// The files of a store, but for locks, the log of events, and what containers themselves write.
fn tree(store: &Path) -> Vec<String> {
    let (mut found, mut to_see) = (Vec::new(), vec![store.to_path_buf()]);
    while let Some(dir) = to_see.pop() {
        for path in fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if [".filler", "adding", "events"].contains(&&*name) || name.ends_with("lock") {
                continue;
            }
            found.push(path.strip_prefix(store).expect("below").display().to_string());
            if !["upper", "work"].contains(&&*name) && path.is_dir() && !path.is_symlink() {
                to_see.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Makes a directory, whoever's it becomes.
fn directory(path: &Path, mode: u32) {
    setup::make_directory(path);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own directory");
}
