//! `tree`: what it draws is what is there.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex_lite::Regex;
use serde_json::Value;

use crate::running::{until, until_gone};
use crate::world::{Who, World};

/// Starts a container whose program has a child: `sleep 1001`, and below it `sleep 1000`.
fn start(world: &World, name: &str, flags: &[&str]) {
    let program = ["busybox", "sh", "-c", "sleep 1000 & exec sleep 1001"];
    world.image("busybox");
    world.podling([&["run", "-d", "--name", name], flags, &program].concat()).ok();
    until("both run", || {
        let tree = world.podling(["tree", name]).ok().to_owned();
        (tree.contains(" sleep 1000") && tree.contains(" sleep 1001")).then_some(())
    });
}

/// The picture, without what differs from run to run: our pids, and whose picture it is.
fn shape(text: &str) -> String {
    let pid = Regex::new(r"(─ )\d+ ").expect("a sound pattern");
    let you = Regex::new(r"you \(.*\)").expect("a sound pattern");
    you.replace_all(&pid.replace_all(text, "${1}PID "), "you (USER)").into_owned()
}

fn json(world: &World, words: &[&str]) -> Value {
    let said = world.podling([&["tree", "--format=json"], words].concat());
    serde_json::from_str(said.ok()).expect("JSON")
}

fn processes(tree: &Value, container: usize) -> Vec<Value> {
    tree["containers"][container]["processes"].as_array().expect("a list").clone()
}

both!(the_tree_shows_who_lives_where_and_with_whom, |world| {
    start(world, "web", &["--network=none"]);
    start(world, "alone", &["--network=none", "--uts=host"]);
    start(world, "side", &["--network=container:web", "--ipc=container:web"]);
    let tree = shape(world.podling(["tree"]).ok());
    // Root's containers have the machine's own user namespace, a user's have one together.
    world.snapshot(if world.who == Who::Root { "tree_of_root" } else { "tree_of_a_user" }, &tree);
    let all = json(world, &[]);
    let pods = serde_json::json!([{"containers": ["web", "side"], "shares": ["ipc", "net"]}]);
    assert_eq!(all["pods"], pods);
    // The numbers are the kernel's.
    for container in 0..3 {
        for process in processes(&all, container) {
            for (kind, inode) in process["namespaces"].as_object().expect("a table") {
                let link = std::fs::read_link(format!("/proc/{}/ns/{kind}", process["pid"]));
                if let Ok(link) = link {
                    assert_eq!(link.to_string_lossy(), format!("{kind}:[{inode}]"), "of {process}");
                }
            }
            assert_eq!(process["namespaces"].as_object().map(serde_json::Map::len), Some(8), "all kinds of {process}");
        }
    }
    // One by one, nobody shares.
    assert_eq!(json(world, &["web"])["pods"], serde_json::json!([]));
    assert!(!world.podling(["tree", "web", "web", "alone"]).ok().contains("─ side"));
});

