//! Runs a template on a JSON value.
//!
//! Go runs templates on structs and maps; we have JSON. A field is looked for by its exact name, then without regard to
//! case (`.Id`, `.ID`). One that is not there is an error if its name begins with a capital, as a struct's does, so that
//! a misspelt `{{.Nmae}}` is not silence; else it is a map's key, and prints `<no value>`.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::functions::{self, plain, truth};
use super::template::{Node, Operand, Pipeline, Template};

impl Template {
    /// What the template says of `value`.
    pub fn run(&self, value: &Value) -> Result<String> {
        let mut run = Run { variables: vec![("$".into(), value.clone())], text: String::new() };
        run.nodes(&self.nodes, value)?;
        Ok(run.text)
    }
}

struct Run {
    variables: Vec<(String, Value)>,
    text: String,
}

impl Run {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<()> {
        let scope = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<()> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match pipeline.variables.first() {
                    Some(name) => self.set(name, value),
                    None => self.text.push_str(&top(&value)),
                }
            }
            Node::If(branches, otherwise) => {
                let scope = self.variables.len();
                for (condition, body) in branches {
                    let value = self.pipeline(condition, dot)?;
                    if let Some(name) = condition.variables.first() {
                        self.variables.push((name.clone(), value.clone()));
                    }
                    if truth(&value) {
                        self.nodes(body, dot)?;
                        self.variables.truncate(scope);
                        return Ok(());
                    }
                }
                self.nodes(otherwise, dot)?;
                self.variables.truncate(scope);
            }
            Node::With(pipeline, body, otherwise) => {
                let value = self.pipeline(pipeline, dot)?;
                if !truth(&value) {
                    return self.nodes(otherwise, dot);
                }
                let scope = self.variables.len();
                if let Some(name) = pipeline.variables.first() {
                    self.variables.push((name.clone(), value.clone()));
                }
                self.nodes(body, &value)?;
                self.variables.truncate(scope);
            }
            Node::Range(pipeline, body, otherwise) => {
                let items = items(self.pipeline(pipeline, dot)?)?;
                if items.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                for (key, item) in items {
                    let scope = self.variables.len();
                    match &pipeline.variables[..] {
                        [] => {}
                        [name] => self.variables.push((name.clone(), item.clone())),
                        [first, second, ..] => {
                            self.variables.push((first.clone(), key));
                            self.variables.push((second.clone(), item.clone()));
                        }
                    }
                    self.nodes(body, &item)?;
                    self.variables.truncate(scope);
                }
            }
        }
        Ok(())
    }

    /// `$x := …` again changes the nearest `$x`.
    fn set(&mut self, name: &str, value: Value) {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        last.context("missing value")
    }

    fn command(&self, command: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value> {
        let (head, rest) = command.split_first().context("missing value")?;
        if let Operand::Function(name) = head {
            // `and` and `or` stop at the first operand that decides, so that the second may be an error.
            if matches!(name.as_str(), "and" | "or") {
                return self.decide(name == "or", rest, piped, dot);
            }
            let mut arguments = rest.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>>>()?;
            arguments.extend(piped);
            return functions::call(name, &arguments);
        }
        let mut arguments = rest.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>>>()?;
        arguments.extend(piped);
        match (head, &arguments[..]) {
            (_, []) => self.operand(head, dot),
            // The one method with an argument: `.Label "key"`.
            (Operand::Fields(path), [key]) if path.last().is_some_and(|name| name == "Label") => {
                let labels = fields(dot, &[&path[..path.len() - 1], &["Labels".to_owned()]].concat());
                // In the row of headings there are no labels: the heading is the key.
                let Ok(labels) = labels else { return Ok(key.clone()) };
                Ok(key.as_str().and_then(|key| labels.get(key)).cloned().unwrap_or_else(|| "".into()))
            }
            _ => bail!("{} takes no arguments", name_of(head)),
        }
    }

    fn decide(&self, wanted: bool, operands: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value> {
        let mut last = Value::Null;
        for operand in operands {
            last = self.operand(operand, dot)?;
            if truth(&last) == wanted {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name) => functions::call(name, &[]),
            Operand::Fields(path) => fields(dot, path),
            Operand::Variable(name, path) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                fields(&known.with_context(|| format!("undefined variable {name}"))?.1, path)
            }
            Operand::Inner(pipeline, path) => fields(&self.pipeline(pipeline, dot)?, path),
        }
    }
}

fn name_of(operand: &Operand) -> String {
    match operand {
        Operand::Fields(path) => format!(".{}", path.join(".")),
        Operand::Variable(name, _) | Operand::Function(name) => name.clone(),
        Operand::Literal(value) => value.to_string(),
        Operand::Inner(..) => "a parenthesis".into(),
    }
}

/// Fields that Go's programs leave out of their JSON where they are empty, but whose templates know them: the name of a
/// mount that is no volume, the sizes that nobody asked for.
const OMITTED: [&str; 3] = ["Name", "SizeRw", "SizeRootFs"];

