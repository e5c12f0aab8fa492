//! Go's template language (text/template), read into a tree.
//!
//! Text stands for itself; `{{…}}` holds an action: a pipeline to print, or `if`, `range`, `with`, `else`, `end`, a
//! variable's `:=`, a `/* comment */`. `{{-` and `-}}` eat the white space on their side.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

/// A template, ready to run.
#[derive(Debug, PartialEq)]
pub struct Template {
    pub(super) nodes: Vec<Node>,
}

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
}

/// Commands, each given the result of the one before as its last argument.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pipeline {
    /// `$a :=` or, for range, `$key, $value :=`.
    pub variables: Vec<String>,
    pub commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug, PartialEq)]
pub(super) enum Operand {
    Literal(Value),
    Function(String),
    /// Fields of the dot; none: the dot itself.
    Fields(Vec<String>),
    /// A variable (`$` is the whole value) and its fields.
    Variable(String, Vec<String>),
    /// A parenthesis and the fields of its value.
    Inner(Pipeline, Vec<String>),
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { pieces: pieces(text)?, at: 0, depth: 0 };
        let (nodes, end) = parser.nodes()?;
        ensure!(end.is_none(), "{{{{{}}}}} without its beginning", end.unwrap_or_default());
        Ok(Self { nodes })
    }

    /// The fields of the whole value that the template names, for headings.
    pub fn fields(&self) -> Vec<String> {
        let mut fields = Vec::new();
        nodes_fields(&self.nodes, &mut fields);
        fields
    }
}

fn nodes_fields(nodes: &[Node], fields: &mut Vec<String>) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Print(pipeline) => pipeline_fields(pipeline, fields),
            Node::If(branches, otherwise) => {
                for (pipeline, body) in branches {
                    pipeline_fields(pipeline, fields);
                    nodes_fields(body, fields);
                }
                nodes_fields(otherwise, fields);
            }
            Node::Range(pipeline, body, otherwise) | Node::With(pipeline, body, otherwise) => {
                pipeline_fields(pipeline, fields);
                nodes_fields(body, fields);
                nodes_fields(otherwise, fields);
            }
        }
    }
}

fn pipeline_fields(pipeline: &Pipeline, fields: &mut Vec<String>) {
    for operand in pipeline.commands.iter().flatten() {
        match operand {
            Operand::Fields(path) | Operand::Variable(_, path) => fields.extend(path.first().cloned()),
            Operand::Inner(inner, _) => pipeline_fields(inner, fields),
            Operand::Literal(_) | Operand::Function(_) => {}
        }
    }
}

enum Piece<'a> {
    Text(&'a str),
    Action(&'a str),
}

/// Cuts a template into text and actions, white space trimmed.
fn pieces(mut text: &str) -> Result<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut trim = false;
    while let Some(start) = text.find("{{") {
        let (mut before, rest) = (&text[..start], &text[start + 2..]);
        let Some(end) = closing(rest) else { bail!("{{{{ without }}}}") };
        let mut action = &rest[..end];
        if trim {
            before = before.trim_start();
        }
        if let Some(inner) = action.strip_prefix('-').filter(|inner| inner.starts_with(char::is_whitespace)) {
            before = before.trim_end();
            action = inner;
        }
        trim = false;
        if let Some(inner) = action.strip_suffix('-').filter(|inner| inner.ends_with(char::is_whitespace)) {
            trim = true;
            action = inner;
        }
        pieces.push(Piece::Text(before));
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(action));
        }
        text = &rest[end + 2..];
    }
    pieces.push(Piece::Text(if trim { text.trim_start() } else { text }));
    Ok(pieces)
}

/// Where the `}}` is that ends an action: not one inside a string.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match quote {
            None if text[at..].starts_with("}}") => return Some(at),
            None if matches!(letter, '"' | '`' | '\'') => quote = Some(letter),
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if letter == '\\' => escaped = true,
            Some(open) if open == letter => quote = None,
            None | Some(_) => {}
        }
    }
    None
}

/// How deep parentheses and blocks may be in each other: far deeper than anybody reads, and far from the stack's end.
const DEEPEST: usize = 100;

struct Parser<'a> {
    pieces: Vec<Piece<'a>>,
    at: usize,
    /// In how many blocks we are.
    depth: usize,
}

impl Parser<'_> {
    /// Nodes up to an `end` or `else`, which is returned.
    fn nodes(&mut self) -> Result<(Vec<Node>, Option<String>)> {
        self.depth += 1;
        ensure!(self.depth <= DEEPEST, "more than {DEEPEST} blocks in each other");
        let nodes = self.nodes_here();
        self.depth -= 1;
        nodes
    }

    fn nodes_here(&mut self) -> Result<(Vec<Node>, Option<String>)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.at) {
            self.at += 1;
            let action = match piece {
                Piece::Text("") => continue,
                Piece::Text(text) => {
                    nodes.push(Node::Text((*text).to_owned()));
                    continue;
                }
                Piece::Action(action) => (*action).to_owned(),
            };
            let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
            match word {
                "end" | "else" => return Ok((nodes, Some(action))),
                "if" => nodes.push(self.conditional(rest)?),
                "range" => {
                    let (body, otherwise) = self.body("range")?;
                    nodes.push(Node::Range(pipeline(rest)?, body, otherwise));
                }
                "with" => {
                    let (body, otherwise) = self.body("with")?;
                    nodes.push(Node::With(pipeline(rest)?, body, otherwise));
                }
                "define" | "template" | "block" | "break" | "continue" => bail!("{word} is not supported"),
                _ => nodes.push(Node::Print(pipeline(&action)?)),
            }
        }
        Ok((nodes, None))
    }

    fn conditional(&mut self, condition: &str) -> Result<Node> {
        let mut condition = pipeline(condition)?;
        let mut branches = Vec::new();
        loop {
            let (body, end) = self.nodes()?;
            branches.push((condition, body));
            let Some(end) = end else { bail!("{{{{if}}}} without {{{{end}}}}") };
            match end.strip_prefix("else").map(str::trim) {
                None => return Ok(Node::If(branches, Vec::new())),
                Some("") => {
                    let (otherwise, end) = self.nodes()?;
                    ensure!(end.as_deref() == Some("end"), "{{{{else}}}} without {{{{end}}}}");
                    return Ok(Node::If(branches, otherwise));
                }
                Some(next) => condition = pipeline(next.strip_prefix("if").unwrap_or(next))?,
            }
        }
    }

    /// The body of a range or with, and its else.
    fn body(&mut self, word: &str) -> Result<(Vec<Node>, Vec<Node>)> {
        let (body, end) = self.nodes()?;
        match end.as_deref() {
            Some("end") => Ok((body, Vec::new())),
            Some("else") => {
                let (otherwise, end) = self.nodes()?;
                ensure!(end.as_deref() == Some("end"), "{{{{else}}}} without {{{{end}}}}");
                Ok((body, otherwise))
            }
            _ => bail!("{{{{{word}}}}} without {{{{end}}}}"),
        }
    }
}

