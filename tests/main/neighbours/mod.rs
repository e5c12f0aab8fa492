//! The neighbours: programs of others in a chain with ours. Buildah and containerd run their containers on podling-runtime,
//! and images go back and forth between podling and all who store some. (Podman has more to say: `podman.rs` and
//! `conmon/podman.rs`.)

use std::process::Command;

use crate::world::World;

mod buildah;
pub mod containerd;
mod images;

/// The same command, with the terminal that it is started on as its controlling one.
pub fn controlling(world: &World, inner: &Command) -> Command {
    let mut command = world.command("setsid");
    command.args(["--ctty", "--"]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}
