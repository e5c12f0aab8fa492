//! What podling tells of containers: events, logs, inspect, top, the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::running::{Input, Running};
use crate::setup::setup;

both!(each_step_of_a_life_is_an_event, |world| {
    let image = world.image("witness");
    world.podling(["create", "--name=one", "--network=none", "--label=a=1", image, "exit", "3"]).ok();
    world.podling(["start", "-a", "one"]).fails(3);
    world.podling(["rm", "one"]).ok();
    let list = |words: &[&str]| {
        world.podling([&["events", "--stream=false", "--format={{.Type}} {{.Status}} {{.Name}}"], words].concat())
    };
    let all = list(&["--filter=container=one"]).ok().to_owned();
    assert_eq!(all, "container create one\ncontainer start one\ncontainer died one\ncontainer remove one");
    assert_eq!(list(&["--filter=event=died", "--filter=label=a=1"]).ok(), "container died one");
    assert_eq!(list(&["--filter=type=container", "--until=1h"]).ok(), "");
    let died = world.podling(["events", "--stream=false", "--format=json", "--filter=event=died"]);
    let died: serde_json::Value = serde_json::from_str(died.ok()).expect("one line of JSON");
    assert_eq!(died["ContainerExitCode"], 3);
    // A template may ask for what only some events have.
    let codes = ["events", "--stream=false", "--format={{.Status}} {{.ContainerExitCode}} {{.Image}}."];
    let codes = world.podling([&codes[..], &["--filter=type=container"]].concat());
    let image = "localhost/witness:latest.";
    assert_eq!(codes.ok(), format!("create 0 {image}\nstart 0 {image}\ndied 3 {image}\nremove 0 {image}"));
    world.podling(["volume", "create", "data"]).ok();
    let volume =
        ["events", "--stream=false", "--format={{.ContainerExitCode}}|{{.ID}}|{{.Image}}|", "--filter=type=volume"];
    assert_eq!(world.podling(volume).ok(), "0|||");
    world.podling([&volume[..2], &["--format={{.Nonsense}}"]].concat()).fails(125);
    world.podling(["events", "--stream=false", "--filter=colour=red"]).fails(125);
    world.podling(["events", "--since=yesterday"]).fails(125);
});

both!(what_is_done_to_images_is_an_event, |world| {
    let registry = world.registry();
    let image = world.image("witness");
    let archive = world.dir.join("home/a.tar");
    let archive = archive.to_str().expect("plain ASCII");
    // Root and the user push at the same time, to the same registry.
    let target = format!("{registry}/event-{:?}:1", world.who).to_lowercase();
    world.podling(["tag", image, "other:2"]).ok();
    world.podling(["save", "-q", "-o", archive, "other:2"]).ok();
    world.podling(["untag", "other:2", "other:2"]).ok();
    world.podling(["push", "-q", image, &target]).ok();
    world.podling(["rmi", image]).ok();
    world.podling(["load", "-q", "-i", archive]).ok();
    world.podling(["rmi", "-a"]).ok();
    world.podling(["pull", "-q", &target]).ok();
    world.podling(["import", "-q", archive, "made:3"]).ok();
    let said = world.podling(["events", "--stream=false", "--filter=type=image"]).ok().to_owned();
    let said: Vec<_> = said.lines().skip(1).map(|line| line.split(' ').skip(4).collect::<Vec<_>>().join(" ")).collect();
    let said = said.join("\n").replace(&format!("{:?}", world.who).to_lowercase(), "<who>");
    world.snapshot("image_events", &said);
});

both!(system_prune_spares_what_the_filter_does_not_mean, |world| {
    let image = world.image("witness");
    for label in ["gone", "kept"] {
        world.podling(["create", "--network=none", "--name", label, "--label", label, image]).ok();
        world.podling(["volume", "create", "--label", label, label]).ok();
    }
    let said = world.podling(["system", "prune", "-f", "--volumes", "--filter=label=gone"]).ok().to_owned();
    assert!(said.contains("Deleted Volumes\ngone\n"), "{said}");
    assert_eq!(world.podling(["ps", "-a", "--format={{.Names}}"]).ok(), "kept");
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "kept");
    world.podling(["system", "prune", "-f", "--filter=name=kept"]).fails(125);
});