fn pipeline(text: &str) -> Result<Pipeline> {
    let mut words = Words { rest: text, depth: 0 };
    let pipeline = words.pipeline()?;
    ensure!(words.rest.trim().is_empty(), "unexpected {:?}", words.rest.trim());
    Ok(pipeline)
}

/// The inside of an action, read from the left.
struct Words<'a> {
    rest: &'a str,
    /// In how many parentheses we are.
    depth: usize,
}

impl Words<'_> {
    fn pipeline(&mut self) -> Result<Pipeline> {
        let variables = self.declared();
        let mut commands = vec![Vec::new()];
        loop {
            self.rest = self.rest.trim_start();
            let Some(letter) = self.rest.chars().next() else { break };
            match letter {
                ')' => break,
                '|' => {
                    self.rest = &self.rest[1..];
                    ensure!(commands.last().is_some_and(|last| !last.is_empty()), "nothing before |");
                    commands.push(Vec::new());
                }
                _ => {
                    let operand = self.operand(letter)?;
                    if let Some(command) = commands.last_mut() {
                        command.push(operand);
                    }
                }
            }
        }
        ensure!(commands.iter().all(|command| !command.is_empty()), "missing value");
        Ok(Pipeline { variables, commands })
    }

    /// `$a, $b :=` at the front.
    fn declared(&mut self) -> Vec<String> {
        let Some((names, rest)) = self.rest.split_once(":=").or_else(|| self.rest.split_once(" = ")) else {
            return Vec::new();
        };
        let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        let is_name = |name: &String| name.starts_with('$') && name[1..].chars().all(is_word);
        if !names.iter().all(is_name) {
            return Vec::new();
        }
        self.rest = rest;
        names
    }

    fn operand(&mut self, letter: char) -> Result<Operand> {
        match letter {
            '"' | '\'' => {
                let text = self.quoted(letter)?;
                Ok(Operand::Literal(Value::String(text)))
            }
            '`' => {
                let Some((text, rest)) = self.rest[1..].split_once('`') else { bail!("unterminated string") };
                self.rest = rest;
                Ok(Operand::Literal(Value::String(text.to_owned())))
            }
            '(' => {
                self.rest = &self.rest[1..];
                self.depth += 1;
                ensure!(self.depth <= DEEPEST, "more than {DEEPEST} parentheses in each other");
                let inner = self.pipeline()?;
                self.depth -= 1;
                ensure!(self.rest.starts_with(')'), "( without )");
                self.rest = &self.rest[1..];
                Ok(Operand::Inner(inner, self.fields()))
            }
            '.' => {
                let fields = self.fields();
                if fields.is_empty() {
                    self.rest = &self.rest[1..];
                }
                Ok(Operand::Fields(fields))
            }
            '$' => {
                self.rest = &self.rest[1..];
                let name = format!("${}", self.word());
                Ok(Operand::Variable(name, self.fields()))
            }
            '-' | '+' | '0'..='9' => {
                let end = self.rest.find([' ', '|', ')', '\t', '\n']).unwrap_or(self.rest.len());
                let number = &self.rest[..end];
                self.rest = &self.rest[end..];
                match number.trim_start_matches('+').parse::<Value>() {
                    Ok(value) if value.is_number() => Ok(Operand::Literal(value)),
                    _ => bail!("bad number {number:?}"),
                }
            }
            _ if is_word(letter) => Ok(match self.word().as_str() {
                "true" => Operand::Literal(true.into()),
                "false" => Operand::Literal(false.into()),
                "nil" => Operand::Literal(Value::Null),
                name => Operand::Function(name.to_owned()),
            }),
            _ => bail!("unexpected {letter:?}"),
        }
    }

    /// `.A.B` at the front.
    fn fields(&mut self) -> Vec<String> {
        let mut fields = Vec::new();
        while self.rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(is_word)) {
            self.rest = &self.rest[1..];
            fields.push(self.word());
        }
        fields
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|letter| !is_word(letter)).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        word
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let mut text = String::new();
        let mut letters = self.rest[1..].char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                _ if letter == quote => {
                    self.rest = &self.rest[at + 2..];
                    return Ok(text);
                }
                '\\' => match letters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, other)) => text.push(other),
                    None => break,
                },
                _ => text.push(letter),
            }
        }
        bail!("unterminated string")
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}
