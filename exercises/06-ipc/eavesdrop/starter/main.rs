//! Usage: eavesdrop

use anyhow::{Result, bail};

/// How a secret begins.
const SECRET: &str = "secret-";

fn main() -> Result<()> {
    // TODO: three ways, one after the other.
    bail!("nobody says anything that begins with {SECRET}")
}
