//! What kind of file a `stat` is of (inode(7)).

use nix::sys::stat::{FileStat, SFlag};

/// One of `S_IFREG`, `S_IFDIR`, `S_IFLNK`, `S_IFIFO`, `S_IFCHR`, `S_IFBLK`, `S_IFSOCK`.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether it is of a file of this kind.
pub fn is(stat: &FileStat, wanted: SFlag) -> bool {
    kind(stat) == wanted
}
