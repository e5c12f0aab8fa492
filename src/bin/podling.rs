//! The program `podling`.
fn main() {}
