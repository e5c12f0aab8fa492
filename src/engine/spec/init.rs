//! `--init`: who is pid 1 in the program's place.
//!
//! Our own runtime is: it stays, and needs no file in the container. Another runtime is given a program to bind there, as
//! Podman does; it must be static, for the image may have no libraries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::engine::container::{ContainerConfig, Init};
use crate::engine::{Engine, in_path};

/// Where the program is bound, inside.
pub const INSIDE: &str = "/run/podling-init";

/// What `--init` comes to with the runtime that a container has.
pub enum Pid1 {
    /// The container's own program.
    Program,
    /// podling-runtime.
    Runtime,
    /// An init program of the machine's.
    Init(PathBuf),
}

/// Asked at each start: the runtime may be another one then.
pub fn pid1(engine: &Engine, config: &ContainerConfig) -> Result<Pid1> {
    match &config.init {
        None => Ok(Pid1::Program),
        Some(Init::Program(path)) => Ok(Pid1::Init(path.clone())),
        Some(Init::Any) if engine.runtime(&config.runtime)?.ends_with("podling-runtime") => Ok(Pid1::Runtime),
        Some(Init::Any) => {
            let places = ["/usr/libexec/podman/catatonit", "/usr/libexec/podling/catatonit"].map(PathBuf::from);
            let found = in_path("catatonit").or_else(|| places.into_iter().find(|path| path.is_file()));
            let found = found.or_else(|| in_path("tini-static")).or_else(|| in_path("docker-init"));
            let cure = "--init with another runtime than podling-runtime needs the program catatonit \
                        (install it, or name another with --init-path)";
            Ok(Pid1::Init(found.context(cure)?))
        }
    }
}

impl Pid1 {
    /// The program to be bound at [`INSIDE`].
    pub fn bound(&self) -> Option<&Path> {
        if let Self::Init(path) = self { Some(path) } else { None }
    }
}
