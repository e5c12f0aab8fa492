//! Chapter 6: two processes talk, and not through the wall of an IPC namespace; a host's name of one's own.

use std::fs;

use crate::running::until;
use crate::setup::setup;
use crate::world::World;

use super::{forbid_user_namespaces, root_with};

const CHAPTER: &str = "chapter06_ipc";
const TALK: &str = "chapter06_talk";
const WAYS: [&str; 3] = ["queue", "memory", "mqueue"];

/// A key that no other test has: on the machine's side of the wall all worlds share one table.
fn key(world: &World) -> String {
    let number: i32 = world.dir.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a world's number");
    (1 << 30 | (std::process::id() as i32 & 0xffff) << 12 | number).to_string()
}

fn say(world: &World, way: &str, text: &str) {
    world.chapter(TALK, ["say", way, text, "--key", &key(world)]).ok();
}

/// Takes what was said, outside.
fn take(world: &World, way: &str) -> String {
    world.chapter(TALK, ["hear", way, "--now", "--key", &key(world)]).ok().to_owned()
}

/// What the machine's tables hold under our key: lines of /proc/sysvipc, which begin with the key and the id.
fn tables(world: &World) -> Vec<(String, String)> {
    let lines = ["msg", "sem", "shm"].map(|table| {
        let text = fs::read_to_string(format!("/proc/sysvipc/{table}")).expect("this kernel has System V IPC");
        let words = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        words
            .filter(|words| words[0] == key(world))
            .map(|words| (table.to_owned(), words[1].clone()))
            .collect::<Vec<_>>()
    });
    lines.concat()
}

both!(what_one_says_another_hears, |world| {
    for way in WAYS {
        let hears = world.spawn_chapter(TALK, ["hear", way, "--key", &key(world)]);
        say(world, way, "hello, you");
        assert_eq!(hears.wait().ok(), "hello, you", "{way}");
        let nothing = world.chapter(TALK, ["hear", way, "--now", "--key", &key(world)]).fails(125).to_owned();
        assert!(nothing.starts_with("Error: ") && nothing.ends_with("No such file or directory"), "{way}: {nothing}");
    }
    assert_eq!(tables(world), [], "who hears removes what it came through");
});

both!(a_queue_keeps_texts_in_order_and_a_long_one_is_refused, |world| {
    for text in ["one", "two"] {
        say(world, "queue", text);
    }
    let long = "x".repeat(9000);
    for way in WAYS {
        world.chapter(TALK, ["say", way, &long, "--key", &key(world)]).fails(125);
    }
    assert_eq!(take(world, "queue"), "one");
    let _ = world.chapter(TALK, ["hear", "memory", "--now", "--key", &key(world)]);
    remove(world);
});

/// Removes what a refused text has left: objects belong to no process.
fn remove(world: &World) {
    for (table, id) in tables(world) {
        let flag = match table.as_str() {
            "msg" => "-q",
            "sem" => "-s",
            _ => "-m",
        };
        world.program("ipcrm", [flag, &id]).ok();
    }
    world.chapter(TALK, ["say", "mqueue", "", "--key", &key(world)]).ok();
    take(world, "mqueue");
}

both!(what_is_said_on_one_side_of_the_wall_is_not_heard_on_the_other, |world| {
    // The attack: the machine's queue or memory, by its key. It succeeds without the new namespace.
    let root = root_with(world, &[TALK]);
    let inside = |flags: &[&str], way: &str| {
        let words = ["--root", root.to_str().expect("plain ASCII"), &format!("/{TALK}")].map(str::to_owned);
        let words = flags.iter().map(|flag| (*flag).to_owned()).chain(words);
        let hear = ["hear", way, "--now", "--key", &key(world)].map(str::to_owned);
        world.chapter(CHAPTER, words.chain(hear).collect::<Vec<_>>())
    };
    for way in WAYS {
        say(world, way, "secret");
        let nothing = inside(&[], way).fails(125).to_owned();
        assert!(nothing.ends_with("No such file or directory"), "{way}: {nothing}");
        assert_eq!(inside(&["--shared"], way).ok(), "secret", "{way}: this is what chapter 5 could not prevent");
    }
    assert_eq!(tables(world), []);
});