both!(a_stream_of_events_tells_what_happens, |world| {
    let mut stream = world.spawn(["events", "--since=1h", "--format={{.Type}} {{.Status}} {{.Name}}"]);
    world.podling(["volume", "create", "first"]).ok();
    assert_eq!(stream.line().trim(), "volume create first");
    world.podling(["volume", "rm", "first"]).ok();
    assert_eq!(stream.line().trim(), "volume remove first");
    stream.signal(nix::sys::signal::Signal::SIGKILL);
    stream.wait();
});

both!(following_the_journal_of_a_container_at_rest_ends, |world| {
    let image = world.image("witness");
    world.podling(["run", "--network=none", "--name=quiet", "--log-driver=k8s-file", image, "exit", "0"]).ok();
    // There may be no journal here; what is asked of its reader is the matter.
    let id = world.podling(["inspect", "--format={{.ID}}", "quiet"]).ok().to_owned();
    let file = world.data().join("containers").join(id).join("container.json");
    let json = fs::read_to_string(&file).expect("a container");
    fs::write(&file, json.replace("\"k8s-file\"", "\"journald\"")).expect("ours");
    let reader = world.directory("bin").join("journalctl");
    world.file("bin/journalctl", "#!/bin/sh\necho \"$@\"\n");
    fs::set_permissions(reader, fs::Permissions::from_mode(0o755)).expect("ours");
    let mut command = world.command(setup().bin("podling"));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", world.dir.join("bin").display())).args(["logs", "--follow", "quiet"]);
    let said = Running::start(command, Input::Empty).wait();
    assert!(said.ok().contains("CONTAINER_ID_FULL=") && !said.stdout.contains("--follow"), "{said}");
    world.podling(["rm", "quiet"]).ok();
});

both!(logs_are_cut_by_number_and_by_time, |world| {
    let image = world.image("busybox");
    for driver in ["k8s-file", "json-file"] {
        let flag = format!("--log-driver={driver}");
        let script = "printf 'one\\ntwo\\nthr'; echo ee; echo four >&2";
        world.podling(["run", "--name=talk", "--network=none", &flag, image, "sh", "-c", script]);
        let logs = |words: &[&str]| world.podling([&["logs"], words, &["talk"]].concat());
        assert_eq!(logs(&["--tail=2"]).stdout.trim_end(), "three", "{driver}");
        assert_eq!(logs(&["--tail=0"]).ok(), "");
        assert_eq!(logs(&["--since=1h"]).ok(), "one\ntwo\nthree");
        assert_eq!(logs(&["--until=1h"]).ok(), "");
        assert_eq!(logs(&["--names", "--tail=3"]).ok(), "talk two\ntalk three");
        assert!(
            logs(&["-t", "--tail=4"]).ok().lines().all(|line| line.split(' ').next().is_some_and(|it| it.len() > 30))
        );
        world.podling(["rm", "talk"]).ok();
    }
    world.podling(["run", "--name=mute", "--network=none", "--log-driver=none", image, "true"]).ok();
    world.snapshot("no_log", world.podling(["logs", "mute"]).fails(125));
    world.podling(["logs", "--since=noon", "mute"]).fails(125);
});

both!(top_shows_the_numbers_inside, |world| {
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=box", "--network=none", "-u=7", image, "sleep", "1000"]).ok();
    // crun lets a container go, and leaves, a moment before that executes its program.
    crate::running::until("the program runs", || {
        world.podling(["top", "box", "args"]).ok().contains("sleep 1000").then_some(())
    });
    let table = world.podling(["top", "box", "pid,ppid", "user", "args"]).ok().to_owned();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [vec!["PID", "PPID", "USER", "COMMAND"], vec!["1", "0", "7", "sleep", "1000"]]);
    let error = world.podling(["top", "box", "colour"]).fails(125).to_owned();
    world.podling(["rm", "-f", "-t0", "box"]).ok();
    world.podling(["create", "--name=still", "--network=none", image]).ok();
    let still = world.podling(["top", "still"]).fails(125).to_owned();
    world.snapshot("top_errors", &format!("{error}\n{still}"));
});

