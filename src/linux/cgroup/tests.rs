//! On the real kernel, in groups of our own below our group; each test removes its own. Without a cgroup2 tree that we may
//! write to (an ordinary user, who was delegated nothing) there is nothing to try: those tests say so and pass. What needs
//! controllers (memory, pids, cpu) is tried in the VM, through the whole program.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::delegation::CALLERS;
use super::*;

/// A fresh group with a name of its own; its processes are killed and it is removed at the end of the test.
struct Fresh(Hierarchy, PathBuf);

impl Fresh {
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let hierarchy = Hierarchy::find()?;
        let own = hierarchy.own_path().ok()?;
        if !hierarchy.may_divide(&own) {
            eprintln!("no cgroup2 tree to write to: not tried");
            return None;
        }
        let name = format!("podling-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Some(Self(hierarchy, own.join(name)))
    }

    fn group(&self) -> Cgroup {
        Cgroup::create(&self.0, &self.1).expect("a group")
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Ok(Some(group)) = Cgroup::open(&self.0, &self.1) {
            let _ = group.kill();
            group.remove().expect("an empty group is removed");
        }
    }
}

/// A process that waits for ever (for the end of its input, which we hold).
fn sleeper(group: &Cgroup) -> Child {
    let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat");
    group.add(Pid::from_raw(child.id() as i32)).expect("moving");
    child
}

#[test]
fn a_group_knows_its_processes_and_those_below() {
    let Some(fresh) = Fresh::new() else { return };
    let (above, below) = (fresh.group(), Cgroup::create(&fresh.0, &fresh.1.join("a/b")).expect("a group"));
    assert!(!above.populated().expect("events"));
    let mut child = sleeper(&below);
    assert_eq!(above.processes().expect("processes"), [Pid::from_raw(child.id() as i32)]);
    assert!(above.populated().expect("events"));
    assert_eq!(fresh.0.path_of(&child.id().to_string()).expect("its path"), below.path());
    above.kill().expect("killing");
    child.wait().expect("waiting");
}

#[test]
fn a_killed_group_can_be_removed_at_once() {
    let Some(fresh) = Fresh::new() else { return };
    let group = fresh.group();
    let mut children: Vec<Child> = (0..5).map(|_| sleeper(&group)).collect();
    group.kill().expect("killing");
    // Zombies do not count: nobody has waited for the children yet.
    group.remove().expect("removing");
    assert!(Cgroup::open(&fresh.0, &fresh.1).expect("opening").is_none());
    for child in &mut children {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().expect("waiting").signal(), Some(libc::SIGKILL));
    }
}

#[test]
fn a_group_that_is_gone_is_killed_already() {
    let Some(fresh) = Fresh::new() else { return };
    let group = fresh.group();
    fresh.group().remove().expect("an empty group is removed");
    group.kill().expect("nobody is left to kill");
}

#[test]
fn a_frozen_group_stands_still_until_it_is_thawed_or_killed() {
    let Some(fresh) = Fresh::new() else { return };
    let group = fresh.group();
    let mut child = sleeper(&group);
    assert!(!group.frozen().expect("events"));
    group.freeze(true).expect("freezing");
    assert!(group.frozen().expect("events"));
    // Its input ends, and it does not notice.
    drop(child.stdin.take());
    assert_eq!(child.try_wait().expect("waiting"), None);
    group.freeze(false).expect("thawing");
    assert!(child.wait().expect("waiting").success());

    let mut child = sleeper(&group);
    group.freeze(true).expect("freezing");
    group.kill().expect("killing");
    assert!(!child.wait().expect("waiting").success(), "the frozen die, too");
}

#[test]
fn a_group_with_processes_passes_no_controllers_on() {
    let Some(fresh) = Fresh::new() else { return };
    let group = fresh.group();
    let offered = group.words("cgroup.controllers");
    if offered.is_empty() {
        return; // a hybrid machine may have none at all
    }
    let mut child = sleeper(&group);
    assert_eq!(group.pass_on_here(&offered), Err(Errno::EBUSY));
    group.step_down(&offered).expect("after stepping down it may");
    let leaf = fresh.1.join(CALLERS);
    assert_eq!(fresh.0.path_of(&child.id().to_string()).expect("its path"), leaf);
    group.kill().expect("killing");
    child.wait().expect("waiting");
}

#[test]
fn a_limit_without_its_controller_is_an_error_with_a_cure() {
    let Some(fresh) = Fresh::new() else { return };
    if !fresh.0.is_hybrid() {
        return;
    }
    let error = fresh.group().set(&Resources { memory_max: Some(Limit::At(1 << 20)), ..Resources::default() });
    assert_eq!(
        format!("{:#}", error.expect_err("memory is version 1's here")),
        "the cgroup controller \"memory\" is not available in /: this machine's controllers are bound to cgroup version \
         1; boot it with systemd.unified_cgroup_hierarchy=1"
    );
}