both!(the_machines_memory_cannot_be_attached_by_its_id_either, |world| {
    say(world, "memory", "secret");
    let (_, id) = tables(world).into_iter().find(|(table, _)| table == "shm").expect("a segment");
    let root = root_with(world, &["witness"]);
    let attach = |flags: &[&str]| {
        let shmat = libc::SYS_shmat.to_string();
        let root = root.to_str().expect("plain ASCII");
        let words = ["--root", root, "/witness", "syscall", &shmat, &id, "0", "4096"];
        world.chapter(CHAPTER, [flags, &words].concat()).ok().to_owned()
    };
    assert_eq!(attach(&["--shared"]), "0", "attached, read-only");
    assert_eq!(attach(&[]), libc::EINVAL.to_string(), "there is no such id");
    assert_eq!(take(world, "memory"), "secret");
});

both!(posix_shared_memory_is_a_file_and_each_side_has_its_own, |world| {
    let name = format!("/dev/shm/talk-{}", key(world));
    world.program("witness", ["write", &name, "secret"]).ok();
    let root = root_with(world, &["witness"]);
    let root = root.to_str().expect("plain ASCII");
    let shared = world.chapter(CHAPTER, ["--shared", "--root", root, "/witness", "cat", &name]);
    let own = world.chapter(CHAPTER, ["--root", root, "/witness", "cat", &name]);
    world.program("witness", ["rm", &name]).ok();
    assert_eq!(shared.ok(), "secret");
    own.fails(1);
    world.chapter(CHAPTER, ["--root", root, "/witness", "write", &name, "inside"]).ok();
    assert!(!std::path::Path::new(&name).exists());
});

both!(what_is_said_inside_goes_with_the_last_process, |world| {
    // The machine's tables never see it. That the kernel forgets it is seen by what its owner may have at once (getrlimit(2),
    // RLIMIT_MSGQUEUE), in all namespaces together: here two queues, and no third.
    let root = root_with(world, &[TALK]);
    let say = |flags: &[&str], key: &str| {
        let words = ["--msgqueue=200000", setup().chapter(CHAPTER).to_str().expect("plain ASCII")].map(str::to_owned);
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        let talk = ["--root", root.to_str().expect("plain ASCII"), &format!("/{TALK}"), "say", "mqueue", "to nobody"];
        let talk = talk.into_iter().chain(["--key", key]).map(str::to_owned);
        world.program("prlimit", words.into_iter().chain(flags).chain(talk).collect::<Vec<_>>())
    };
    let own: i32 = key(world).parse().expect("a number");
    let keys = [own, own | 1 << 28, own | 1 << 29].map(|key| key.to_string());
    let said = keys.each_ref().map(|key| say(&["--shared"], key));
    for (key, _) in keys.iter().zip(&said).filter(|(_, said)| said.status == 0) {
        world.chapter(TALK, ["hear", "mqueue", "--now", "--key", key]).ok();
    }
    assert!(said.iter().any(|said| said.stderr.contains("Too many open files")), "{said:?}");
    for _ in 0..5 {
        // A namespace is taken down a moment after its last process has ended.
        until("the queues before have gone", || (say(&[], &key(world)).status == 0).then_some(()));
    }
    assert_eq!(tables(world), []);
});

both!(the_host_has_another_name_inside, |world| {
    let root = root_with(world, &["witness"]);
    let root = root.to_str().expect("plain ASCII");
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("proc");
    assert_eq!(world.chapter(CHAPTER, ["--root", root, "/witness", "hostname"]).ok(), "box");
    let named = ["--hostname", "crate", "--root", root, "/witness", "hostname"];
    assert_eq!(world.chapter(CHAPTER, named).ok(), "crate");
    let shared = world.chapter(CHAPTER, ["--shared", "--root", root, "/witness", "hostname"]);
    assert_eq!(shared.ok(), before.trim_end());
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("proc"), before);
});

