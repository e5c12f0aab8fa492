//! The picture as SVG, for a page or a browser: the tree on the left, a lane for each kind of namespace on the right.
//!
//! Where one process and the next are in the same namespace, a line joins their dots. Yours are small; one that a single
//! container has is a ring, one that several have is filled. Nobody has to tell colours apart: the letters say all.
//!
//! A picture in a page does not know the page's colours, only the system's. So it brings its own ground, light or dark.

use super::picture::{Kind, Picture, Place, Row, Whose, clip, letter, width};
use crate::engine::tree::Tree;

/// A letter's width (of a monospace font, generously), a row's height, a step to the right, a lane's width, the margin.
const LETTER: usize = 8;
const LINE: usize = 24;
const STEP: usize = 20;
const LANE: usize = 48;
const MARGIN: usize = 16;

/// At most so many letters in a row, if commands may be clipped.
const CLIPPED: usize = 60;

/// Colours for what several share, by letter.
const HUES: [&str; 6] = ["#2563c9", "#b4530a", "#0b7d5c", "#a8327f", "#6b4fd0", "#8a6a00"];

const STYLE: &str = "\
svg { font: 13px ui-monospace, monospace; --ground: #ffffff; --ink: #1c2430; --faint: #6a7482; --line: #b4bcc8 }
@media (prefers-color-scheme: dark) { svg { --ground: #161b22; --ink: #e4e9f0; --faint: #98a3b1; --line: #4d5766 } }
.ground { fill: var(--ground) }
text { fill: var(--ink); dominant-baseline: central; white-space: pre }
.name { font-weight: bold }
.faint { fill: var(--faint) }
.letter { font-size: 11px; text-anchor: middle }
.heading { fill: var(--faint); text-anchor: middle }
.shared { fill: #ffffff; font-weight: bold }
path { fill: none; stroke: var(--line); stroke-width: 1.5 }
.ring { fill: var(--ground); stroke: var(--faint); stroke-width: 1.5 }
.yours { fill: var(--line) }
";

/// The picture. The same tree is always the same text.
pub fn draw(tree: &Tree, whole: bool) -> String {
    let picture = Picture::of(tree);
    let labels: Vec<_> = picture.rows.iter().map(|row| label(row, whole)).collect();
    let ends = picture
        .rows
        .iter()
        .zip(&labels)
        .map(|(row, (name, about))| left(row) + LETTER * (width(name) + width(about) + 1));
    let lanes = ends.max().unwrap_or_default() + MARGIN;
    // Whoever is alone in the picture needs no legend.
    let legend = if picture.rows.len() > 2 { legend(picture.rows.len()) } else { String::new() };
    let wide = lanes + LANE * picture.columns.len() + MARGIN;
    let below = if legend.is_empty() { 0 } else { LINE * 3 / 2 };
    let high = 2 * MARGIN + LINE * (picture.rows.len() + 1) + below;
    let lane = |at: usize| lanes + LANE * at + LANE / 2;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide}\" height=\"{high}\" viewBox=\"0 0 {wide} {high}\" \
         role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">Containers, their processes and their namespaces</title>\n<desc id=\"desc\">{}</desc>\n\
         <style>\n{STYLE}</style>\n<rect class=\"ground\" width=\"{wide}\" height=\"{high}\" rx=\"8\"/>\n",
        escape(&described(&picture))
    );
    for (at, kind) in picture.columns.iter().enumerate() {
        svg += &format!("<text class=\"heading\" x=\"{}\" y=\"{}\">{kind}</text>\n", lane(at), MARGIN + LINE / 2);
    }
    svg += &branches(&picture.rows);
    for at in 0..picture.columns.len() {
        svg += &joints(&picture.rows, at, lane(at));
    }
    for (at, (row, (name, about))) in picture.rows.iter().zip(&labels).enumerate() {
        let (x, y) = (left(row), middle(at));
        let (name_class, about_class) = match row.kind {
            Kind::You | Kind::Pod | Kind::Container => ("name", "faint"),
            Kind::Helper | Kind::Remark => ("faint", "faint"),
            Kind::Program => ("faint", "plain"),
        };
        let after = x + LETTER * if name.is_empty() { 0 } else { width(name) + 1 };
        svg += &text(name_class, x, y, name);
        svg += &text(about_class, after, y, about);
        for (column, place) in row.places.iter().enumerate() {
            svg += &dot(*place, lane(column), y);
        }
    }
    svg + &legend + "</svg>\n"
}

/// What the dots mean, below all rows.
fn legend(rows: usize) -> String {
    let (mut legend, mut x, y) = (String::new(), MARGIN, middle(rows) + LINE / 2);
    let kinds = [
        (Place::Yours, "yours"),
        (Place::Other(0, Whose::Own), "one container's"),
        (Place::Other(0, Whose::Shared), "several containers'"),
    ];
    for (place, meaning) in kinds {
        legend += &dot(place, x + 9, y);
        legend += &text("faint", x + 26, y, meaning);
        x += 26 + LETTER * (width(meaning) + 3);
    }
    legend
}

/// What a row says: its name, and the rest.
fn label(row: &Row, whole: bool) -> (String, String) {
    let left = if whole { usize::MAX } else { CLIPPED.saturating_sub(width(&row.name)) };
    (row.name.clone(), clip(&row.about, left))
}

/// Where a row's words begin, and how far down its middle is.
fn left(row: &Row) -> usize {
    MARGIN + STEP * row.depth
}
fn middle(at: usize) -> usize {
    MARGIN + LINE * (at + 1) + LINE / 2
}

/// From each row that something hangs below, a line down to the last of these, and from it one to each.
fn branches(rows: &[Row]) -> String {
    let mut paths = String::new();
    for (at, row) in rows.iter().enumerate() {
        // What it hangs below is the nearest row before it that is less deep.
        let Some(above) = rows[..at].iter().rposition(|it| it.depth < row.depth) else { continue };
        let (x, y) = (left(&rows[above]) + 4, middle(at));
        if row.last {
            paths += &format!("<path d=\"M{x} {}V{}q0 6 6 6H{}\"/>\n", middle(above) + 9, y - 6, left(row) - 4);
        } else {
            paths += &format!("<path d=\"M{x} {y}H{}\"/>\n", left(row) - 4);
        }
    }
    paths
}

/// Lines between the dots of processes that stand one below the other and are in the same namespace.
fn joints(rows: &[Row], column: usize, x: usize) -> String {
    let mut paths = String::new();
    let mut before: Option<(usize, Place)> = None;
    for (at, row) in rows.iter().enumerate() {
        let Some(&place) = row.places.get(column) else { continue };
        if let Some((above, other)) = before
            && other == place
            && place != Place::Unknown
        {
            let color = match place {
                Place::Other(number, Whose::Shared) => format!(" style=\"stroke: {}\"", hue(number)),
                _ => String::new(),
            };
            paths += &format!("<path d=\"M{x} {}V{}\"{color}/>\n", middle(above), middle(at));
        }
        before = Some((at, place));
    }
    paths
}

fn dot(place: Place, x: usize, y: usize) -> String {
    match place {
        Place::Yours => format!("<circle class=\"yours\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/>\n"),
        Place::Unknown => text("letter faint", x, y, "?"),
        Place::Other(number, Whose::Own) => {
            format!("<circle class=\"ring\" cx=\"{x}\" cy=\"{y}\" r=\"9\"/>\n{}", text("letter", x, y, &letter(number)))
        }
        Place::Other(number, Whose::Shared) => format!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"9\" fill=\"{}\"/>\n{}",
            hue(number),
            text("letter shared", x, y, &letter(number))
        ),
    }
}

fn hue(number: usize) -> &'static str {
    HUES[number % HUES.len()]
}

fn text(class: &str, x: usize, y: usize, words: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>\n", escape(words))
}

/// The picture in words, for who does not see it.
fn described(picture: &Picture) -> String {
    let row = |row: &Row| {
        let places: Vec<_> = picture
            .columns
            .iter()
            .zip(&row.places)
            .map(|(kind, place)| match place {
                Place::Yours => format!("{kind} yours"),
                Place::Unknown => format!("{kind} unknown"),
                Place::Other(number, _) => format!("{kind} {}", letter(*number)),
            })
            .collect();
        let words = [row.name.as_str(), row.about.as_str()].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>();
        let places = if places.is_empty() { String::new() } else { format!(": {}", places.join(", ")) };
        format!("{}{places}.", words.join(" "))
    };
    picture.rows.iter().map(row).collect::<Vec<_>>().join(" ")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