#[test]
fn a_limit_that_is_lifted_needs_no_controller() {
    let Some(fresh) = Fresh::new() else { return };
    let (max, none) = (Some(Limit::Max), Resources::default());
    let lifted = Resources { pids_max: max, memory_max: max, swap_max: max, cpu_max: Some((Limit::Max, None)), ..none };
    assert!(lifted.limit_nothing() && lifted.controllers().is_empty());
    fresh.group().set(&lifted).expect("nothing is asked for");
    let mixed = Resources { cpu_idle: Some(true), ..lifted };
    assert_eq!(mixed.controllers().into_iter().collect::<Vec<_>>(), ["cpu"]);
}

#[test]
fn a_disk_s_weight_is_a_tenth_for_bfq() {
    let lines = ["default 10000", "default 1", "8:16 100"].map(super::resources::for_bfq);
    assert_eq!(lines, ["1000", "1", "8:16 10"]);
}

#[test]
fn what_the_kernel_refuses_is_named() {
    let Some(fresh) = Fresh::new() else { return };
    let set = |file: &str, value: &str| {
        let unified = BTreeMap::from([(file.to_string(), value.to_string())]);
        fresh.group().set(&Resources { unified, ..Resources::default() }).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(set("cgroup.max.depth", "3"), Ok(()));
    assert_eq!(
        set("cgroup.max.depth", "deep"),
        Err("setting cgroup.max.depth to \"deep\": EINVAL: Invalid argument".into())
    );
    assert_eq!(set("../cgroup.procs", "1"), Err("\"../cgroup.procs\" is not a file of a cgroup".into()));
    assert_eq!(set("podling-test", "1"), Err("\"podling-test\" is not a file of a cgroup".into()));
}

#[test]
fn a_path_does_not_lead_out_of_its_group() {
    let Some(fresh) = Fresh::new() else { return };
    let error = Cgroup::create(&fresh.0, &fresh.1.join("../../x")).expect_err("a way out");
    assert!(error.to_string().ends_with("a path with .. leads out of its group"), "{error}");
}

#[test]
fn devices_are_denied_but_for_what_the_last_rule_says() {
    use devices::{Kind, MAKE, READ, Rule, WRITE};
    let Some(fresh) = Fresh::new() else { return };
    let group = fresh.group();
    let all = Rule { allow: false, kind: None, major: None, minor: None, access: MAKE | READ | WRITE };
    let null = |allow, access| Rule { allow, kind: Some(Kind::Character), major: Some(1), minor: Some(3), access };
    let zero = Rule { minor: Some(5), ..null(true, READ | WRITE) };
    // A shell moves itself, then opens what it is told to.
    let opens = |what: &str| {
        let script = format!("echo $$ > {}/cgroup.procs; : {what}", group.directory().display());
        Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().expect("sh").success()
    };
    let all_denied = group.set_devices(&[all]);
    if all_denied.is_err() {
        eprintln!("no right to load BPF programs: not tried");
        return;
    }
    assert!(!opens("< /dev/null"));
    group.set_devices(&[all, null(true, READ), null(true, WRITE), zero]).expect("rules");
    assert!(opens("< /dev/null") && opens("> /dev/null") && opens("<> /dev/null"), "two rules together allow both");
    assert!(opens("< /dev/zero") && !opens("< /dev/full"));
    group.set_devices(&[all, null(true, READ | WRITE), null(false, WRITE)]).expect("other rules");
    assert!(opens("< /dev/null") && !opens("> /dev/null") && !opens("<> /dev/null") && !opens("< /dev/zero"));
}

#[test]
fn shares_become_weights_as_runc_and_crun_have_them() {
    let weights = [0, 2, 3, 10, 100, 512, 1024, 2048, 10_000, 262_143, 262_144, u64::MAX].map(weight_from_shares);
    assert_eq!(weights, [1, 1, 2, 4, 17, 59, 100, 174, 627, 10_000, 10_000, 10_000]);
}

#[test]
fn a_group_made_on_the_way_goes_with_the_last_below_it() {
    let Some(fresh) = Fresh::new() else { return };
    let (above, own) = (fresh.1.join("made"), fresh.group());
    let (one, other) = (above.join("one"), above.join("other"));
    let create = |path: &Path| Cgroup::create(&fresh.0, path).expect("a group");
    let (one, other) = (create(&one), create(&other));
    one.remove().expect("it is empty");
    assert!(fresh.0.directory(&above).exists(), "the other is in it");
    other.remove().expect("it is empty");
    assert!(!fresh.0.directory(&above).exists(), "nobody is");
    assert!(own.directory().exists(), "it was asked for itself, not made to hold others");
}

#[test]
fn groups_come_and_go_side_by_side() {
    let Some(fresh) = Fresh::new() else { return };
    let _own = fresh.group();
    // Each removes the group above when it is the last one there, while the other may be about to make one in it.
    std::thread::scope(|scope| {
        for name in ["one", "other"] {
            let (hierarchy, path) = (&fresh.0, fresh.1.join("made").join(name));
            scope.spawn(move || {
                for _ in 0..500 {
                    Cgroup::create(hierarchy, &path).expect("a group").remove().expect("it is empty");
                }
            });
        }
    });
    assert!(!fresh.0.directory(&fresh.1.join("made")).exists());
}