both!(it_looks_like_the_engines_container, |world| {
    let root = root_with(world, &["witness"]);
    let chapter = |words: &[&str]| {
        let all = [&["--root", root.to_str().expect("plain ASCII"), "/witness"], words].concat();
        world.chapter(CHAPTER, all).ok().to_owned()
    };
    let engine = |words: &[&str]| {
        let image = world.image("witness");
        world.podling([&["run", "--rm", "--network=none", "--hostname=box", image], words].concat()).ok().to_owned()
    };
    // Which namespaces are new, of those that chapters have built for all users.
    let own = world.program("witness", ["namespaces"]);
    let of_the_machine: Vec<&str> = own.ok().lines().collect();
    let new = |seen: &str| {
        let new = seen.lines().filter(|line| !of_the_machine.contains(line)).filter_map(|line| line.split(' ').next());
        new.filter(|name| ["mnt", "pid", "ipc", "uts"].contains(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(new(&chapter(&["namespaces"])), ["ipc", "mnt", "pid", "uts"]);
    assert_eq!(new(&chapter(&["namespaces"])), new(&engine(&["namespaces"])));
    // What shows them, mounted alike; and the host's name.
    let shows = |seen: &str| {
        let lines = seen.lines().filter(|line| line.starts_with("/dev/mqueue ") || line.starts_with("/dev/shm "));
        // An engine limits the size, and each kernel has its own idea of access times.
        let mut lines: Vec<_> = lines.map(|line| line.replace(",relatime", "")).collect();
        lines.sort();
        lines
    };
    assert_eq!(shows(&chapter(&["mounts"])).len(), 2);
    assert_eq!(shows(&chapter(&["mounts"])), shows(&engine(&["mounts"])));
    for words in [&["hostname"][..], &["pid"], &["ls", "/dev/mqueue"], &["ls", "/dev/shm"]] {
        assert_eq!(chapter(words), engine(words), "{words:?}");
    }
    let mode = |seen: String| seen.split(' ').take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(mode(chapter(&["stat", "/dev/shm"])), mode(engine(&["stat", "/dev/shm"])));
});

both!(it_ends_as_its_program_ended, |world| {
    let root = root_with(world, &["witness"]);
    let run = |words: &[&str]| {
        let all = [&["--root", root.to_str().expect("plain ASCII")], words].concat();
        world.chapter(CHAPTER, all)
    };
    run(&["/witness", "exit", "7"]).fails(7);
    assert_eq!(run(&["/nothing"]).fails(127), "Error: exec: \"/nothing\": no such file or directory");
    assert_eq!(run(&["/proc"]).fails(126), "Error: exec: \"/proc\": permission denied");
    let said = world.chapter(CHAPTER, ["--root", "/no/such/place", "true"]).fails(125).to_owned();
    assert!(said.starts_with("Error: ") && said.contains("/no/such/place"), "{said}");
});

both!(their_help_teaches, |world| {
    world.snapshot("chapter06_help", world.chapter(CHAPTER, ["--help"]).ok());
    world.snapshot("chapter06_talk_help", world.chapter(TALK, ["--help"]).ok());
    let said = world.chapter(TALK, ["say", "louder", "x"]).fails(125).to_owned();
    assert!(said.starts_with("Error: invalid value 'louder'"), "{said}");
});

both!(it_says_what_it_asks_of_the_kernel, |world| {
    let root = root_with(world, &["witness"]);
    let words = ["--explain=json", "--root", root.to_str().expect("plain ASCII"), "/witness"];
    let said = world.chapter(CHAPTER, words);
    let events =
        said.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object a line"));
    let of_this_chapter = events.filter(|event| event["topic"] == "chapter 6");
    let told: Vec<_> = of_this_chapter.map(|event| format!("{} {}", event["call"], event["arguments"])).collect();
    assert_eq!(
        told,
        [
            r#""unshare" "ipc,uts""#,
            r#""sethostname" "box""#,
            r#""mount" "mqueue /dev/mqueue ""#,
            r#""mount" "tmpfs /dev/shm mode=1777""#
        ],
        "{said}"
    );
});

both!(a_machine_that_forbids_namespaces_is_told_apart, |world| {
    let said = forbid_user_namespaces(world, CHAPTER, &["true"]);
    let said = said.fails(125).to_owned();
    assert!(said.starts_with("Error: making a user namespace: "), "{said}");
    assert!(said.contains("\nhint: does the system allow user namespaces?"), "{said}");
});

both!(who_says_nothing_to_the_talkers_is_told_so, |world| {
    let said = world.chapter("chapter06_talk", [""; 0]).fails(125).to_owned();
    assert_eq!(said, "Error: no command was given\nhint: see 'chapter06_talk --help'");
});
