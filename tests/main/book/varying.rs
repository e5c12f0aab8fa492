//! Two texts that are the same but for what the machine chooses.
//!
//! A book that prints a pid is true on one machine, once. So a number that the kernel or podling picks (a pid, the inode of
//! a namespace, the id of a container) may differ, but only *consistently*: where the book shows one number twice, the
//! machine must give one number twice, and where the book shows two, two. What a reader learns from such numbers (the
//! same namespace, another one) is held true; which they were is not. Times and ages may be any.

use std::collections::HashMap;

use regex_lite::Regex;

/// What has been seen on a page so far.
pub struct Varying {
    patterns: Vec<(Kind, Regex)>,
    /// From the book's words to the machine's, and back.
    names: [HashMap<String, String>; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Chosen by the machine; the same stays the same.
    Name,
    /// A time, an age: never the same.
    Time,
}

/// A piece of a line: as it stands, or chosen by the machine.
#[derive(PartialEq, Eq, Debug)]
enum Piece<'a> {
    Fixed(&'a str),
    Chosen(Kind, &'a str),
}

impl Varying {
    pub fn new() -> Self {
        let built_in = [
            // user:[4026531837]
            (Kind::Name, r"[a-z_]+:\[(\d+)\]"),
            // A container's id, whole or short, and a digest.
            (Kind::Name, r"\b([0-9a-f]{64}|[0-9a-f]{12})\b"),
            (Kind::Time, r"\b(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^ ]*(?: [+-]\d{4} [A-Z]+)?)"),
            (Kind::Time, r"\b(Less than a second|About a second|1 second|\d+ seconds|About a minute)\b"),
        ];
        let patterns = built_in.map(|(kind, pattern)| (kind, Regex::new(pattern).expect("a sound pattern")));
        Self { patterns: patterns.into(), names: [HashMap::new(), HashMap::new()] }
    }

    /// From now on what the groups of this pattern match is the machine's choice.
    pub fn add(&mut self, pattern: &str) -> Result<(), String> {
        let regex = Regex::new(pattern).map_err(|error| format!("varies: {pattern}: {error}"))?;
        if regex.captures_len() < 2 {
            return Err(format!("varies: {pattern}: has no group (…)"));
        }
        self.patterns.push((Kind::Name, regex));
        Ok(())
    }

    /// Whether `actual` is what `expected` promises. A line `[…]` stands for any lines; columns may be wider or narrower.
    pub fn agree(&mut self, expected: &str, actual: &str) -> bool {
        let (expected, actual): (Vec<_>, Vec<_>) = (lines(expected), lines(actual));
        self.lines_agree(&expected, &actual)
    }

    fn lines_agree(&mut self, expected: &[String], actual: &[String]) -> bool {
        match expected.split_first() {
            None => actual.is_empty(),
            Some((first, rest)) if first == "[…]" => {
                (0..=actual.len()).any(|skipped| self.remembering(|it| it.lines_agree(rest, &actual[skipped..])))
            }
            Some((first, rest)) => match actual.split_first() {
                Some((line, others)) => self.line_agrees(first, line) && self.lines_agree(rest, others),
                None => false,
            },
        }
    }

    /// What was learnt in vain is forgotten.
    fn remembering(&mut self, test: impl FnOnce(&mut Self) -> bool) -> bool {
        let before = self.names.clone();
        let agree = test(self);
        if !agree {
            self.names = before;
        }
        agree
    }

    fn line_agrees(&mut self, expected: &str, actual: &str) -> bool {
        let pairs = (pieces(&self.patterns, expected), pieces(&self.patterns, actual));
        pairs.0.len() == pairs.1.len()
            && pairs.0.iter().zip(&pairs.1).all(|pair| match pair {
                (Piece::Fixed(book), Piece::Fixed(machine)) => book == machine,
                (Piece::Chosen(Kind::Time, _), Piece::Chosen(Kind::Time, _)) => true,
                (Piece::Chosen(Kind::Name, book), Piece::Chosen(Kind::Name, machine)) => {
                    is_one(&mut self.names, book, machine)
                }
                _ => false,
            })
    }
}

/// Whether the book's name and the machine's stand for one thing: neither has stood for another before. Of an id the
/// first twelve digits count, which is how it is shown short.
fn is_one(names: &mut [HashMap<String, String>; 2], book: &str, machine: &str) -> bool {
    let is_id = |name: &str| matches!(name.len(), 12 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let are_ids = is_id(book) && is_id(machine);
    if are_ids && book.len() != machine.len() {
        return false;
    }
    let short = |name: &str| name[..if are_ids { 12 } else { name.len() }].to_owned();
    let (book, machine) = (short(book), short(machine));
    let [forth, back] = names;
    *forth.entry(book.clone()).or_insert_with(|| machine.clone()) == machine
        && *back.entry(machine).or_insert_with(|| book.clone()) == book
}

/// Lines without space at their ends and with single spaces between words; the space that aligns columns says nothing.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn pieces<'a>(patterns: &[(Kind, Regex)], line: &'a str) -> Vec<Piece<'a>> {
    let mut chosen: Vec<(usize, usize, Kind)> = Vec::new();
    for (kind, pattern) in patterns {
        for captures in pattern.captures_iter(line) {
            let groups = captures.iter().skip(1).flatten().map(|group| (group.start(), group.end(), *kind));
            chosen.extend(groups);
        }
    }
    chosen.sort_by_key(|(start, end, _)| (*start, usize::MAX - end));
    let (mut found, mut at) = (Vec::new(), 0);
    for (start, end, kind) in chosen {
        if start < at || start == end {
            continue;
        }
        found.push(Piece::Fixed(&line[at..start]));
        found.push(Piece::Chosen(kind, &line[start..end]));
        at = end;
    }
    found.push(Piece::Fixed(&line[at..]));
    found
}

#[test]
fn what_the_machine_chooses_may_differ_consistently() {
    let mut varying = Varying::new();
    varying.add(r"pid (\d+)").expect("sound");
    assert!(varying.agree("user:[1] pid 7\nuser:[2]", "user:[4] pid 70\nuser:[5]"));
    assert!(varying.agree("user:[1]", "user:[4]"), "the same is the same");
    assert!(!varying.agree("user:[1]", "user:[5]"), "the same has become another");
    assert!(!varying.agree("user:[3]", "user:[4]"), "another has become the same");
    assert!(!varying.agree("exit 7", "exit 8"), "nobody said that this varies");
    assert!(varying.agree("a   b", "a b"));
    assert!(varying.agree("1 second ago", "5 seconds ago"));
}

#[test]
fn an_id_is_the_same_whole_and_short() {
    let mut varying = Varying::new();
    let (book, machine) = ("0123456789ab".repeat(5) + "abcd", "ba9876543210".repeat(5) + "dcba");
    assert!(varying.agree(&book, &machine));
    assert!(varying.agree("0123456789ab", "ba9876543210"));
    assert!(!varying.agree("0123456789ab", "aaaaaaaaaaaa"));
    varying.add("^in (.*)$").expect("sound");
    assert!(varying.agree("in /a/longer/path.service", "in /a/path.scope"), "what is no id may have any length");
}

#[test]
fn lines_may_be_left_out_where_the_book_says_so() {
    let agree = |expected, actual| Varying::new().agree(expected, actual);
    assert!(agree("a\n[…]\nd", "a\nb\nc\nd"));
    assert!(agree("[…]\nd", "d"));
    assert!(!agree("a\n[…]\nd", "a\nb\nc"));
    assert!(!agree("a\nd", "a\nb\nd"));
}
