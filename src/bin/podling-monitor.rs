//! The program `podling-monitor`.
fn main() -> std::process::ExitCode {
    podling::monitor::main(std::env::args_os())
}
