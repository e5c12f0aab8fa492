//! The picture for a terminal: a letter a column, and then the tree, so that what may be long stands last and is clipped
//! at the edge.

use super::picture::{Kind, Picture, Place, Row, Whose, clip, letter, width};
use crate::engine::tree::Tree;

/// Whether the text is coloured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// It is not.
    Plain,
    /// It is for a terminal.
    Colours,
}

/// Below this many columns a terminal gets headings that stand upright, for the tree's sake.
const NARROW: usize = 72;

/// The picture in lines of at most so many `columns`, if commands may be clipped.
pub fn draw(tree: &Tree, columns: usize, whole: bool, style: Style) -> String {
    let picture = Picture::of(tree);
    let narrow = columns < NARROW;
    let widths: Vec<_> = picture.columns.iter().map(|name| if narrow { 1 } else { name.len() }).collect();
    let mut lines = headings(&picture, &widths, narrow, style);
    let mut trunk = Vec::new();
    for row in &picture.rows {
        let (cells, branch) = (cells(row, &widths, style), branch(row, &mut trunk));
        let taken = widths.iter().map(|width| width + 1).sum::<usize>() + 1 + width(&branch);
        let left = if whole { usize::MAX } else { columns.saturating_sub(taken) };
        lines.push(format!("{cells} {}{}", faint(&branch, style), label(row, left, style)));
    }
    if picture.rows.len() > 2 {
        let unknown = picture.rows.iter().any(|row| row.places.contains(&Place::Unknown));
        lines.push(String::new());
        lines.push("· yours; the same letter in a column: the same namespace".into());
        if unknown {
            lines.push("? not to be read".into());
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn headings(picture: &Picture, widths: &[usize], narrow: bool, style: Style) -> Vec<String> {
    let names = &picture.columns;
    if !narrow {
        return vec![faint(&names.join(" "), style)];
    }
    let height = names.iter().map(|name| name.len()).max().unwrap_or_default();
    let letter = |name: &str, line: usize| {
        let first = height - name.len();
        line.checked_sub(first).and_then(|at| name.chars().nth(at)).unwrap_or(' ')
    };
    let line = |line: usize| {
        let letters = names.iter().zip(widths).map(|(name, width)| format!("{:<width$} ", letter(name, line)));
        faint(letters.collect::<String>().trim_end(), style)
    };
    (0..height).map(line).collect()
}

/// A row's letters, each in the middle of its column.
fn cells(row: &Row, widths: &[usize], style: Style) -> String {
    let cell = |(at, width): (usize, &usize)| match row.places.get(at) {
        None => format!("{:width$} ", ""),
        Some(Place::Yours) => faint(&format!("{:^width$} ", "·"), style),
        Some(Place::Unknown) => faint(&format!("{:^width$} ", "?"), style),
        Some(Place::Other(number, Whose::Own)) => format!("{:^width$} ", letter(*number)),
        Some(Place::Other(number, Whose::Shared)) => {
            paint(&format!("{:^width$} ", letter(*number)), &format!("1;{}", 31 + (number + 5) % 6), style)
        }
    };
    widths.iter().enumerate().map(cell).collect()
}

/// The lines that lead to a row. `trunk` holds for each depth whether a line goes on there.
fn branch(row: &Row, trunk: &mut Vec<bool>) -> String {
    let Some(above) = row.depth.checked_sub(1) else { return String::new() };
    trunk.resize(above, false);
    let mut branch: String = trunk.iter().map(|goes_on| if *goes_on { "│  " } else { "   " }).collect();
    branch += if row.last { "└─ " } else { "├─ " };
    trunk.push(!row.last);
    branch
}

fn label(row: &Row, columns: usize, style: Style) -> String {
    let name = clip(&row.name, columns);
    let left = columns.saturating_sub(width(&name) + 1);
    let about = if left == 0 { String::new() } else { clip(&row.about, left) };
    let name = match row.kind {
        Kind::You | Kind::Pod | Kind::Container => paint(&name, "1", style),
        Kind::Helper | Kind::Program | Kind::Remark => name,
    };
    let about = if matches!(row.kind, Kind::Helper | Kind::Remark) { faint(&about, style) } else { about };
    let space = if row.name.is_empty() || about.is_empty() { "" } else { " " };
    format!("{name}{space}{about}")
}

fn faint(text: &str, style: Style) -> String {
    paint(text, "2", style)
}

fn paint(text: &str, code: &str, style: Style) -> String {
    if style == Style::Plain || text.is_empty() { text.into() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}
