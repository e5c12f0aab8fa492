//! The real conmon and ours, called with the same words and driven in the same way: what is told, sent, logged and left
//! on disk must be the same.

use std::net::Shutdown;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::running::until;

/// What one conmon did, as text.
struct Seen<'a, 'w> {
    called: &'a mut Called<'w>,
    text: String,
}

impl Seen<'_, '_> {
    fn note(&mut self, what: &str, seen: impl std::fmt::Debug) {
        self.text += &format!("{what}: {seen:?}\n");
    }

    /// The whole life of a container, or what is left of it: attached, started, watched, ended.
    fn live(&mut self, input: &[&str]) {
        let mut client = self.called.connect();
        self.called.start();
        for text in input {
            client.write_all(text.as_bytes()).expect("room");
        }
        if !input.is_empty() {
            client.shutdown(Shutdown::Write).expect("connected");
        }
        let heard = heard(&mut client);
        self.note("heard", heard);
        self.end();
    }

    /// What is there when it has gone.
    fn end(&mut self) {
        let exit = self.called.exit();
        self.note("exit", exit);
        until_gone(self.called.monitor());
        self.remains();
    }

    fn remains(&mut self) {
        let told = line(&mut self.called.sync);
        self.note("told at last", told);
        for stream in ["stdout ", "stderr "] {
            let logged = self.called.logged(stream);
            self.note(stream, logged);
        }
        let (bundle, id) = (self.called.bundle.clone(), self.called.id.clone());
        for sub in [".", "exits", "persist"] {
            // The attach socket of a container that never was is left by the real one.
            let names = names(&bundle.join(sub)).into_iter().filter(|name| name != "attach Socket");
            let names: Vec<_> = names.map(|name| name.replace(&id, "<id>")).collect();
            self.note(sub, names);
        }
        let persisted = fs::read_to_string(bundle.join("persist/exit")).ok();
        self.note("persist/exit", persisted);
    }
}

/// Names and kinds in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    let kind = |kind: fs::FileType| match kind {
        kind if kind.is_socket() => "Socket",
        kind if kind.is_fifo() => "Fifo",
        kind if kind.is_dir() => "Directory",
        _ => "File",
    };
    let mut names: Vec<_> = entries
        .map(|entry| (entry.file_name(), kind(entry.file_type().expect("it is there"))))
        .map(|(name, kind)| format!("{} {kind}", name.display()))
        .collect();
    names.sort();
    names
}

/// Digits become N: pids differ.
fn without_pids(told: &Value) -> String {
    let Some(pid) = told["data"].as_i64().or(told["pid"].as_i64()).filter(|data| *data > 0) else {
        return told.to_string();
    };
    told.to_string().replace(&pid.to_string(), "N")
}

/// runc begins what it says with `time="2026-11-25T10:35:10Z"`, and between two calls a second may pass. Where this is
/// looked for, the quotes are behind backslashes.
fn without_times(text: &str) -> String {
    let fits = |(byte, shape): (u8, &u8)| byte == *shape || *shape == b'0' && byte.is_ascii_digit();
    let is_time = |word: &str| word.len() == 21 && word.bytes().zip(b"\"0000-00-00T00:00:00Z").all(fits);
    let words = text.split('\\').map(|word| if is_time(word) { "\"TIME" } else { word });
    words.collect::<Vec<_>>().join("\\")
}

/// Calls both and looks at each: what was seen of the real one and of ours must be the same.
#[track_caller]
fn compare<'w>(world: &World, call: impl Fn(&Path) -> Called<'w>, look: impl Fn(&mut Seen)) -> String {
    let [real, ours] = [PathBuf::from("/usr/bin/conmon"), ours(world)].map(|conmon| {
        let mut called = call(&conmon);
        let bundle = called.bundle.clone();
        called.give_leave();
        let mut seen = Seen { called: &mut called, text: String::new() };
        look(&mut seen);
        let text = without_times(&seen.text);
        drop(called);
        fs::remove_dir_all(bundle).expect("our own directory");
        text
    });
    assert_eq!(real, ours, "the real one's is first");
    ours
}

/// Drives a container of each.
#[track_caller]
fn both(world: &World, script: &str, further: &[&str], drive: impl Fn(&mut Seen)) -> String {
    let call = |conmon: &Path| Called::container(world, conmon, script, further);
    compare(world, call, |seen| {
        let first = seen.called.first();
        let told = seen.called.told();
        seen.note("first", (first.status, first.stdout, first.stderr));
        seen.note("told", without_pids(&told));
        drive(seen);
    })
}

