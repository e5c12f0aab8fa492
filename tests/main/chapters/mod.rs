//! The programs of the book: that each does what its chapter says, that it uses only what earlier chapters have built,
//! that what it makes looks like what the engine makes, and that the attack of its chapter fails.

mod imports;

mod cgroups;
mod equivalence;
mod fork;
pub mod mount;
mod pid;
mod user_namespace;
