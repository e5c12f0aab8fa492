//! Archives: images in one file, for `save` and `load`.
//!
//! ```text
//! docker-archive   manifest.json  CONFIG.json  LAYER.tar …        names and order of layers in manifest.json
//! oci-archive      oci-layout  index.json  blobs/sha256/…         our own store, as a tar file
//! ```
//!
//! Either also as a directory. Which it is, and how it is compressed, is seen and not asked.

mod load;
mod save;

pub use load::{load, load_directory};
pub use save::{Format, Wanted, save, save_directory};

#[cfg(test)]
mod tests;