both!(inspect_tells_what_was_decided_and_how_it_ended, |world| {
    let image = world.image("busybox");
    let flags = ["--network=none", "-e=A=1", "-w=/tmp", "--label=b=2", "-v=data:/data:ro", "--stop-signal=INT"];
    world.podling([&["run", "--name=one"], &flags[..], &[image, "sh", "-c", "exit 4"]].concat()).fails(4);
    let ask = |template: &str| world.podling(["inspect", "--format", template, "one"]).ok().to_owned();
    assert_eq!(ask("{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.Name}}"), "exited 4 false one");
    assert_eq!(ask("{{.Config.WorkingDir}} {{.Config.StopSignal}} {{.Config.Labels.b}}"), "/tmp SIGINT 2");
    assert_eq!(ask("{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}"), "volume data /data false");
    assert_eq!(
        ask("{{if .State.Health}}{{.State.Health.Status}}{{end}}|{{.HostConfig.Binds}}"),
        "|[data:/data:ro,nosuid,nodev]"
    );
    assert_eq!(ask("{{.HostConfig.NetworkMode}} {{.Path}} {{json .Args}}"), "none sh [\"-c\",\"exit 4\"]");
    let all = world.podling(["inspect", "one"]);
    let all: serde_json::Value = serde_json::from_str(all.ok()).expect("JSON");
    assert_eq!(all[0]["Id"].as_str().map(str::len), Some(64));
    assert!(all[0]["Config"]["Env"].as_array().is_some_and(|env| env.contains(&"A=1".into())));
    world.snapshot("inspect_nobody", world.podling(["inspect", "nobody"]).fails(125));
    world.podling(["inspect", "--type=image", "one"]).fails(125);
});

both!(the_disk_is_measured_and_given_back, |world| {
    let image = world.image("busybox");
    world.podling(["run", "--name=one", "--network=none", "-v=data:/data", image, "sh", "-c", "echo x >/data/f"]).ok();
    let rows = world.podling(["system", "df", "--format={{.Type}} {{.Total}} {{.Active}}"]).ok().to_owned();
    assert_eq!(rows, "Images 1 1\nContainers 1 0\nLocal Volumes 1 1");
    assert!(world.podling(["system", "df", "-v"]).ok().contains("Containers space usage:"));
    let said = world.podling(["system", "prune", "-af", "--volumes"]).ok().to_owned();
    assert!(said.contains("Deleted Containers") && said.contains("Deleted Volumes\ndata"), "{said}");
    assert!(said.contains("Deleted Images") && said.contains("Total reclaimed space: "), "{said}");
    let rows = world.podling(["system", "df", "--format={{.Total}}"]).ok().to_owned();
    assert_eq!(rows, "0\n0\n0");
});

both!(reset_leaves_nothing_and_asks_first, |world| {
    let image = world.image("witness");
    world.podling(["create", "--name=one", "--network=none", image]).ok();
    world.podling_with_input(["system", "reset"], "n\n").ok();
    assert_eq!(world.podling(["ps", "-aq"]).ok().lines().count(), 1);
    world.podling(["system", "reset", "-f"]).ok();
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
    assert_eq!(world.podling(["images", "-q"]).ok(), "");
});

as_user!(unshare_is_root_in_the_shared_namespace, |world| {
    assert_eq!(world.podling(["unshare", "id", "-u"]).ok(), "0");
    world.podling(["unshare", "no-such-program"]).fails(127);
    world.podling(["unshare", "sh", "-c", "exit 5"]).fails(5);
});
