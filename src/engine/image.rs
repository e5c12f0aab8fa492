//! Images as the engine uses them: found by name, pulled as the policy says, unpacked into `layers/`.

/// Whoever watches a pull. (Becomes `crate::image::Progress` when that lands.)
pub trait Progress: Sync {}
