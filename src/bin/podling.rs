//! The program `podling`.

use podling::engine::userns;

fn main() {
    let mut arguments = std::env::args_os().skip(1).peekable();
    // A copy of ourselves that another podling left outside its new user namespace; see engine::userns.
    if arguments.peek().is_some_and(|first| first == userns::MAP_IDS) {
        let words: Vec<String> = arguments.skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        let mapped = userns::map_ids(&words);
        if let Err(error) = &mapped {
            eprintln!("{error:#}");
        }
        std::process::exit(i32::from(mapped.is_err()));
    }
    std::process::exit(podling::cli::main(arguments));
}
