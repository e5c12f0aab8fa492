//! The programs of the book: that each does what its chapter says, that it uses only what earlier chapters have built,
//! that what it makes looks like what the engine makes, and that the attack of its chapter fails.

mod imports;

mod cgroups;
mod equivalence;
mod fork;
mod images;
mod ipc;
mod monitor;
pub mod mount;
mod pid;
mod pods;
pub mod systemd;
mod user_namespace;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::running::{Input, Output, Running};
use crate::setup::setup;
use crate::world::World;

/// A directory that can be a container's root: these programs, each with the libraries that it needs.
pub fn root_with(world: &World, programs: &[&str]) -> PathBuf {
    let root = world.directory("root");
    for name in ["proc", "dev", "tmp"] {
        world.directory(&format!("root/{name}"));
    }
    for name in programs {
        let program = setup().chapter(name);
        fs::copy(&program, root.join(name)).expect("our own directory");
        // `ldd` prints `name => /path (address)` or `/path (address)`; nothing for a static program.
        let said = world.program("ldd", [&program]).stdout;
        for library in said.split_whitespace().filter(|word| word.starts_with('/')) {
            let place = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(place.parent().expect("a library lies in a directory")).expect("our own directory");
            fs::copy(Path::new(library), place).expect("our own directory");
        }
    }
    root
}

/// Runs a chapter's program where nobody may make another user namespace.
pub fn forbid_user_namespaces(world: &World, chapter: &str, words: &[&str]) -> Output {
    let mut command = world.command(setup().chapter(chapter));
    command.args(words);
    Running::start(without_user_namespaces(world, &command), Input::Empty).wait()
}

/// The same for a command.
fn without_user_namespaces(world: &World, command: &Command) -> Command {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"";
    let mut outer = world.command("unshare");
    outer.args(["--user", "--map-root-user", "sh", "-c", script]).arg(command.get_program()).args(command.get_args());
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}