both!(the_tree_shows_who_came_later_and_who_helps, |world| {
    start(world, "box", &[]);
    world.podling(["exec", "-d", "box", "sleep", "1002"]).ok();
    let mut session = world.spawn(["exec", "box", "sh", "-c", "echo here; exec sleep 1003"]);
    session.line();
    let tree = until("both have come", || {
        let tree = shape(world.podling(["tree"]).ok());
        (tree.contains("sleep 1002") && tree.contains("sleep 1003")).then_some(tree)
    });
    // Of pasta only that it is there: in which namespaces it shuts itself up is its own business.
    let tree = Regex::new(r"(?m)^.{38}(.*pasta.*)$").expect("a sound pattern").replace(&tree, "$1").into_owned();
    world.snapshot(if world.who == Who::Root { "tree_of_sessions_of_root" } else { "tree_of_sessions" }, &tree);
    let pid = |command: &str| {
        let all = processes(&json(world, &[]), 0);
        let found = all.iter().find(|it| it["command"].as_str().is_some_and(|it| it.ends_with(command)));
        found.unwrap_or_else(|| panic!("no {command} in {all:?}"))["pid"].as_i64().expect("a number") as i32
    };
    for command in ["sleep 1003", "sleep 1002"] {
        let pid = pid(command);
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
        until_gone(pid);
    }
    session.wait().fails(137);
    // Without a monitor nothing is lost but the row.
    let monitor = processes(&json(world, &[]), 0)[0].clone();
    assert_eq!(monitor["role"], "monitor", "{monitor}");
    let monitor = monitor["pid"].as_i64().expect("a number") as i32;
    kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("it runs");
    until_gone(monitor);
    let roles: BTreeSet<_> = processes(&json(world, &[]), 0).iter().map(|it| it["role"].to_string()).collect();
    assert_eq!(roles.into_iter().collect::<Vec<_>>(), [r#""network""#, r#""program""#]);
});

both!(the_tree_of_nobody_is_you, |world| {
    let empty = shape(world.podling(["tree"]).ok());
    let image = world.image("witness");
    world.podling(["create", "--name=still", "--network=none", image, "true"]).ok();
    assert_eq!(shape(world.podling(["tree"]).ok()), empty);
    world.podling(["run", "--name=over", "--network=none", image, "exit", "3"]).fails(3);
    let all = shape(world.podling(["tree", "--all"]).ok());
    let errors = [
        world.podling(["tree", "still"]).fails(125).to_owned(),
        world.podling(["tree", "over"]).fails(125).to_owned(),
        world.podling(["tree", "nobody"]).fails(125).to_owned(),
        world.podling(["tree", "--all", "still"]).fails(125).to_owned(),
        world.podling(["tree", "--format=png"]).fails(125).to_owned(),
    ];
    world.snapshot("tree_of_nobody", &format!("{empty}\n\n{all}\n\n{}", errors.join("\n")));
    assert!(world.podling(["tree", "--format=svg"]).ok().contains("no container runs"));
    assert_eq!(json(world, &[])["containers"], serde_json::json!([]));
    // One that waits to be let go has a process already.
    world.podling(["init", "still"]).ok();
    assert!(world.podling(["tree"]).ok().contains("still initialized"));
});

as_root!(a_paused_container_is_drawn_as_paused, |world| {
    start(world, "box", &["--network=none"]);
    world.podling(["pause", "box"]).ok();
    let tree = shape(world.podling(["tree"]).ok());
    world.podling(["unpause", "box"]).ok();
    assert!(tree.contains("└─ box paused\n"), "{tree}");
    assert_eq!(tree.matches(" inside) sleep").count(), 2, "{tree}");
});

both!(a_name_of_a_process_cannot_spoil_the_picture, |world| {
    world.image("busybox");
    let name = "<i>&\"\u{1b}[2J\u{202e}\n\u{fffe}</svg>";
    world.podling(["run", "-d", "--name=sly", "--network=none", "busybox", "sh", "-c", "sleep 1000; :", name]).ok();
    let tree = until("it runs", || {
        let tree = world.podling(["tree", "--no-trunc"]).ok().to_owned();
        tree.contains("(2 inside) sleep 1000").then_some(tree)
    });
    assert!(!tree.contains(['\u{1b}', '\u{202e}', '\u{fffe}']), "{tree:?}");
    assert!(tree.contains(r#"<i>&"\u{1b}[2J\u{202e}\n\u{fffe}</svg>"#), "{tree}");
    let svg = world.podling(["tree", "--format=svg", "--no-trunc"]).ok().to_owned();
    let picture = roxmltree::Document::parse(&svg).expect("XML");
    let texts: Vec<_> =
        picture.descendants().filter(|it| it.has_tag_name(("http://www.w3.org/2000/svg", "text"))).collect();
    let said = texts.iter().any(|it| it.text().is_some_and(|text| text.contains(r#"<i>&"\u{1b}[2J"#)));
    assert!(said, "{svg}");
    assert_eq!(picture.descendants().filter(|it| it.has_tag_name("i")).count(), 0);
});

both!(the_picture_is_xml_and_its_dots_are_the_texts_letters, |world| {
    start(world, "web", &["--network=none"]);
    start(world, "side", &["--network=container:web"]);
    let svg = world.podling(["tree", "--format=svg"]).ok().to_owned();
    assert_eq!(world.podling(["tree", "--format=svg"]).ok(), svg, "nothing happened, so nothing has changed");
    let picture = roxmltree::Document::parse(&svg).expect("XML");
    let root = picture.root_element();
    assert!(root.has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    let text_of = |id: &str| root.children().find(|it| it.attribute("id") == Some(id)).and_then(|it| it.text());
    assert!(text_of("title").is_some_and(|title| !title.is_empty()));
    let description = text_of("desc").expect("a description");
    assert!(description.contains("web.") && description.contains("pod sharing net."), "{description}");
    let letters = |class: &str| {
        let found = root.descendants().filter(|it| it.attribute("class") == Some(class));
        found.filter_map(|it| it.text()).map(String::from).collect::<Vec<_>>()
    };
    let headings = letters("heading");
    assert_eq!(headings.join(" "), "user mnt pid cgroup ipc uts net time");
    let text = world.podling(["tree"]).ok().to_owned();
    // Below the headings and above the legend, without the tree.
    let rows = text.lines().skip(1).take_while(|line| !line.is_empty());
    let cells: Vec<char> = rows.flat_map(|row| row.chars().take(36)).filter(char::is_ascii_uppercase).collect();
    // The legend shows one of each.
    assert_eq!(letters("letter").len() + letters("letter shared").len(), cells.len() + 2, "{text}\n{svg}");
    // Everything is within the picture.
    let wide: usize = root.attribute("width").and_then(|it| it.parse().ok()).expect("a width");
    for text in root.descendants().filter(|it| it.attribute("class").is_some() && it.attribute("x").is_some()) {
        let begins: usize = text.attribute("x").and_then(|it| it.parse().ok()).expect("a number");
        let words = text.text().unwrap_or_default().chars().count();
        assert!(begins + 8 * words <= wide || words < 7, "{text:?} ends outside of {wide}");
    }
});

both!(a_terminal_gets_colours_and_lines_that_fit, |world| {
    start(world, "web", &["--network=none"]);
    world.podling(["exec", "-d", "web", "sh", "-c", &format!("sleep 1004; : {}", "#".repeat(200))]).ok();
    until("it is there", || world.podling(["tree"]).ok().contains("sleep 1004").then_some(()));
    let seen = world.spawn_on_terminal(["tree"]).wait();
    let (lines, colours) = (seen.ok(), Regex::new("\u{1b}\\[[0-9;]*m").expect("a sound pattern"));
    assert!(colours.is_match(lines), "{lines:?}");
    let plain = colours.replace_all(lines, "").replace('\r', "");
    assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
    assert!(plain.lines().any(|line| line.ends_with('…') && line.chars().count() == 80), "{plain}");
    let mut narrow = world.command("setsid");
    narrow.args(["--ctty", "--", "sh", "-c", "stty columns 50; podling tree"]);
    let seen = crate::running::Running::start_on_terminal(narrow).wait();
    let plain = colours.replace_all(seen.ok(), "").replace('\r', "");
    assert!(plain.lines().all(|line| line.chars().count() <= 57), "{plain}");
    assert!(plain.contains("└─ web\n"), "{plain}");
    // Where nobody clips, nothing is lost.
    assert!(world.podling(["tree", "--no-trunc"]).ok().contains(&"#".repeat(200)));
    assert!(!world.podling(["tree"]).ok().contains('\u{1b}'));
});

both!(another_engine_s_containers_are_not_ours, |world| {
    start(world, "ours", &["--network=none"]);
    let elsewhere = world.directory("elsewhere");
    let [data, run] = ["data", "run"].map(|name| elsewhere.join(name).display().to_string());
    let other = ["--root", &data, "--runroot", &run, "tree"];
    assert!(world.podling(other).ok().contains("no container runs"));
    // A process beside ours that looks like one of them is none.
    let mut beside = world.command("sh");
    beside.args(["-c", "echo here; exec sleep 1005"]);
    let mut beside = crate::running::Running::start(beside, crate::running::Input::Empty);
    beside.line();
    assert!(!world.podling(["tree"]).ok().contains("sleep 1005"));
    beside.signal(Signal::SIGKILL);
    beside.wait().fails(137);
});
