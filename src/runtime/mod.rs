//! podling-runtime: makes a container out of a bundle, as OCI's runtime specification says.
//!
//! A bundle is a directory with a root file system and a `config.json`. This program reads it, makes the namespaces and
//! mounts that it asks for, becomes the program it names, and is gone. Its command line is runc's and crun's, so Podman,
//! Buildah and containerd can call it in their place.
//!
//! Read in this order: [`plan`] (everything is parsed, checked and opened before anything is made), [`create`] (the
//! parent's side of a birth), [`init`] (the child's life in order, to `execve`), [`lifecycle`] (what can be done with a
//! container then), [`exec`] (one more process in it).
//!
//! The subtlety is that one program text runs on both sides of the wall. What runs in [`init`], [`filesystem`] and
//! [`program`] runs among files that the image chose: until it has changed its root it opens nothing there but through
//! `linux::resolve`, and it holds nothing of the host's open when the container's program starts.

use std::fmt;
use std::process::ExitCode;

use crate::hint;
use crate::trace::{self, Actor};

mod arguments;
mod cgroups;
mod commands;
mod create;
mod events;
mod exec;
mod features;
mod filesystem;
mod handshake;
mod hooks;
mod init;
mod lifecycle;
mod netdevices;
// Public, so that a config.json can be understood without a container's being made of it.
pub mod plan;
mod processes;
mod program;
mod protect;
mod spec;
pub mod state;
mod statistics;
mod time;
mod update;

/// The program: its arguments without its own name.
pub fn main(arguments: Vec<String>) -> ExitCode {
    trace::begin(Actor::Runtime);
    let mut log = commands::Log::default();
    match commands::run(arguments, &mut log) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let status = error.downcast_ref::<Failure>().map_or(1, |failure| failure.status);
            log.error(&hint::line(&error));
            ExitCode::from(status)
        }
    }
}

/// An error that has an exit status of its own: 126 and 127 are a contract with whoever calls us.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub status: u8,
    /// What to print.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