fn fields(value: &Value, path: &[String]) -> Result<Value> {
    let mut value = value;
    for name in path {
        value = match value {
            Value::Object(map) => {
                let same = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
                match map.get(name).or_else(|| map.iter().find(same).map(|(_, found)| found)) {
                    Some(found) => found,
                    None if OMITTED.contains(&name.as_str()) => return Ok("".into()),
                    None if name.starts_with(char::is_uppercase) => bail!("no field {name:?}: {}", there_is(map)),
                    None => return Ok(Value::Null),
                }
            }
            Value::Null => return Ok(Value::Null),
            other => bail!("no field {name:?} in {}", plain(other)),
        };
    }
    Ok(value.clone())
}

fn there_is(map: &serde_json::Map<String, Value>) -> String {
    if map.is_empty() {
        return "there are none".into();
    }
    format!("there are {}", map.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// What range walks over: an array with its indexes, an object by its keys, sorted.
fn items(value: Value) -> Result<Vec<(Value, Value)>> {
    Ok(match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect(),
        Value::Object(map) => {
            let mut items: Vec<_> = map.into_iter().collect();
            items.sort_by(|(one, _), (other, _)| one.cmp(other));
            items.into_iter().map(|(key, item)| (key.into(), item)).collect()
        }
        Value::Number(count) => {
            let count = count.as_u64().unwrap_or_default();
            ensure!(count <= 1_000_000, "range over {count} is too much");
            (0..count).map(|index| (index.into(), index.into())).collect()
        }
        other => bail!("range can't iterate over {}", plain(&other)),
    })
}

fn top(value: &Value) -> String {
    if value.is_null() { "<no value>".into() } else { plain(value) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn say(template: &str) -> String {
        let value = json!({
            "Id": "abc", "Name": "web", "Pid": 7, "State": {"Status": "running", "Pid": 7, "Paused": false},
            "Labels": {"c": "x", "a.b": "1"}, "Mounts": [{"Source": "/a"}, {"Source": "/b"}], "Args": ["sh", "-c"],
            "Nothing": null, "Empty": []
        });
        match Template::parse(template).and_then(|template| template.run(&value)) {
            Ok(text) => text,
            Err(error) => format!("! {error:#}"),
        }
    }

    #[test]
    fn templates_say_what_go_would_say() {
        for (template, expected) in [
            ("{{.Id}} {{ .ID }} {{.State.Status}}", "abc abc running"),
            ("{{.Labels}} {{.Args}} {{.Nothing}} {{.Empty}}", "map[a.b:1 c:x] [sh -c] <no value> []"),
            ("{{json .Args}} {{.Args | json}}", r#"["sh","-c"] ["sh","-c"]"#),
            ("{{printf \"%.99999f\" 0 | len}}", "1002"),
            ("{{range .Mounts}}{{.Source}},{{end}}", "/a,/b,"),
            ("{{range .Mounts}}[{{.Name}}]{{end}}", "[][]"),
            ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}} {{$.Id}};{{end}}", "0=/a abc;1=/b abc;"),
            ("{{range $k, $v := .Labels}}{{$k}}:{{$v}} {{end}}", "a.b:1 c:x "),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{if .State.Paused}}p{{else if eq .Pid 7}}seven{{else}}n{{end}}", "seven"),
            ("{{with .State}}{{.Pid}}{{end}}{{with .Empty}}x{{else}}y{{end}}", "7y"),
            ("{{index .Labels \"a.b\"}} {{index .Args 1}} [{{index .Labels \"zz\"}}]", "1 -c []"),
            ("{{.Label \"c\"}} {{len .Mounts}} {{len .Name}}", "x 2 3"),
            ("{{join .Args \"+\"}} {{upper .Name}} {{title .Name}} {{split \"a,b\" \",\"}}", "sh+-c WEB Web [a b]"),
            (
                "{{printf \"%s-%d %q %05d %-5s| %x %%\" .Name .Pid .Id 42 \"ab\" 255}}",
                "web-7 \"abc\" 00042 ab   | ff %",
            ),
            ("{{println .Name}}{{print 1 2}}", "web\n1 2"),
            ("a {{- .Name -}} b{{/* nothing */}}", "awebb"),
            ("{{$x := .Name}}{{$x}}{{and .Name .Pid}}{{or .Empty \"d\"}}{{not .Pid}}", "web7dfalse"),
            ("{{lt 1 2}} {{ge 2 3}} {{ne \"a\" \"b\"}} {{eq .Name \"x\" \"web\"}}", "true false true true"),
            ("{{(index .Mounts 1).Source}} {{.Labels.nope}}", "/b <no value>"),
            (
                "{{truncate .Status 2}}",
                "! no field \"Status\": there are Id, Name, Pid, State, Labels, Mounts, Args, Nothing, Empty",
            ),
            ("{{.Name", "! {{ without }}"),
            ("{{if .Name}}x", "! {{if}} without {{end}}"),
            ("{{end}}", "! {{end}} without its beginning"),
            ("{{foo .}}", "! function \"foo\" not defined"),
            ("{{.Name | }}", "! missing value"),
            ("{{index .Args 9}}", "! index 9 out of range: there are 2"),
            ("{{$y}}", "! undefined variable $y"),
        ] {
            assert_eq!(say(template), expected, "{template}");
        }
    }
}
