//! The rows of the picture: whoever asks, below him pods and containers, below these their processes; and beside each
//! process a letter for each namespace that it lives in.
//!
//! An inode number says only one thing to a reader, whether it is the same as another, and ten digits say that badly. So
//! each column has letters of its own: the same letter, the same namespace. A namespace that is yours has a dot.
//!
//! Names of processes are what the processes choose. A control character in one could move a terminal's cursor, and one
//! that turns the direction of writing could turn the picture: both are shown as what they are.

use std::collections::BTreeMap;

use crate::engine::tree::{KINDS, Member, Places, Role, Shown, Tree};
use crate::linux::namespace::Namespace;

/// A row.
pub struct Row {
    /// How deep it hangs; the first row is at 0.
    pub depth: usize,
    /// Whether nothing more hangs beside it, below the same row.
    pub last: bool,
    /// What it is called.
    pub name: String,
    /// What else there is to say.
    pub about: String,
    /// Whether it stands for a process, or for more than that.
    pub kind: Kind,
    /// For each column, where it lives; empty for what is no process.
    pub places: Vec<Place>,
}

/// What a row stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whoever asks.
    You,
    /// Containers that share.
    Pod,
    /// A container.
    Container,
    /// One of the engine's own processes beside a container.
    Helper,
    /// A process inside.
    Program,
    /// A remark.
    Remark,
}

/// In which namespace of one kind a process is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In yours.
    Yours,
    /// In another: its letter, counted from 0, and whose it is.
    Other(usize, Whose),
    /// It could not be read, or the process has ended.
    Unknown,
}

/// How many containers have to do with a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One.
    Own,
    /// Several.
    Shared,
}

/// The picture.
pub struct Picture {
    /// The kinds of namespaces, as the columns' headings.
    pub columns: Vec<&'static str>,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

impl Picture {
    pub fn of(tree: &Tree) -> Self {
        // A kernel without one of the kinds has no column for it.
        let there = |kind: &&str| tree.you.namespaces.contains_key(*kind);
        let columns: Vec<_> = KINDS.map(Namespace::file).into_iter().filter(there).collect();
        let mut drawing = Drawing { letters: Letters::of(tree, &columns), rows: Vec::new() };
        let places = drawing.letters.places(&tree.you.namespaces);
        drawing.row(0, true, Kind::You, "you", format!("({})", plain(&tree.you.user)), places);
        let tops = tops(tree);
        if tops.is_empty() {
            drawing.row(1, true, Kind::Remark, "", "no container runs".into(), Vec::new());
        }
        for (at, (pod, containers)) in tops.iter().enumerate() {
            let (mut depth, mut last) = (1, at + 1 == tops.len());
            if let Some(shares) = pod {
                drawing.row(depth, last, Kind::Pod, "pod", shares.clone(), Vec::new());
                depth = 2;
            }
            for (at, container) in containers.iter().enumerate() {
                last = if depth == 2 { at + 1 == containers.len() } else { last };
                drawing.container(depth, last, container);
            }
        }
        Self { columns, rows: drawing.rows }
    }
}

/// What hangs directly below you: a pod with what it shares, and its containers; or a container by itself. A pod stands
/// where its oldest member would.
fn tops(tree: &Tree) -> Vec<(Option<String>, Vec<&Shown>)> {
    let mut tops = Vec::new();
    for container in &tree.containers {
        match tree.pods.iter().find(|pod| pod.containers.contains(&container.name)) {
            None => tops.push((None, vec![container])),
            Some(pod) if pod.containers.first() == Some(&container.name) => {
                let members = tree.containers.iter().filter(|it| pod.containers.contains(&it.name)).collect();
                tops.push((Some(format!("sharing {}", pod.shares.join(", "))), members));
            }
            Some(_) => {}
        }
    }
    tops
}

struct Drawing {
    letters: Letters,
    rows: Vec<Row>,
}

impl Drawing {
    fn row(&mut self, depth: usize, last: bool, kind: Kind, name: &str, about: String, places: Vec<Place>) {
        self.rows.push(Row { depth, last, name: name.into(), about, kind, places });
    }