as_root!(output_on_two_streams_and_an_exit_status, |world| {
    let seen = both(world, "echo out; echo err >&2; exit 3", &[], |seen| seen.live(&[]));
    assert!(seen.contains("heard: (\"out\\n\", \"err\\n\")\nexit: \"3\"\n"), "{seen}");
    assert!(seen.contains("stdout : [\"F out\"]\nstderr : [\"F err\"]"), "{seen}");
});

as_root!(a_part_of_a_line, |world| {
    let seen = both(world, "printf 'no end'", &[], |seen| seen.live(&[]));
    assert!(seen.contains("stdout : [\"P no end\"]"), "{seen}");
});

as_root!(a_lot_of_output, |world| {
    both(world, "seq 100000", &["-l", "none"], |seen| seen.live(&[]));
});

as_root!(a_log_that_may_not_grow, |world| {
    let lines = "for line in 1 2 3 4 5 6 7 8 9; do echo line $line; done";
    let seen = both(world, lines, &["--log-size-max", "150"], |seen| seen.live(&[]));
    assert!(seen.contains("stdout : [\"F line 9\"]"), "{seen}");
    let seen = both(world, lines, &["--log-global-size-max", "150"], |seen| seen.live(&[]));
    assert!(seen.contains("stdout : [\"F line 1\", \"F line 2\", \"F line 3\"]"), "{seen}");
});

as_root!(input_through_a_pipe_and_its_end, |world| {
    let seen = both(world, "cat; echo done", &["-i"], |seen| seen.live(&["one\n", "two\n"]));
    assert!(seen.contains("heard: (\"one\\ntwo\\ndone\\n\", \"\")"), "{seen}");
});

as_root!(a_client_that_goes_ends_the_input_though_it_never_typed, |world| {
    both(world, "cat; exit 5", &["-i"], |seen| {
        drop(seen.called.connect());
        seen.called.start();
        seen.end();
    });
});

as_root!(no_client_ends_an_input_that_is_to_stay_open, |world| {
    both(world, "while read line; do echo got $line; done", &["-i", "--leave-stdin-open"], |seen| {
        let (mut watcher, mut writer) = (seen.called.connect(), seen.called.connect());
        seen.called.start();
        writer.write_all(b"one\n").expect("room");
        drop(writer);
        let mut packet = [0; 100];
        let count = watcher.read(&mut packet).expect("output");
        seen.note("first", String::from_utf8_lossy(&packet[..count]));
        let mut writer = seen.called.connect();
        writer.write_all(b"two\n").expect("room");
        let count = watcher.read(&mut packet).expect("output");
        seen.note("second", String::from_utf8_lossy(&packet[..count]));
        seen.called.runtime(&["kill", &seen.called.id, "KILL"]).ok();
        seen.end();
    });
});

as_root!(a_terminal_its_size_and_its_log, |world| {
    let script = "read go; stty size; read go; echo end";
    both(world, script, &["-t"], |seen| {
        let mut client = seen.called.connect();
        seen.called.start();
        fs::write(seen.called.bundle.join("ctl"), "1 50 132\n").expect("it reads");
        let pid = fs::read_to_string(seen.called.bundle.join("pidfile")).expect("a pid");
        let terminal = PathBuf::from(format!("/proc/{pid}/fd/0"));
        let terminal = File::options().read(true).write(true).open(terminal).expect("its terminal");
        until("the size changes", || (podling::sys::window_size(terminal.as_fd()) == Ok((50, 132))).then_some(()));
        drop(terminal);
        client.write_all(b"go\n\n").expect("room");
        let heard = heard(&mut client);
        seen.note("heard", heard);
        seen.end();
    });
});

as_root!(the_end_of_a_client_s_input_is_not_the_end_of_a_terminal_s, |world| {
    both(world, "cat", &["-t"], |seen| {
        let mut client = seen.called.connect();
        seen.called.start();
        client.write_all(b"one\n").expect("room");
        client.shutdown(Shutdown::Write).expect("connected");
        let mut text = Vec::new();
        let mut packet = [0; 100];
        while text.len() < 2 * "one\r\n".len() {
            let count = client.read(&mut packet).expect("an echo, and cat's");
            text.extend_from_slice(&packet[1..count]);
        }
        // It would have ended; another client can go on.
        let mut another = seen.called.connect();
        another.write_all(b"two\n").expect("room");
        let count = another.read(&mut packet).expect("an echo");
        seen.note("another", String::from_utf8_lossy(&packet[..count.min(6)]));
        seen.called.runtime(&["kill", &seen.called.id, "KILL"]).ok();
        drop((client, another));
        let exit = seen.called.exit();
        seen.note("exit", exit);
    });
});

