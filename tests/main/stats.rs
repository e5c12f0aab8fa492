//! `stats`: columns, fields and refusals. What needs controllers (memory, tasks) is tried in `delegated`.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::running::until;
use crate::world::World;

/// Whether the container has a cgroup of its own here: an ordinary user to whom nothing was delegated can make none.
fn is_counted(world: &World, name: &str) -> bool {
    let (id, path) = (["{{.Id}}"], ["{{.State.CgroupPath}}"]);
    let ask = |format: [&str; 1]| world.podling(["inspect", "--format", format[0], name]).ok().to_owned();
    ask(path).contains(&ask(id))
}

both!(stats_tell_what_is_used, |world| {
    let image = world.image("witness");
    world.podling(["run", "-d", "--name=busy", "--network=none", image, "spin"]).ok();
    let look = |format: &str| world.podling(["stats", "--no-stream", "--format", format, "busy"]);
    if !is_counted(world, "busy") {
        let said = look("{{.ID}}").fails(125).to_owned();
        assert!(said.contains("nothing counts what busy uses: it has no cgroup of its own"), "{said}");
        assert!(said.contains("hint: "), "{said}");
        // Nor is there anything to tell of all that run.
        world.podling(["stats", "--no-stream"]).fails(125);
        return;
    }
    let used =
        until("it has used a processor", || look("{{.CPUNano}}").ok().parse::<u64>().ok().filter(|used| *used > 0));
    until("it has used more", || look("{{.CPUNano}}").ok().parse().ok().filter(|now: &u64| *now > used));
    let table = world.podling(["stats", "--no-stream"]);
    let (heading, row) = table.ok().split_once('\n').expect("two lines");
    let columns: Vec<_> = heading.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    let all = "ID,NAME,CPU %,MEM USAGE / LIMIT,MEM %,NET IO,BLOCK IO,PIDS,CPU TIME,AVG CPU %";
    assert_eq!(columns.join(","), all);
    assert!(row.contains(" busy ") && row.contains("0B / 0B"), "no device of its own has carried anything: {row}");
    let json: Value = serde_json::from_str(look("json").ok()).expect("JSON");
    assert_eq!(json[0]["name"], "busy");
    assert!(json[0]["avg_cpu"].as_str().is_some_and(|text| text.ends_with('%') && text != "0.00%"), "{json}");
});

both!(a_container_that_does_not_run_uses_nothing, |world| {
    let image = world.image("witness");
    world.podling(["create", "--name=idle", "--network=none", image, "true"]).ok();
    let fields =
        "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.BlockIO}} {{.PIDS}} {{.UpTime}} {{.AVGCPU}}";
    let nothing = "idle 0.00% 0B / 0B 0.00% 0B / 0B 0B / 0B 0 0s 0.00%";
    for chosen in ["idle", "--all", "--latest"] {
        assert_eq!(world.podling(["stats", "--no-stream", "--format", fields, chosen]).ok(), nothing, "{chosen}");
    }
    assert_eq!(world.podling(["stats", "--no-stream", "--format", "{{.Name}}"]).ok(), "", "it does not run");
});

both!(stats_refuse_what_makes_no_sense, |world| {
    let refusals: [(&[&str], &str); 3] = [
        (&["nobody"], "no container with name or ID \"nobody\" found: no such container"),
        (&["--all", "nobody"], "--all, --latest and containers cannot be used together"),
        (&["--interval", "0"], "invalid value \"0\" for --interval"),
    ];
    for (words, why) in refusals {
        let said = world.podling([&["stats", "--no-stream"], words].concat()).fails(125).to_owned();
        assert!(said.contains(why), "{said}");
    }
});

both!(stats_look_again_and_again_until_stopped, |world| {
    let image = world.image("witness");
    world.podling(["create", "--name=idle", "--network=none", image, "true"]).ok();
    let mut looking = world.spawn(["stats", "--interval=1", "--format={{.Name}} {{.PIDS}}", "idle"]);
    // Standard output is no terminal: nothing is cleared.
    assert_eq!([looking.line(), looking.line()].map(|line| line.trim_end().to_owned()), ["idle 0", "idle 0"]);
    looking.signal(Signal::SIGTERM);
    assert_eq!(looking.wait().status, 143);
});
