//! The program `podling-monitor`.
fn main() {}