as_root!(what_the_runtime_refuses, |world| {
    let script = ["--exit-command", "/bin/sh", "--exit-command-arg", "-c", "--exit-command-arg", "echo >tidied"];
    for conmon in [PathBuf::from("/usr/bin/conmon"), ours(world)] {
        let bundle = bundle(world, "c", "", false);
        let spec = fs::read_to_string(bundle.join("config.json")).expect("a spec");
        fs::write(bundle.join("config.json"), spec.replace("\"sh\"", "\"no-such-program\""))
            .expect("our own directory");
        let mut called =
            Called::call(world, &conmon, &bundle, &bundle.join("runtime"), &[&["-l", "none"][..], &script].concat());
        called.give_leave();
        called.first().ok();
        let told = called.told();
        assert_eq!(told["data"], -1, "{told}");
        let message = told["message"].as_str().expect("a message");
        assert!(message.contains("executable file") && message.contains("not found in $PATH"), "{message}");
        until_gone(called.monitor());
        assert_eq!(names(&bundle.join("exits")), [""; 0]);
        fs::remove_dir_all(bundle).expect("our own directory");
    }
});

as_root!(a_request_to_end_and_a_time_that_is_up, |world| {
    let seen = both(world, "trap 'exit 5' TERM; echo ready; sleep 1000 & wait", &[], |seen| {
        let mut client = seen.called.connect();
        seen.called.start();
        assert_eq!(client.read(&mut [0; 10]).expect("output"), 7);
        kill(Pid::from_raw(seen.called.monitor()), Signal::SIGTERM).expect("it runs");
        seen.end();
    });
    assert!(seen.contains("exit: \"5\""), "{seen}");
    let seen = both(world, "sleep 1000", &["-T", "1"], |seen| seen.live(&[]));
    assert!(seen.contains("exit: \"-1\""), "{seen}");
    let seen = both(world, "kill -9 $$; sleep 1000", &[], |seen| {
        seen.called.start();
        seen.called.runtime(&["kill", &seen.called.id, "KILL"]).ok();
        seen.end();
    });
    assert!(seen.contains("exit: \"137\""), "{seen}");
});

as_root!(the_exit_command_finds_the_exit_file_and_no_pipes, |world| {
    let look = format!("cat {0}/c/exits/* >{0}/seen; ls /proc/self/fd >>{0}/seen", world.dir.display());
    let further = ["--exit-command", "/bin/sh", "--exit-command-arg", "-c", "--exit-command-arg", &look];
    let seen = both(world, "exit 9", &further, |seen| {
        seen.live(&[]);
        let text = fs::read_to_string(seen.called.world.dir.join("seen")).expect("it was run");
        seen.note("exit command", text);
    });
    assert!(seen.contains("exit command: \"90\\n1\\n2\\n3\\n\""), "{seen}");
});

as_root!(the_log_goes_on_in_a_new_file_when_told, |world| {
    both(world, "echo one; read go; echo two", &["-i"], |seen| {
        let mut client = seen.called.connect();
        seen.called.start();
        assert_eq!(client.read(&mut [0; 10]).expect("output"), "\u{2}one\n".len());
        let log = seen.called.bundle.join("log");
        fs::rename(&log, seen.called.bundle.join("log.1")).expect("our own file");
        fs::write(seen.called.bundle.join("ctl"), "2 0 0\n").expect("it reads");
        until_exists(&log);
        client.write_all(b"go\n").expect("room");
        let heard = heard(&mut client);
        seen.note("heard", heard);
        seen.end();
    });
});

