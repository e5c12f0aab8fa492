//! What the kernel gives: one mechanism a file, at the grain of kernel operations.
//!
//! Nothing here knows what a container is; the words are descriptor, path, pid, flag, number. So each chapter of the
//! book can use a mechanism by itself, and the engine's code stays free of system calls.

pub mod caps;
pub mod cgroup;
pub mod copy;
pub mod dbus;
pub mod foreground;
pub mod idmap;
pub mod ipc;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod overlay;
pub mod poll;
pub mod process;
pub mod pty;
pub mod ranges;
pub mod reaper;
pub mod resolve;
pub mod rootfs;
pub mod scheduling;
pub mod seccomp;
pub mod socket;
pub mod stat;
pub mod terminal;
pub mod userns;
