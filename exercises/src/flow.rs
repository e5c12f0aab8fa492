//! Texts as wide as the terminal that shows them: their authors broke the lines for other windows.

use std::io::{IsTerminal, stdout};
use std::os::fd::AsFd;

use podling::sys;

/// Lines longer than this are hard to read, however wide the window.
const WIDEST: usize = 100;

/// The text for standard output: flowed for a terminal, as it is for anything else.
pub fn flowed(text: &str) -> String {
    if !stdout().is_terminal() {
        return text.to_owned();
    }
    match sys::window_size(stdout().as_fd()) {
        Ok((_, columns)) if columns > 0 => flow(text, usize::from(columns).min(WIDEST)),
        _ => text.to_owned(),
    }
}

/// Breaks the lines of each paragraph and list item anew; code and tables stay as they are.
fn flow(text: &str, width: usize) -> String {
    let (mut flowed, mut block, mut in_code) = (String::new(), String::new(), false);
    for line in text.lines() {
        let fence = line.starts_with("```");
        let fixed = in_code || fence || line.trim().is_empty() || line.starts_with("    ") || line.starts_with('|');
        if fixed || marker(line) > 0 {
            flowed += &wrap(&std::mem::take(&mut block), width);
        }
        in_code ^= fence;
        if fixed {
            flowed += line;
            flowed.push('\n');
        } else {
            block += if block.is_empty() { "" } else { " " };
            block += if marker(line) > 0 { line } else { line.trim() };
        }
    }
    flowed + &wrap(&block, width)
}

/// How long the mark is with which a list item begins, its space included; 0, if this begins none.
fn marker(line: &str) -> usize {
    let digits = line.chars().take_while(char::is_ascii_digit).count();
    let rest = &line[digits..];
    match digits {
        0 if rest.starts_with("- ") => 2,
        1.. if rest.starts_with(". ") => digits + 2,
        _ => 0,
    }
}

/// One paragraph; the lines after a list item's first stand below its text.
fn wrap(block: &str, width: usize) -> String {
    let (indent, mut lines, mut line) = (" ".repeat(marker(block)), String::new(), String::new());
    for word in block.split_whitespace() {
        if !line.trim().is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines += &line;
            lines.push('\n');
            line.clone_from(&indent);
            line += word;
        } else {
            line += if line.is_empty() { "" } else { " " };
            line += word;
        }
    }
    if line.is_empty() { lines } else { lines + &line + "\n" }
}

#[cfg(test)]
mod tests {
    use super::flow;

    #[test]
    fn paragraphs_and_items_flow_and_code_does_not() {
        assert_eq!(flow("one two\nthree four\n\nfive\n", 13), "one two three\nfour\n\nfive\n");
        assert_eq!(flow("text:\n- one two\n  three\n- four\n", 9), "text:\n- one two\n  three\n- four\n");
        assert_eq!(flow("1. one two three\n", 10), "1. one two\n   three\n");
        assert_eq!(flow("```sh\na   b\nc\n```\nd\ne\n", 80), "```sh\na   b\nc\n```\nd e\n");
        assert_eq!(flow("aaaaaaaaaaaa b\n", 5), "aaaaaaaaaaaa\nb\n", "no word is broken");
    }
}