as_root!(word_to_systemd_and_only_that_word, |world| {
    let manager = world.dir.join("manager");
    let listening = UnixDatagram::bind(&manager).expect("our own directory");
    both(world, "sleep 1000", &[], |_| {});
    for conmon in [PathBuf::from("/usr/bin/conmon"), ours(world)] {
        let bundle = bundle(world, "c", "sleep 1000", false);
        fs::create_dir(bundle.join("notify")).expect("our own directory");
        let further = ["-l", "none", "--sdnotify-socket", manager.to_str().expect("plain ASCII")];
        let mut called = Called::call(world, &conmon, &bundle, &bundle.join("runtime"), &further);
        called.created();
        called.start();
        let inside = UnixDatagram::unbound().expect("a socket");
        inside.connect(bundle.join("notify/notify.sock")).expect("it is there");
        for said in ["STATUS=soon", "MAINPID=1\nREADY=1\n", "STOPPING=1", "WATCHDOG=1"] {
            inside.send(said.as_bytes()).expect("room");
        }
        let mut word = [0; 100];
        for passed_on in ["READY=1", "WATCHDOG=1"] {
            let count = listening.recv(&mut word).expect("a word");
            assert_eq!(String::from_utf8_lossy(&word[..count]), passed_on, "{}", conmon.display());
        }
        let mode = fs::metadata(bundle.join("notify/notify.sock")).expect("it is there").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o777);
        drop(called);
        fs::remove_dir_all(bundle).expect("our own directory");
    }
});

/// The fields of an entry, `NAME=value`: on a line each, or with the value's length before it. The newline at the end of a
/// message, which the real one sends and Podman cuts off, is left out.
fn fields(mut entry: &[u8]) -> Vec<String> {
    let mut fields = Vec::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        if line.contains(&b'=') {
            fields.push(String::from_utf8_lossy(line).into_owned());
            entry = rest;
        } else {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes")) as usize;
            let value = String::from_utf8_lossy(&rest[8..8 + length]);
            fields.push(format!("{}={}", String::from_utf8_lossy(line), value.trim_end_matches('\n')));
            entry = &rest[8 + length + 1..];
        }
    }
    fields
}

