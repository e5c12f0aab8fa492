//! The program `podling-runtime`.
fn main() -> std::process::ExitCode {
    podling::runtime::main(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect())
}
