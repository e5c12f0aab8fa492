//! Progress: what a long operation tells whoever watches it.
//!
//! Events come from several threads at once, each about one blob. A terminal draws bars from them, a log prints lines,
//! and [`Silent`] drops them.

use anyhow::Result;

use super::digest::Digest;
use super::reference::Reference;

/// Something happened to a blob (or to the whole operation).
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The operation goes to this place, by its full name (`Trying to pull docker.io/library/busybox:latest...`).
    Trying(&'a str),
    /// A transfer begins; `size` is what was announced.
    Started { blob: Digest, size: u64, what: What },
    /// So many bytes of it have passed in all.
    Bytes { blob: Digest, done: u64 },
    /// The connection broke; what has arrived is kept.
    Retrying { blob: Digest, why: &'a str },
    /// It is complete and its digest is right.
    Done { blob: Digest, what: What },
    /// It need not be transferred: the receiving side has it.
    Exists { blob: Digest, what: What },
    /// A layer is being unpacked; ended by [`Event::Unpacked`].
    Unpacking { blob: Digest },
    /// A layer has been unpacked.
    Unpacked { blob: Digest },
    /// The manifest is being written, the last step.
    Writing,
    /// Something a person should know, in a line.
    Note(&'a str),
}

/// What a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A layer.
    Layer,
    /// The image's configuration.
    Config,
}

/// Whoever watches.
pub trait Progress: Sync {
    /// Takes an event; called from any thread, and must not block for long.
    fn event(&self, event: Event<'_>);

    /// Which of several names was meant; `None` if there is nobody to ask.
    fn choose(&self, _typed: &str, _names: &[Reference]) -> Result<Option<usize>> {
        Ok(None)
    }
}

/// Nobody watches.
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
