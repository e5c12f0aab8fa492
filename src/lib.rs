//! podling, a daemonless container engine that teaches itself: the map.
//!
//! ```text
//!           words        requests            bundle             system calls
//!  person ─────────▶ cli ─────────▶ engine ─────────▶ monitor ─────────▶ runtime ─────────▶ kernel
//!                    └────── program podling ──────┘  podling-monitor    podling-runtime
//!  (Podman's chain:   podman CLI      libpod             conmon            crun / runc       kernel)
//! ```
//!
//! # One rule
//!
//! ```text
//! row 6   bin                          three mains, a line or two each
//! row 5   cli                          a front door: people (programs that speak REST will get theirs, `api`)
//! row 3   engine · monitor · runtime   the three minds; side by side, they never name each other
//! row 2   image                        what a registry gives
//! row 1   linux · handover             what the kernel gives; plain data our programs pass to each other (and OCI's types)
//! row 0   sys · trace · hint           all unsafe code; the narration; errors with their cure
//! ```
//!
//! **A module names only modules in lower rows.** Engine, monitor and runtime meet only where processes meet: a file you
//! can `cat`, a descriptor you can see in /proc, an exit status. `tests/main/layering.rs` reads every `use` and holds us to it.
//!
//! At its edge each program speaks its counterpart's language: podling-runtime takes runc's and crun's command line, and
//! podling-monitor, called as conmon, conmon's (`monitor::conmon`).
//!
//! Nouns follow rows: rows 1 and 2 speak of descriptors, paths, pids, flags; only row 3 knows what a container is. So a
//! chapter of the book can use a mechanism with no engine in sight.
//!
//! # Reading order
//!
//! [`handover`] (what passes between the programs), then `runtime::init` (a container's first process, in order), then
//! the mechanisms it calls in [`linux`], then `monitor`, then `engine::launch`. [`sys`] last, with the man pages open.
//!
//! # Invariants
//!
//! * podling-runtime and podling-monitor never have a second thread. Only podling-runtime clones; podling copies itself
//!   once (`linux::userns`), before it has a second thread, and podling-monitor once, if it was called as conmon.
//! * A container's status is derived from files and a live pid, never stored.
//! * A pid is believed only with its start time, and then held as a pidfd.
//! * No path inside a container's root is resolved twice, and none outside `openat2(RESOLVE_IN_ROOT)`.
//! * A store file has one writer: temporary file, fsync, rename.
//! * Locks are `flock`s: whoever has the store's waits for no container's, and whoever has a container's waits for no
//!   other's. Readers take none.

pub mod hint;
pub mod sys;
pub mod trace;

#[cfg(feature = "oci")]
pub mod handover;

pub mod linux;

#[cfg(feature = "image")]
pub mod image;

#[cfg(feature = "monitor")]
pub mod monitor;
#[cfg(feature = "runtime")]
pub mod runtime;

#[cfg(feature = "engine")]
pub mod engine;

#[cfg(feature = "engine")]
pub mod cli;
