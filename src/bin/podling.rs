//! The program `podling`.

fn main() {
    std::process::exit(podling::cli::main(std::env::args_os().skip(1)));
}
