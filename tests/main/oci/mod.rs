//! Everything that OCI's specification lets a bundle ask for, and what podling-runtime makes of it.

mod command_line;
mod mounts;
mod process;
mod resources;
mod seccomp;