    fn container(&mut self, depth: usize, last: bool, container: &Shown) {
        let status = if container.status == "running" { String::new() } else { container.status.clone() };
        self.row(depth, last, Kind::Container, &plain(&container.name), status, Vec::new());
        let members = &container.processes;
        // Each stands after its parent: who is still to come below a row is known from the rows after it.
        let mut depths: BTreeMap<i32, usize> = BTreeMap::new();
        let depths: Vec<usize> = members
            .iter()
            .map(|it| {
                let below = depths.get(&it.parent).copied().unwrap_or(depth) + 1;
                depths.insert(it.pid, below);
                below
            })
            .collect();
        for (at, member) in members.iter().enumerate() {
            let after = depths[at + 1..].iter().take_while(|it| **it >= depths[at]);
            let last = !after.clone().any(|it| *it == depths[at]);
            let number = match member.inside {
                Some(inside) => format!("{} ({inside} inside)", member.pid),
                None => member.pid.to_string(),
            };
            let kind = if member.role == Role::Program { Kind::Program } else { Kind::Helper };
            let places = self.letters.places(&member.namespaces);
            self.row(depths[at], last, kind, &number, plain(&command(member)), places);
        }
    }
}

/// A program's words; of our helpers only the name, since their words are long and nobody's business.
fn command(member: &Member) -> String {
    let first = member.command.split(' ').next().unwrap_or_default();
    match member.role {
        Role::Program => member.command.clone(),
        Role::Monitor | Role::Network => first.rsplit('/').next().unwrap_or_default().into(),
    }
}

/// The letters of the namespaces that are not yours, in each column from A on, in the order in which they are met.
struct Letters {
    columns: Vec<Column>,
}

/// The namespaces of one kind.
struct Column {
    kind: &'static str,
    yours: Option<u64>,
    others: BTreeMap<u64, Met>,
}

/// A namespace that is not yours.
struct Met {
    letter: usize,
    /// The container in which it was met first.
    first: usize,
    whose: Whose,
}

impl Letters {
    fn of(tree: &Tree, kinds: &[&'static str]) -> Self {
        let yours = |kind: &str| tree.you.namespaces.get(kind).copied();
        let column = |kind: &&'static str| Column { kind, yours: yours(kind), others: BTreeMap::new() };
        let mut letters = Self { columns: kinds.iter().map(column).collect() };
        // In the order of the rows, in which a pod's containers stand together.
        let containers = tops(tree).into_iter().flat_map(|(_, containers)| containers);
        for (index, container) in containers.enumerate() {
            for member in &container.processes {
                letters.meet(index, &member.namespaces);
            }
        }
        letters
    }

    fn meet(&mut self, container: usize, namespaces: &Places) {
        for column in &mut self.columns {
            let Some(&inode) = namespaces.get(column.kind).filter(|it| Some(**it) != column.yours) else { continue };
            let letter = column.others.len();
            let met = column.others.entry(inode).or_insert(Met { letter, first: container, whose: Whose::Own });
            if met.first != container {
                met.whose = Whose::Shared;
            }
        }
    }

    fn places(&self, namespaces: &Places) -> Vec<Place> {
        let place = |column: &Column| match namespaces.get(column.kind) {
            Some(inode) if Some(*inode) == column.yours => Place::Yours,
            Some(inode) => column.others.get(inode).map_or(Place::Unknown, |met| Place::Other(met.letter, met.whose)),
            None => Place::Unknown,
        };
        self.columns.iter().map(place).collect()
    }
}

/// A, B, … Z, AA, AB, …
pub fn letter(mut number: usize) -> String {
    let mut letters = String::new();
    loop {
        letters.insert(0, char::from(b'A' + (number % 26) as u8));
        if number < 26 {
            return letters;
        }
        number = number / 26 - 1;
    }
}

/// Text without anything that moves a cursor, ends a line, or turns the direction of writing.
fn plain(text: &str) -> String {
    let is_sly = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
            || matches!(letter, '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|it| if is_sly(it) { it.escape_default().to_string() } else { it.to_string() }).collect()
}

/// How many columns of a terminal a text takes, near enough: letters of East Asia and pictures take two.
pub fn width(text: &str) -> usize {
    let is_wide = |letter: char| {
        matches!(letter, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}')
            || matches!(letter, '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f000}'..)
    };
    text.chars().map(|it| if is_wide(it) { 2 } else { 1 }).sum()
}

/// At most so many columns of it; a dot-dot-dot stands for the rest.
pub fn clip(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let mut clipped = String::new();
    for letter in text.chars() {
        if width(&clipped) + width(letter.encode_utf8(&mut [0; 4])) + 1 > columns {
            break;
        }
        clipped.push(letter);
    }
    clipped + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 51, 52, 701, 702].map(letter).join(" "), "A Z AA AZ BA ZZ AAA");
    }

    #[test]
    fn a_name_cannot_move_a_cursor_or_turn_the_line() {
        assert_eq!(plain("a\x1b[2J\nb\u{202e}c\u{9b}é"), r"a\u{1b}[2J\nb\u{202e}c\u{9b}é");
    }

    #[test]
    fn what_is_too_long_is_clipped_by_columns() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdef", 5), "abcd…");
        assert_eq!(clip("日本語", 5), "日本…");
        assert_eq!(clip("abc", 0), "…");
    }
}
