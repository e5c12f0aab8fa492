//! The monitor by itself, as the engine drives it: a bundle, a `monitor.json`, its report, its socket, its record.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podling::handover::{ExitRecord, LogDriver, StartReport, Stdin};
use podling::linux::ipc::{SockType, reach};
use serde_json::json;

use crate::monitored::{Monitored, collect, config, line};
use crate::running::{until, until_exists};

as_root!(a_client_gets_all_output_and_the_end, |world| {
    let mut config = config(world, "c", "echo out; echo err >&2; printf part; exit 3", false);
    config.foreground = true;
    let mut container = Monitored::create(world, config);
    let mut client = container.attach();
    container.start();
    let (out, err, record) = collect(&mut client);
    assert_eq!((out.as_str(), err.as_str()), ("out\npart", "err\n"));
    assert_eq!(record.as_ref().map(|record| record.code), Some(3));
    let reported: ExitRecord = serde_json::from_str(&line(&mut container.lines)).expect("a record");
    assert_eq!(Some(reported.clone()), record);
    assert_eq!(container.record(), reported);
    let mut logged = container.logged();
    logged.sort();
    assert_eq!(logged, ["stderr F err", "stdout F out", "stdout P part"]);
    for name in ["attach", "control", "console", "exit.json.tmp"] {
        assert!(!container.config.bundle.join(name).exists(), "{name} is left");
    }
});

as_root!(the_end_is_recorded_though_whoever_started_it_is_gone, |world| {
    let mut config = config(world, "c", "sleep 1000", false);
    config.foreground = true;
    let mut container = Monitored::create(world, config);
    container.start();
    kill(Pid::from_raw(container.pid()), Signal::SIGKILL).expect("it runs");
    container.turn_away();
    assert_eq!(container.record().code, 137);
});

as_root!(what_the_runtime_refuses_is_reported_in_its_words, |world| {
    let config = config(world, "c", "", false);
    let mut spec: serde_json::Value =
        serde_json::from_slice(&fs::read(config.bundle.join("config.json")).expect("a spec")).expect("JSON");
    spec["process"]["args"] = json!(["no-such-program"]);
    fs::write(config.bundle.join("config.json"), spec.to_string()).expect("our own directory");
    let container = Monitored::create(world, config);
    match &container.report {
        StartReport::Failed { message, status } => {
            // crun puts the name between "file" and "not".
            assert!(message.contains("executable file") && message.contains("not found in $PATH"), "{message}");
            assert_ne!(*status, 0);
        }
        created @ StartReport::Created { .. } => panic!("{created:?}"),
    }
    assert!(!container.config.attach_socket.exists() && !container.config.exit_file.exists());
});

as_root!(a_log_that_cannot_be_opened_is_reported, |world| {
    let mut config = config(world, "c", "", false);
    config.log.path = world.dir.join("no/such/directory/log");
    let container = Monitored::create(world, config);
    let failed =
        matches!(&container.report, StartReport::Failed { message, status: 125 } if message.contains("no/such"));
    assert!(failed, "{:?}", container.report);
});

as_root!(a_hundred_megabytes_pass_and_the_log_stays_small, |world| {
    let line = "0123456789".repeat(10);
    let mut config = config(world, "c", &format!("yes {line} | head -c 100000000; echo; echo the end"), false);
    config.log.max_size = Some(1_000_000);
    let mut container = Monitored::create(world, config);
    let mut client = container.attach();
    container.start();
    let (out, _, record) = collect(&mut client);
    assert_eq!((out.len(), record.map(|record| record.code)), (100_000_000 + 9, Some(0)));
    container.record();
    assert!(container.log().len() <= 1_000_000);
    let logged = container.logged();
    assert_eq!(logged.last().map(String::as_str), Some("stdout F the end"));
    // The last but one is where head cut.
    let whole = |logged: &String| logged.strip_prefix("stdout F ").or(logged.strip_prefix("stdout P ")).is_some();
    assert!(logged.iter().all(whole), "every entry is whole");
});

as_root!(a_client_that_does_not_read_stops_nobody, |world| {
    let container = Monitored::create(world, config(world, "c", "yes | head -c 20000000", false));
    let (mut stuck, mut quick) = (container.attach(), container.attach());
    container.start();
    assert_eq!(collect(&mut quick).0.len(), 20_000_000);
    until_exists(&container.config.exit_file);
    assert!(collect(&mut stuck).0.len() < 20_000_000);
});

as_root!(a_foreground_that_reads_late_loses_nothing, |world| {
    let mut config = config(world, "c", "seq 400000", false);
    config.foreground = true;
    let container = Monitored::create(world, config);
    let mut client = container.attach();
    container.start();
    // Longer than any other client is waited for, and still the program waits.
    let exit = &container.config.exit_file;
    let late = std::time::Instant::now() + std::time::Duration::from_millis(1_500);
    until("it is late", || (std::time::Instant::now() > late).then_some(()));
    assert!(!exit.exists(), "it did not wait for its reader");
    let out = collect(&mut client).0;
    assert!(out.starts_with("1\n2\n") && out.ends_with("\n400000\n"));
    assert_eq!(out.lines().count(), 400_000);
});

