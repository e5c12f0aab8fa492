//! Images: what a registry gives, and how it becomes directories that overlay can mount.
//!
//! ```text
//!  registry ──pull──▶ layout (blobs named by digest, index.json) ──layer::unpack──▶ layers/<chain id>/
//!  archive  ──load──▶                                             ◀──layer::pack─── an overlay's upper directory
//! ```
//!
//! An image is a tree of digests: a manifest names a configuration (what to run, and the digest of each *unpacked*
//! layer) and its layers (compressed tar files). Nothing here knows what a container is, or whose directories it is
//! given; the engine does.

pub mod archive;
#[cfg(feature = "registry")]
pub mod auth;
pub mod compose;
pub mod convert;
pub mod digest;
pub mod host_tools;
pub mod layer;
pub mod layout;
pub mod platform;
pub mod progress;
#[cfg(feature = "registry")]
pub mod pull;
#[cfg(feature = "registry")]
pub mod push;
pub mod reference;
#[cfg(feature = "registry")]
pub mod registries;
#[cfg(feature = "registry")]
pub mod registry;

pub use digest::Digest;
pub use layer::Layers;
pub use layout::{Layout, LoadedImage};
pub use progress::{Event, Progress};
pub use reference::Reference;
