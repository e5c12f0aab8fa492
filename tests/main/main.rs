//! One test program, which goes through the real programs: what a person would type, and what they would see.
//!
//! A test is a sentence about behaviour and a few lines of command line. [`both!`] runs it twice, in a [`World`] of root
//! and in one of an ordinary user:
//!
//! ```ignore
//! both!(exit_status_is_the_programs, |world| {
//!     world.podling(["run", "--rm", world.image("witness"), "exit", "7"]).fails(7);
//! });
//! ```
//!
//! Nothing here sleeps: a test waits for a descriptor, a file or a process, and every wait has a deadline. Dropping a
//! world removes its containers and then *fails the test* if a process, a mount, a cgroup or a file is left.
//!
//! The same program, with `PODLING_TEST_RUNTIME=crun` (or `runc`), runs the tests with another runtime in our runtime's
//! place: a second opinion. `tests/vm/run` carries it into a virtual machine with systemd and a delegated cgroup tree.
//!
//! In a test, `expect` is the assertion that this machine is sound; the message says what was relied upon.
#![allow(dead_code)] // the harness is a small library; not every half of it has a caller every day

#[macro_use]
mod world;
mod images;
mod leftovers;
mod manager;
mod monitored;
mod running;
mod runtime;
mod second_opinion;
mod setup;
mod skip;

mod attacks;
mod bad_input;
mod book;
mod broken;
mod bundles;
mod changes;
mod chapters;
mod command_line;
mod conmon;
mod containers;
mod copy;
mod crash;
mod delegated;
mod deputy;
mod docker;
mod equivalence;
mod exercises;
mod flags;
mod fresh;
mod harness;
mod inside;
mod layering;
mod lifecycle;
mod listing;
mod monitor;
mod neighbours;
mod network;
mod oci;
mod podman;
mod pulling;
mod readme;
mod registries;
mod security;
mod services;
mod stats;
mod telling;
mod tree;
mod userns;
mod users;
mod volumes;
mod walls;
mod weather;
