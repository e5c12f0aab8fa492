//! The program `podling-runtime`.
fn main() {}
