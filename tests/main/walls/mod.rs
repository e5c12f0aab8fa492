//! Walls: what somebody else's image, archive, or program in a container may try, each attack by its name, and that it
//! fails.
//!
//! A test of a wall can pass for a wrong reason: the attack was none. So where it is cheap the test also shows that the
//! same attack succeeds against the obvious way of doing the thing, the one without the wall.
//!
//! Races are loops of so many rounds, never of so much time: an attacker spins, and what he attacks is done again and again.

use std::path::Path;

use serde_json::Value;

use crate::images::{Layer, Layout};
use crate::running::{Input, Running};
use crate::setup::setup;
use crate::world::World;

mod copies;
mod images;
mod kernel_files;
mod lent;
mod ours;
mod races;

/// A witness that attacks until it is dropped, as whoever acts in this world: on the host, where the directory is that a
/// container would see under another name.
struct Attacker(Running);

impl Attacker {
    #[track_caller]
    fn start(world: &World, words: &[&str]) -> Self {
        let mut command = world.command(setup().bin("witness"));
        command.args(words);
        let mut running = Running::start(command, Input::Empty);
        assert_eq!(running.line(), "ready");
        Self(running)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.child.kill();
        let _ = self.0.child.wait();
    }
}

/// An image of these layers, in this world's store under this name from now on.
#[track_caller]
fn image<'a>(world: &World, name: &'a str, layers: Vec<Layer>, config: &Value) -> &'a str {
    let archive = world.dir.join("tmp").join(format!(".{name}"));
    Layout::new(layers, config).write_archive(&archive, name);
    world.podling(["load", "-q", "-i", text(&archive)]).ok();
    name
}

/// `path` as text.
fn text(path: &Path) -> &str {
    path.to_str().expect("plain ASCII")
}
