//! Everything that OCI's specification lets a bundle ask for, and what podling-runtime makes of it.

mod basics;
mod command_line;
mod fields;
mod hooks;
mod mounts;
mod network;
mod process;
mod resources;
mod seccomp;