as_root!(the_end_of_input_passes, |world| {
    let mut config = config(world, "c", "cat; echo done", false);
    config.stdin = Stdin::Open;
    let container = Monitored::create(world, config);
    let mut client = container.attach();
    container.start();
    client.write_all(b"one\n").expect("room");
    client.write_all(b"two").expect("room");
    client.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(collect(&mut client).0, "one\ntwodone\n");
});

as_root!(input_waits_for_a_program_that_does_not_read_yet, |world| {
    let script = "busybox mkfifo /tmp/ready; read go < /tmp/ready; busybox wc -c";
    let mut config = config(world, "c", script, false);
    config.stdin = Stdin::Open;
    let container = Monitored::create(world, config);
    let mut client = container.attach();
    container.start();
    let writer = client.try_clone().expect("a second descriptor");
    let written = std::thread::spawn(move || {
        let mut writer = writer;
        for _ in 0..100 {
            writer.write_all(&vec![b'x'; 20_000]).expect("the monitor takes it in time");
        }
        writer.shutdown(Shutdown::Write).expect("connected");
    });
    let fifo = container.config.bundle.join("rootfs/tmp/ready");
    until("the program waits", || fifo.symlink_metadata().is_ok_and(|m| m.file_type().is_fifo()).then_some(()));
    fs::write(fifo, "go\n").expect("its reader is there");
    assert_eq!(collect(&mut client).0.trim(), "2000000");
    written.join().expect("all was written");
});

as_root!(a_terminal_has_a_size_and_takes_another, |world| {
    let mut config = config(world, "c", "stty size; read go; stty size; cat", true);
    config.stdin = Stdin::Open;
    let container = Monitored::create(world, config);
    let mut client = container.attach();
    container.start();
    fs::write(&container.config.control_fifo, "rubbish\n1 50 132\n").expect("the monitor reads it");
    // Orders and input come by different ways: the size is asked for when the order has been obeyed.
    let master = PathBuf::from(format!("/proc/{}/fd/0", container.pid()));
    let terminal = File::options().read(true).write(true).open(master).expect("its terminal");
    until("the size changes", || (podling::sys::window_size(terminal.as_fd()) == Ok((50, 132))).then_some(()));
    drop(terminal);
    client.write_all(b"go\nno newline").expect("room");
    client.shutdown(Shutdown::Write).expect("connected");
    let (out, _, record) = collect(&mut client);
    assert!(out.contains("50 132\r\n") && out.ends_with("no newline"), "{out:?}");
    assert_eq!(record.map(|record| record.code), Some(0));
});

as_root!(the_log_goes_on_in_a_new_file_when_told, |world| {
    let mut config = config(world, "c", "echo one; read go; echo two", false);
    config.stdin = Stdin::Open;
    let mut container = Monitored::create(world, config);
    let mut client = container.attach();
    container.start();
    let mut first = [0; 10];
    assert_eq!(client.read(&mut first).expect("output"), 5);
    let moved = container.config.bundle.join("log.1");
    fs::rename(&container.config.log.path, &moved).expect("our own file");
    fs::write(&container.config.control_fifo, "2 0 0\n").expect("the monitor reads it");
    until_exists(&container.config.log.path);
    client.write_all(b"go\n").expect("room");
    assert_eq!(container.record().code, 0);
    assert_eq!(container.logged(), ["stdout F two"]);
    assert!(fs::read_to_string(moved).expect("the old log").ends_with("stdout F one\n"));
});

as_root!(json_lines_are_whole_and_docker_s, |world| {
    let mut config = config(world, "c", "printf '\\303'; printf '\\251\\n'; printf 'no \"end\"'", false);
    config.log.driver = LogDriver::JsonFile;
    let mut container = Monitored::create(world, config);
    container.start();
    container.record();
    let entries: Vec<serde_json::Value> =
        container.log().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(entries.iter().map(|e| e["log"].as_str()).collect::<Vec<_>>(), [Some("é\n"), Some("no \"end\"")]);
    assert!(entries.iter().all(|e| e["stream"] == "stdout" && e["time"].as_str().is_some_and(|t| t.ends_with('Z'))));
});

as_root!(who_exceeds_his_time_is_killed, |world| {
    let mut config = config(world, "c", "sleep 1000", false);
    config.timeout = Some(1);
    let mut container = Monitored::create(world, config);
    container.start();
    let record = container.record();
    assert_eq!((record.code, record.signal, record.timed_out), (255, Some(9), true));
});

as_root!(a_request_to_end_is_passed_on, |world| {
    let mut container =
        Monitored::create(world, config(world, "c", "trap 'exit 5' TERM; echo ready; sleep 1000 & wait", false));
    let mut client = container.attach();
    container.start();
    assert_eq!(client.read(&mut [0; 10]).expect("output"), 7);
    kill(Pid::from_raw(container.child.id() as i32), Signal::SIGTERM).expect("our own child");
    assert_eq!(container.record().code, 5);
});

