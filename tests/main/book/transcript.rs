//! The console blocks of a page, run as a reader would: one shell for the whole page, one command after the other, so that
//! a variable set at the top is there at the bottom, and `$?` is what the command before has left.
//!
//! What they print must agree with the page (see `varying`). With `PODLING_BLESS=DIR` what they print today is written
//! into the page of the same name in DIR instead, where it does not agree: `./test bless`.

use std::fs;
use std::path::PathBuf;

use super::page::{Fence, Page, root};
use super::varying::Varying;
use crate::running::{Input, Running};
use crate::world::World;

/// A command of a console block, and what the page says it prints.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub command: String,
    pub printed: String,
}

/// The steps of a console block: a command after `$ `, more of it after `> `, then what it prints.
pub fn steps(body: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for line in body.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), printed: String::new() });
            continue;
        }
        let step = steps.last_mut().ok_or_else(|| format!("{line:?} stands before any command"))?;
        match line.strip_prefix("> ") {
            Some(more) if step.printed.is_empty() => step.command += &format!("\n{more}"),
            _ => step.printed += &format!("{line}\n"),
        }
    }
    Ok(steps)
}

/// The console blocks that are to be run.
fn to_run(page: &Page) -> Vec<(Fence<'_>, Vec<Step>)> {
    let fences = page.fences().into_iter().filter(|fence| fence.label == "console" && fence.skip.is_none());
    let steps = |fence: &Fence| steps(fence.body).unwrap_or_else(|error| panic!("{}: {error}", page.at(fence.line)));
    let with_steps = |fence| {
        let steps = steps(&fence);
        (fence, steps)
    };
    fences.map(with_steps).collect()
}

/// Between the outputs of two commands: a control character that no program prints.
const MARK: char = '\x1e';

fn script(blocks: &[(Fence, Vec<Step>)]) -> String {
    let mut script = "exec 2>&1\nmark() { local status=$?; printf '\\036'; return $status; }\n".to_owned();
    for step in blocks.iter().flat_map(|(_, steps)| steps) {
        script += &format!("mark\n{}\n", step.command);
    }
    script
}

/// Runs a page, and compares or blesses it.
pub fn check(world: &World, page: &Page) {
    let (wrong, blessed) = run(world, page);
    match bless(page) {
        Some(file) if !wrong.is_empty() => fs::write(&file, blessed).expect("the page can be written"),
        Some(_) => {}
        None => assert!(wrong.is_empty(), "\n{wrong}"),
    }
}

/// What is wrong with a page, and the page as it would be true.
fn run(world: &World, page: &Page) -> (String, String) {
    let blocks = to_run(page);
    let file = world.file("page.sh", script(&blocks));
    let mut bash = world.command("bash");
    bash.arg(file);
    if super::delegated::PAGES.contains(&&*page.name) {
        // The user's own systemd is met where the machine has it, not the world.
        bash.env("XDG_RUNTIME_DIR", format!("/run/user/{}", crate::setup::setup().user.uid));
    }
    let output = Running::start(bash, Input::Empty).wait();
    let mut printed = output.stdout.split(MARK).skip(1);
    let (mut varying, mut wrong, mut blessed) = (Varying::new(), String::new(), page.text.clone());
    for (fence, steps) in &blocks {
        for pattern in &fence.varies {
            varying.add(pattern).unwrap_or_else(|error| panic!("{}: {error}", page.at(fence.line)));
        }
        let (mut agrees, mut body) = (true, String::new());
        for step in steps {
            let actual = printed.next().unwrap_or("(the shell has ended before this)\n");
            let newline = if actual.is_empty() || actual.ends_with('\n') { "" } else { "\n" };
            body += &format!("$ {}\n{actual}{newline}", step.command.replace('\n', "\n> "));
            if !varying.agree(&step.printed, actual) {
                agrees = false;
                let said =
                    format!("$ {}\n--- the page\n{}--- the machine\n{actual}{newline}", step.command, step.printed);
                wrong += &format!("{}: {said}", page.at(fence.line));
            }
        }
        if !agrees {
            // The first of two blocks with the same text is the one meant, once the first has been blessed.
            blessed = blessed.replacen(&format!("\n{}```", fence.body), &format!("\n{body}```"), 1);
        }
    }
    (wrong, blessed)
}

/// Where the page is to be written, if it is.
fn bless(page: &Page) -> Option<PathBuf> {
    let dir = std::env::var_os("PODLING_BLESS")?;
    let file = PathBuf::from(dir).join(page.path.strip_prefix(root()).expect("below the root"));
    fs::create_dir_all(file.parent()?).expect("the directory that was asked for");
    Some(file)
}

#[test]
fn a_console_block_is_commands_and_what_they_print() {
    let step = |command: &str, printed: &str| Step { command: command.into(), printed: printed.into() };
    let body = "$ echo a &&\n> echo b\na\nb\n$ true\n$ cat x\n> y\n";
    // A `> ` after output is output.
    assert_eq!(
        steps(body).expect("sound"),
        [step("echo a &&\necho b", "a\nb\n"), step("true", ""), step("cat x\ny", "")]
    );
    assert_eq!(steps("$ diff a b\n1c1\n> y\n").expect("sound"), [step("diff a b", "1c1\n> y\n")]);
    assert!(steps("no command\n").is_err());
}

as_user!(a_planted_lie_in_a_transcript_is_found, |world| {
    let page = |text: &str| Page { name: "planted.md".into(), path: root().join("planted.md"), text: text.into() };
    let is_true = |text: &str| run(world, &page(text)).0.is_empty();
    assert!(is_true("```console\n$ x=7; (exit $x)\n$ echo $? $x\n7 7\n```\n"), "one shell for the page");
    assert!(is_true("<!-- skip: a reason -->\n```console\n$ echo 1\n2\n```\n"));
    assert!(!is_true("```console\n$ echo 1\n2\n```\n"));
    assert!(!is_true("```console\n$ echo 1\n```\n"), "it prints more than the page says");
    assert!(!is_true("```console\n$ true\n1\n```\n"), "it prints less");
    assert!(!is_true("```console\n$ exit 3\n$ echo 1\n1\n```\n"), "the shell is gone");
});