/// What reaches the journal of a script's output: each entry's fields, sorted.
fn journalled(world: &World, conmon: &Path, script: &str, further: &[&str]) -> Vec<Vec<String>> {
    let directory = world.directory("journal");
    let journal = UnixDatagram::bind(directory.join("socket")).expect("our own directory");
    journal.set_nonblocking(true).expect("our own socket");
    // In a mount namespace of its own it finds our socket where a journal's would be.
    let mount = format!(
        "mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/journal && mount --bind {} /run/systemd/journal",
        directory.display()
    );
    let run =
        format!("mkdir -p /run/systemd; exec unshare -m sh -c '{mount} && exec {} \"$@\"' sh \"$@\"", conmon.display());
    let called_as = world.file("with-journal", format!("#!/bin/sh\n{run}\n"));
    fs::set_permissions(&called_as, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own file");
    let mut called = Called::container(world, &called_as, script, &[&["-l", "journald"], further].concat());
    called.created();
    called.start();
    assert_eq!(called.exit(), "0");
    until_gone(called.monitor());
    let mut entries = Vec::new();
    let mut entry = [0; 2000];
    while let Ok(count) = journal.recv(&mut entry) {
        let mut fields = fields(&entry[..count]);
        // systemd's library adds where in conmon's source it was called.
        fields.retain(|field| !field.starts_with("CODE_"));
        fields.sort();
        entries.push(fields);
    }
    // Of two streams either may be read first.
    entries.sort();
    let bundle = called.bundle.clone();
    drop(called);
    fs::remove_dir_all(bundle).expect("our own directory");
    fs::remove_dir_all(directory).expect("our own directory");
    entries
}

as_root!(the_journal_s_fields, |world| {
    let script = "echo out; echo err >&2; echo; printf 'no end'";
    for further in [&[][..], &["--log-tag", "tag"]] {
        let real = journalled(world, Path::new("/usr/bin/conmon"), script, further);
        let ours = journalled(world, &ours(world), script, further);
        assert_eq!(real, ours);
        assert!(ours.iter().flatten().any(|field| field == "CONTAINER_PARTIAL_MESSAGE=true"), "{ours:?}");
    }
    let labels = ["--log-label", "SHIP=Beagle", "--log-label", "YEAR=1831"];
    let ours = journalled(world, &ours(world), "echo out", &labels);
    assert!(ours[0].contains(&"SHIP=Beagle".into()) && ours[0].contains(&"YEAR=1831".into()), "{ours:?}");
});

as_root!(the_words_for_the_runtime, |world| {
    let said = world.dir.join("said");
    let runtime = world.file("runtime", format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >{}\nexit 1\n", said.display()));
    fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("our own file");
    let runtime = runtime.display().to_string();
    let words = |conmon: &Path, further: &[&str]| {
        let bundle = world.directory("words");
        let mut called =
            Called::call(world, conmon, &bundle, Path::new("/root-of-it"), &[&["-r", &runtime], further].concat());
        called.give_leave();
        if further.contains(&"-e") {
            line(&mut called.attach);
            called.give_leave();
        }
        called.first().ok();
        until_gone(called.monitor());
        // The real one forgets its console socket when the runtime fails.
        for left in fs::read_dir(world.dir.join("tmp")).expect("every world has one").flatten() {
            if left.file_name().to_string_lossy().starts_with("conmon-term") {
                fs::remove_file(left.path()).expect("our own directory");
            }
        }
        let mut words: Vec<_> = fs::read_to_string(&said).expect("it was called").lines().map(str::to_owned).collect();
        // The console socket has another place.
        if let Some(at) = words.iter().position(|word| word == "--console-socket") {
            words.remove(at + 1);
        }
        // First what comes before the sub-command; the order of its options is nobody's business.
        let split = words.iter().position(|word| ["create", "exec", "restore"].contains(&word.as_str()));
        words[split.expect("a sub-command")..].sort();
        words
    };
    let common =
        ["-l", "none", "--no-pivot", "--no-new-keyring", "-s", "--runtime-opt", "--preserve-fds", "--runtime-opt", "0"];
    for further in
        [&[][..], &["-t"], &["--restore", "/checkpoint"], &["-e", "--exec-attach", "--exec-process-spec", "/spec"]]
    {
        let further = [&common, further].concat();
        let [real, ours] = [PathBuf::from("/usr/bin/conmon"), ours(world)].map(|conmon| words(&conmon, &further));
        // No descriptors to pass on are not worth a word.
        let real: Vec<_> = real.into_iter().filter(|word| !["--preserve-fds", "0"].contains(&word.as_str())).collect();
        assert_eq!(real, ours, "{further:?}");
    }
});

as_root!(the_one_that_stays_in_the_foreground, |world| {
    let seen = both_in_the_foreground(world, "exit 9");
    assert!(seen.contains("status: 9"), "{seen}");
});

/// With `--sync` the process that was called is the monitor.
#[track_caller]
fn both_in_the_foreground(world: &World, script: &str) -> String {
    let call = |conmon: &Path| Called::container(world, conmon, script, &["--sync"]);
    compare(world, call, |seen| {
        let told = seen.called.told();
        seen.called.start();
        let first = seen.called.first();
        seen.note("told", without_pids(&told));
        seen.note("status", first.status);
        seen.remains();
    })
}

as_root!(where_the_socket_s_path_is_shortened, |world| {
    for conmon in [PathBuf::from("/usr/bin/conmon"), ours(world)] {
        let bundle = bundle(world, "c", "exit 6", false);
        let sockets = world.directory("sockets");
        fs::create_dir_all(bundle.join("exits")).expect("our own directory");
        fs::create_dir_all(bundle.join("persist")).expect("our own directory");
        let id = world.tag() + "box";
        let mut words = common(&id, &bundle, &bundle.join("runtime"));
        words.retain(|word| word != "--full-attach");
        words.extend(
            ["-l", "none", "--socket-dir-path"].map(Into::into).into_iter().chain([sockets.display().to_string()]),
        );
        world.program(&conmon, words).ok();
        let link = sockets.join(&id);
        assert_eq!(until("there is a link", || fs::read_link(&link).ok()), bundle);
        let mut client = until("it listens", || reach(&link.join("attach"), SockType::SeqPacket).ok());
        until("it is created", || {
            fs::read_to_string(bundle.join("pidfile")).is_ok_and(|pid| !pid.is_empty()).then_some(())
        });
        let root = bundle.join("runtime").display().to_string();
        let runtime = |words: &[&str]| world.program(second_opinion::runtime(), [&["--root", &root], words].concat());
        until("it starts", || (runtime(&["start", &id]).status == 0).then_some(()));
        heard(&mut client);
        until_exists(&bundle.join("exits").join(&id));
        runtime(&["delete", "--force", &id]).ok();
        let pid = fs::read_to_string(bundle.join("conmon.pid")).expect("a pid").parse().expect("a number");
        until_gone(pid);
        fs::remove_dir_all(bundle).expect("our own directory");
    }
});

/// One exec session in a container that runs, with each.
#[track_caller]
fn both_in_a_session(world: &World, arguments: &[&str], further: &[&str], input: Option<&str>) -> String {
    let mut container = Called::container(world, &ours(world), "sleep 1000", &[]);
    container.created();
    container.start();
    let call = |conmon: &Path| container.session(conmon, arguments, further);
    compare(world, call, |seen| {
        let ready = line(&mut seen.called.attach);
        let mut client = seen.called.connect();
        seen.called.give_leave();
        let first = seen.called.first();
        let told = seen.called.told();
        seen.note("ready", ready);
        seen.note("first", (first.status, first.stdout, first.stderr));
        seen.note("told", without_pids(&told));
        if let Some(input) = input {
            client.write_all(input.as_bytes()).expect("room");
            client.shutdown(Shutdown::Write).expect("connected");
        }
        let heard = heard(&mut client);
        seen.note("heard", heard);
        if told["data"].as_i64() > Some(0) {
            seen.end();
        } else {
            until_gone(seen.called.monitor());
            seen.remains();
        }
    })
}

as_root!(an_exec_session_s_words_and_status, |world| {
    let seen = both_in_a_session(world, &["sh", "-c", "echo first words; exit 4"], &[], None);
    assert!(seen.contains("ready: \"{\\\"data\\\": 0}\\n\""), "{seen}");
    assert!(seen.contains("told at last: \"{\\\"data\\\": 4}\\n\""), "{seen}");
});

as_root!(an_exec_session_that_is_over_at_once, |world| {
    both_in_a_session(world, &["sh", "-c", "exit 0"], &[], None);
});

as_root!(an_exec_session_that_reads, |world| {
    let seen = both_in_a_session(world, &["cat"], &["-i"], Some("hello"));
    assert!(seen.contains("heard: (\"hello\", \"\")"), "{seen}");
});

as_root!(an_exec_session_on_a_terminal, |world| {
    both_in_a_session(world, &["sh", "-c", "echo t; exit 3"], &["-t"], None);
});

as_root!(an_exec_session_whose_program_is_missing, |world| {
    let seen = both_in_a_session(world, &["no-such-program"], &[], None);
    assert!(seen.contains("told: \"{\\\"data\\\":-1,\\\"message\\\""), "{seen}");
});

as_root!(an_exec_session_whose_time_is_up, |world| {
    let seen = both_in_a_session(world, &["sleep", "1000"], &["-T", "1"], None);
    assert!(seen.contains("command timed out"), "{seen}");
});

as_root!(callers_of_before_there_was_an_api_version, |world| {
    let container_s = ours(world);
    let mut container = Called::container(world, &container_s, "sleep 1000", &[]);
    container.created();
    container.start();
    let spec = world.file("process.json", process(&["sh", "-c", "exit 6"], false).to_string());
    for conmon in [PathBuf::from("/usr/bin/conmon"), container_s] {
        let words = [
            "-c",
            &container.id,
            "-r",
            &second_opinion::runtime().display().to_string(),
            "--runtime-arg",
            "--root",
            "--runtime-arg",
            &container.runtime_root.display().to_string(),
            "-p",
            &world.dir.join("pid").display().to_string(),
            "-l",
            &world.dir.join("log").display().to_string(),
            "-e",
            "--exec-process-spec",
            &spec.display().to_string(),
            "--sync",
        ]
        .map(str::to_owned);
        let told = world.dir.join("told");
        let script = format!("exec \"$@\" 5>{}", told.display());
        let mut command = world.command("sh");
        command.args(["-c", &script, "sh"]).arg(&conmon).args(words).env("_OCI_SYNCPIPE", "5");
        Running::start(command, Input::Empty).wait().fails(6);
        assert_eq!(fs::read_to_string(told).expect("a file"), "{\"exit_code\": 6}\n", "{}", conmon.display());
    }
});

#[test]
fn pids_and_times_are_left_out_of_the_comparison_and_nothing_else() {
    assert_eq!(without_pids(&json!({"data": 41})), "{\"data\":N}");
    assert_eq!(without_pids(&json!({"data": -1, "message": "41"})), "{\"data\":-1,\"message\":\"41\"}");
    let told = |time: &str| json!({"message": format!("time=\"{time}\" level=error msg=\"10:35:10Z\"")}).to_string();
    let without = without_times(&told("2026-11-25T10:35:10Z"));
    assert_eq!(without, without_times(&told("2026-11-25T10:35:11Z")));
    assert_eq!(without, told("TIME"));
}
