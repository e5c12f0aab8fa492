//! Chapter 4: process 1, for whom the machine's processes do not exist.

use nix::sys::signal::Signal;

use super::mount::bare_root;
use crate::running::{Input, Output, Running};
use crate::world::World;

const CHAPTER: &str = "chapter04_pid";

/// The witness, alone in its root.
#[track_caller]
fn witness(world: &World, options: &[&str], words: &[&str]) -> Output {
    world.chapter(CHAPTER, [options, &["--root", &bare_root(world), "/witness"], words].concat())
}

both!(it_ends_as_its_program_ended, |world| {
    witness(world, &[], &["exit", "7"]).fails(7);
    witness(world, &["--init"], &["exit", "7"]).fails(7);
    // Nobody kills process 1 from inside; its own child it outlives, and tells how that ended.
    world.chapter(CHAPTER, ["sh", "-c", "kill -9 $$; exit 5"]).fails(5);
    world.chapter(CHAPTER, ["--init", "sh", "-c", "kill -9 $$; exit 5"]).fails(137);
    world.chapter(CHAPTER, ["--init", "/no-such-program"]).fails(127);
});

both!(its_help_teaches, |world| {
    world.snapshot("chapter04_help", world.chapter(CHAPTER, ["--help"]).ok());
});

both!(the_program_is_process_1_or_2_and_proc_shows_no_others, |world| {
    let look = ["sh", "-c", "echo $$: /proc/[0-9]*"];
    assert_eq!(world.chapter(CHAPTER, look).ok(), "1: /proc/1");
    assert_eq!(world.chapter(CHAPTER, [&["--init"], &look[..]].concat()).ok(), "2: /proc/1 /proc/2");
});

both!(the_attack_a_process_of_the_machine_cannot_be_killed, |world| {
    let mut command = world.command("witness");
    command.arg("sleep-forever");
    let mut victim = Running::start(command, Input::Empty);
    victim.line();
    let pid = victim.pid().to_string();
    let said = world.chapter(CHAPTER, ["kill", "-9", &pid]);
    assert!(said.fails(1).contains("No such process"), "{said}");
    // On the chapter before it works.
    world.chapter("chapter03_mount", ["kill", "-9", &pid]).ok();
    assert_eq!(victim.wait().status, 137);
});

both!(signals_reach_the_program_through_init, |world| {
    let mut running = world.spawn_chapter(CHAPTER, ["--init", "--root", &bare_root(world), "/witness", "until-term"]);
    running.line();
    running.signal(Signal::SIGTERM);
    running.wait().ok();
    // Without, process 1 hears only what it has a handler for.
    assert_eq!(world.chapter(CHAPTER, ["sh", "-c", "kill -TERM $$; echo unheard"]).ok(), "unheard");
    world.chapter(CHAPTER, ["--init", "sh", "-c", "kill -TERM $$; echo unheard"]).fails(143);
});

both!(init_waits_for_orphans, |world| {
    // The shell in the middle ends first. Its child, which waits for that, is then nobody's but process 1's.
    let script = "orphan=$(sh -c 'sh -c \"while [ -d /proc/$$ ]; do :; done\" >/dev/null & echo $!')
                  while [ -d /proc/$orphan ]; do :; done; echo gone";
    assert_eq!(world.chapter(CHAPTER, ["--init", "sh", "-c", script]).ok(), "gone");
    let said = world.chapter(CHAPTER, ["--explain", "--init", "sh", "-c", script]);
    assert!(said.stderr.contains("init     waitpid          -1 → Exited("), "{said}");
});

both!(all_end_with_process_1, |world| {
    // The world would complain of a process that is left.
    let script = "sleep 1000 >/dev/null 2>&1 & exit 0";
    world.chapter(CHAPTER, ["sh", "-c", script]).ok();
    world.chapter(CHAPTER, ["--init", "sh", "-c", script]).ok();
});

both!(the_program_gets_nothing_that_its_parents_hold, |world| {
    for options in [&[][..], &["--init"]] {
        assert_eq!(witness(world, options, &["fds"]).ok(), "0 /dev/null\n1 pipe\n2 pipe");
        assert_eq!(witness(world, options, &["status", "SigBlk"]).ok(), "SigBlk 0000000000000000");
    }
});

both!(what_it_asks_of_the_kernel_itself_is_told, |world| {
    let said = world.chapter(CHAPTER, ["--explain", "--init", "true"]);
    let calls = said.stderr.lines().filter(|line| line.ends_with("[chapter 4]"));
    let calls: Vec<&str> = calls.filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(calls, ["clone3", "mount"], "{said}");
});
