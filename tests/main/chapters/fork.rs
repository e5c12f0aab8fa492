//! Chapter 1: a child of the caller's, whose signals and end are the program's own.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

const CHAPTER: &str = "chapter01_fork";

both!(it_ends_as_its_program_ended, |world| {
    assert_eq!(world.chapter(CHAPTER, ["echo", "--explain"]).ok(), "--explain");
    world.chapter(CHAPTER, ["witness", "exit", "7"]).fails(7);
    world.chapter(CHAPTER, ["witness", "signal", "9"]).fails(137);
    assert_eq!(
        world.chapter(CHAPTER, ["no-such-program"]).fails(127),
        "Error: running no-such-program: No such file or directory"
    );
    assert_eq!(world.chapter(CHAPTER, ["/etc/passwd"]).fails(126), "Error: running /etc/passwd: Permission denied");
});

both!(a_mistake_is_one_line_and_a_hint, |world| {
    let said = world.chapter(CHAPTER, ["--zombi", "true"]).fails(125).to_owned();
    assert_eq!(said, "Error: unexpected argument '--zombi' found\nhint: see 'chapter01_fork --help'");
    let said = world.chapter(CHAPTER, [""; 0]).fails(125).to_owned();
    assert_eq!(
        said,
        "Error: the following required arguments were not provided: <PROGRAM>...\nhint: see 'chapter01_fork --help'"
    );
});

both!(its_help_teaches, |world| {
    world.snapshot("chapter01_help", world.chapter(CHAPTER, ["--help"]).ok());
});

both!(it_says_what_it_asks_of_the_kernel, |world| {
    let said = world.chapter(CHAPTER, ["--explain", "true"]);
    let calls: Vec<&str> = said.stderr.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(calls, ["sigprocmask", "clone3", "execve", "waitid"], "{said}");
    for line in world.chapter(CHAPTER, ["--explain=json", "true"]).stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        assert_eq!(event["topic"], "chapter 1", "{event}");
    }
});

both!(the_program_is_a_child_of_the_callers_child, |world| {
    // fork-exec, not client-server: who logged in is still known, and the chain of parents leads back to the caller.
    let mut running =
        world.spawn_chapter(CHAPTER, ["sh", "-c", "echo $PPID; cat /proc/self/loginuid; echo; echo done"]);
    let (parent, pid) = (running.line(), running.pid().to_string());
    assert_eq!(parent, pid);
    let own = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    assert_eq!(running.expect("done").lines().next().unwrap_or_default(), own);
    assert_eq!(running.wait().status, 0);
});

both!(signals_are_passed_on, |world| {
    let mut running = world.spawn_chapter(CHAPTER, ["witness", "until-term"]);
    running.line();
    running.signal(Signal::SIGTERM);
    running.wait().ok();
});

both!(ctrl_c_reaches_the_program_once, |world| {
    let mut command = world.command("setsid");
    let script = "n=0; trap 'n=$((n+1)); echo caught $n' INT; trap 'echo total $n; exit 0' TERM; echo ready; \
                  while :; do read -r line; done";
    command.args(["--ctty", "--"]).arg(crate::setup::setup().chapter(CHAPTER)).args(["sh", "-c", script]);
    let mut running = crate::running::Running::start_on_terminal(command);
    running.expect("ready");
    running.write("\x03");
    running.expect("caught 1");
    running.signal(Signal::SIGTERM);
    assert!(running.expect("total").ends_with("total"));
    assert_eq!(running.line(), " 1");
    assert_eq!(running.wait().status, 0);
});

both!(no_zombie_is_left, |world| {
    // The attack: a child that ended and that nobody waits for keeps its number for ever.
    let said = world.chapter(CHAPTER, ["--zombie", "witness", "exit", "5"]).fails(5).to_owned();
    let (pid, state) = said.split_once(' ').expect("a pid and its state");
    assert_eq!(state, "State:\tZ (zombie)");
    assert!(!Path::new("/proc").join(pid).exists(), "process {pid} is still there");
});

both!(the_program_gets_nothing_that_its_parent_holds, |world| {
    assert_eq!(world.chapter(CHAPTER, ["--explain", "witness", "fds"]).ok(), "0 /dev/null\n1 pipe\n2 pipe");
    assert_eq!(world.chapter(CHAPTER, ["witness", "status", "SigBlk"]).ok(), "SigBlk 0000000000000000");
    let ignored = world.chapter(CHAPTER, ["grep", "SigIgn", "/proc/self/status"]).ok().to_owned();
    let ignored = u64::from_str_radix(ignored.trim_start_matches("SigIgn:\t"), 16).expect("a mask");
    assert_eq!(ignored >> (libc::SIGPIPE - 1) & 1, 0, "SIGPIPE is ignored: {ignored:x}");
});