as_root!(the_exit_command_finds_the_record, |world| {
    let mut config = config(world, "c", "exit 9", false);
    let copy = config.bundle.join("copy");
    config.exit_command =
        ["/bin/cp", &config.exit_file.to_string_lossy(), &copy.to_string_lossy()].map(Into::into).into();
    let mut container = Monitored::create(world, config);
    container.start();
    let record = container.record();
    assert_eq!(fs::read(copy).expect("the monitor waits for its command"), serde_json::to_vec(&record).expect("plain"));
});

as_root!(what_the_monitor_starts_can_be_asked_to_end, |world| {
    let mut config = config(world, "c", "exit 0", false);
    let seen = config.bundle.join("seen");
    let look = format!("grep SigBlk /proc/self/status >>{}", seen.display());
    // In the runtime's place, a script that looks first.
    let real = config.runtime.display().to_string();
    let script = world.file("runtime", format!("#!/bin/sh\n{look}\nexec {real} \"$@\"\n"));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
    config.runtime = script;
    config.exit_command = ["/bin/sh", "-c", &look].map(Into::into).into();
    let mut container = Monitored::create(world, config);
    container.start();
    container.record();
    let seen = fs::read_to_string(seen).expect("both have looked");
    // Ours, and once `start`'s and `delete`'s, which the test itself calls.
    assert!(seen.lines().count() >= 2 && seen.lines().all(|line| line.ends_with("\t0000000000000000")), "{seen}");
});

as_root!(an_exec_session_s_first_words_wait_for_its_caller, |world| {
    let container = Monitored::create(world, config(world, "c", "sleep 1000", false));
    container.start();
    let mut session = Monitored::create(world, container.session("echo first words; exit 4"));
    until("it has ended", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", session.pid())).expect("it is not reaped yet");
        stat.contains(") Z ").then_some(())
    });
    let (out, _, record) = collect(&mut session.attach());
    assert_eq!((out.as_str(), record.map(|record| record.code)), ("first words\r\n", Some(4)));
    assert_eq!(session.record().code, 4);
});

as_root!(an_exec_session_whose_caller_went_does_not_wait, |world| {
    let container = Monitored::create(world, config(world, "c", "sleep 1000", false));
    container.start();
    let mut session = Monitored::create(world, container.session("exit 4"));
    session.turn_away();
    assert_eq!(session.record().code, 4);
});

as_root!(the_container_gets_three_descriptors_and_no_more, |world| {
    // Descriptor 3 is the directory that is being listed.
    let container = Monitored::create(world, config(world, "c", "cd /proc/$$/fd; echo *", false));
    let mut client = container.attach();
    container.start();
    let open = collect(&mut client).0;
    assert!(open.trim().split(' ').all(|fd| ["0", "1", "2", "3"].contains(&fd)), "{open}");
});

as_root!(the_monitor_holds_nothing_of_its_caller, |world| {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    // As a shell leaks descriptors: inherited, and unknown to the monitor.
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("our own descriptor");
    let mut container = Monitored::create(world, config(world, "c", "sleep 1000", false));
    drop(writer);
    assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0, "the leaked descriptor is closed");
    assert_eq!(line(&mut container.lines), "", "its standard output is closed");
    let directory = fs::read_link(format!("/proc/{}/cwd", container.child.id())).expect("its directory");
    assert_eq!(directory, PathBuf::from("/"));
});

as_root!(the_monitor_lets_go_of_its_code_whenever_all_is_quiet, |world| {
    let container = Monitored::create(world, config(world, "c", "echo one; sleep 1000", false));
    // Before the container has said anything, and again after it has.
    until("the code it was started with is gone", || (resident_share(&container) < 0.25).then_some(()));
    let mut client = container.attach();
    container.start();
    client.read_exact(&mut [0; 5]).expect("a packet");
    until("the code that passed it on is gone", || (resident_share(&container) < 0.25).then_some(()));
});

/// How much of the monitor's own code is in its memory.
fn resident_share(container: &Monitored) -> f64 {
    let maps = fs::read_to_string(format!("/proc/{}/smaps", container.child.id())).expect("it lives");
    let number = |line: &str| line.split_ascii_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
    let code = maps.split_once(" r-xp ").expect("the program's own comes first").1;
    let field = |name: &str| code.lines().find(|line| line.starts_with(name)).and_then(number).expect("a size in kB");
    field("Rss:") / field("Size:")
}

as_root!(a_killed_monitor_leaves_what_the_next_command_can_find_out, |world| {
    let mut container = Monitored::create(world, config(world, "c", "sleep 1000", false));
    container.start();
    kill(Pid::from_raw(container.child.id() as i32), Signal::SIGKILL).expect("our own child");
    container.child.wait().expect("our own child");
    assert!(!container.config.exit_file.exists());
    assert!(reach(&container.config.attach_socket, SockType::SeqPacket).is_err(), "nobody listens any more");
    let state = container.runtime(&["state", &container.config.id]);
    assert!(state.ok().replace(' ', "").contains("\"status\":\"running\""), "{state}");
});
