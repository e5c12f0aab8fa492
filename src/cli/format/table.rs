//! Columns, as Go's text/tabwriter makes them for Podman: at least twelve wide, two apart.
//!
//! The subtlety: a column is a run of neighbouring lines that have a tab after that cell. What follows a line's last tab
//! belongs to no column, so it widens nothing.

use crate::hint::plain;

const NARROWEST: usize = 12;
const APART: usize = 2;

/// Replaces the tabs in `text` by spaces, so that cells stand below each other. Cells may be an image's words, which are none
/// for the terminal.
pub fn align(text: &str) -> String {
    let text = &*plain(text);
    if !text.contains('\t') {
        return text.to_owned();
    }
    let lines: Vec<Vec<&str>> = text.split_inclusive('\n').map(|line| line.split('\t').collect()).collect();
    let mut aligned = String::with_capacity(text.len() * 2);
    block(&lines, &mut Vec::new(), &mut aligned);
    aligned
}

/// Writes lines whose first columns have these widths, finding the next column's runs on the way.
fn block(lines: &[Vec<&str>], widths: &mut Vec<usize>, aligned: &mut String) {
    let column = widths.len();
    let has_cell = |line: &Vec<&str>| column + 1 < line.len();
    let mut from = 0;
    while from < lines.len() {
        let run = lines[from..].iter().take_while(|line| has_cell(line)).count();
        if run == 0 {
            write(&lines[from], widths, aligned);
            from += 1;
            continue;
        }
        let cells = lines[from..from + run].iter().map(|line| line[column].chars().count() + APART);
        widths.push(cells.max().unwrap_or_default().max(NARROWEST));
        block(&lines[from..from + run], widths, aligned);
        widths.pop();
        from += run;
    }
}

fn write(line: &[&str], widths: &[usize], aligned: &mut String) {
    for (column, cell) in line.iter().enumerate() {
        aligned.push_str(cell);
        if let Some(width) = widths.get(column) {
            aligned.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        assert_eq!(align("A\tB\tC\na long one!!\t\tc\n"), "A             B           C\na long one!!              c\n");
    }

    #[test]
    fn a_line_without_tabs_parts_the_columns() {
        assert_eq!(align("aaaaaaaaaaaaa\tb\nplain\na\tb\n"), "aaaaaaaaaaaaa  b\nplain\na           b\n");
    }
}
