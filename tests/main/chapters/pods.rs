//! Chapter 10: containers of one pod share what the pod has and nothing else, and nobody gets into another user's.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::images::busybox;
use crate::running::{Input, Output, Running, until, until_gone};
use crate::setup::setup;
use crate::world::World;

use super::mount::bare_root;
use super::{forbid_user_namespaces, root_with};

const CHAPTER: &str = "chapter10_pods";
const TALK: &str = "chapter06_talk";

fn pods(world: &World, words: &[&str]) -> Output {
    world.chapter(CHAPTER, words)
}

/// A container with nothing but the witness (`/witness`) in a pod, to its end.
fn witness(world: &World, pod: &str, words: &[&str]) -> Output {
    pods(world, &[&["run", "--root", &bare_root(world), pod, "/witness"], words].concat())
}

/// The same, left running.
fn spawn_witness(world: &World, pod: &str, words: &[&str]) -> Running {
    world.spawn_chapter(CHAPTER, [&["run", "--root", &bare_root(world), pod, "/witness"], words].concat())
}

fn link(world: &World, pod: &str) -> PathBuf {
    world.dir.join("run/chapter10").join(pod)
}

/// Pid and start time of who holds a pod.
fn holder(world: &World, pod: &str) -> (i32, u64) {
    let said = fs::read_link(link(world, pod)).expect("it was made");
    let (pid, start) = said.to_str().and_then(|said| said.split_once('-')).expect("two numbers");
    (pid.parse().expect("a pid"), start.parse().expect("a time"))
}

/// The first processes of the containers in a pod.
fn members(world: &World, pod: &str) -> Vec<i32> {
    let list = pods(world, &["ls"]);
    let line = list.ok().lines().find_map(|line| line.strip_prefix(&format!("{pod}: held by process ")));
    let (_, joined) = line.and_then(|line| line.split_once(", joined by ")).expect("it has a holder");
    joined.split(' ').filter_map(|pid| pid.parse().ok()).collect()
}

/// Waits until there is a container in the pod besides those that are known, and returns its first process.
fn joined(world: &World, pod: &str, known: &[i32]) -> i32 {
    until("it has joined", || members(world, pod).into_iter().find(|pid| !known.contains(pid)))
}

fn kill_hard(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
}

/// Kills the containers of a pod, and ends it.
fn end(world: &World, pod: &str) {
    for pid in members(world, pod) {
        kill_hard(pid);
        until_gone(pid);
    }
    pods(world, &["rm", pod]).ok();
}

/// A root with a shell, a web server and the talker, whose page `/cgi-bin/NAME` is what `script` prints.
fn server(world: &World, name: &str, script: &str) -> String {
    let root = root_with(world, &[TALK]);
    let own = world.dir.join(name);
    fs::rename(root, &own).expect("our own directory");
    for directory in ["bin", "www", "www/cgi-bin"] {
        world.directory(&format!("{name}/{directory}"));
    }
    fs::copy(busybox(), own.join("bin/busybox")).expect("our own directory");
    symlink("busybox", own.join("bin/sh")).expect("our own directory");
    let page = format!("{name}/www/cgi-bin/{name}");
    let page = world.file(&page, format!("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n{script}\n"));
    fs::set_permissions(page, fs::Permissions::from_mode(0o755)).expect("our own file");
    own.to_str().expect("plain ASCII").to_owned()
}

fn serve(world: &World, pod: &str, root: &str, port: &str) -> Running {
    world.spawn_chapter(CHAPTER, ["run", "--root", root, pod, "busybox", "httpd", "-f", "-p", port, "-h", "/www"])
}

/// What a server in the pod answers to a third container.
fn get(world: &World, pod: &str, root: &str, address: &str) -> Output {
    pods(world, &["run", "--root", root, pod, "busybox", "wget", "-q", "-O", "-", address])
}

both!(two_servers_share_one_localhost_and_one_queue, |world| {
    assert_eq!(pods(world, &["create", "shop"]).ok(), "shop");
    let stock = server(world, "stock", "/chapter06_talk say queue 'somebody asked' --key 10; echo 42");
    let ask = "echo price $(wget -q -O - http://127.0.0.1:8080/cgi-bin/stock)\n\
               echo heard $(/chapter06_talk hear queue --now --key 10)";
    let web = server(world, "web", ask);
    let servers = [serve(world, "shop", &stock, "127.0.0.1:8080"), serve(world, "shop", &web, "80")];
    until("both listen", || {
        let tables = get(world, "shop", &web, "http://127.0.0.1/cgi-bin/web");
        (tables.stdout.contains("price 42")).then_some(())
    });
    let answer = get(world, "shop", &web, "http://127.0.0.1/cgi-bin/web");
    assert_eq!(answer.ok(), "price 42\nheard somebody asked");
    // Neither can be reached from outside, though the port is one that only root could have there.
    let talk = world.chapter(TALK, ["hear", "queue", "--now", "--key", "10"]);
    assert!(talk.fails(125).ends_with("No such file or directory"), "{talk}");
    assert_eq!(members(world, "shop").len(), 2);
    end(world, "shop");
    for server in servers {
        assert_eq!(server.wait().status, 137);
    }
});

/// The namespaces of a process: `ipc 4026531839`.
fn namespaces(pid: i32) -> BTreeSet<String> {
    let kinds = ["ipc", "mnt", "net", "pid", "user", "uts"];
    let link = |kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it runs");
    kinds.iter().map(|kind| link(kind).display().to_string()).collect()
}

/// The kinds in which two processes are together, and not with us.
fn shared(one: i32, other: i32) -> BTreeSet<String> {
    let machine = namespaces(std::process::id() as i32);
    let together: BTreeSet<_> = namespaces(one).intersection(&namespaces(other)).cloned().collect();
    together.difference(&machine).filter_map(|name| Some(name.split_once(':')?.0.to_owned())).collect()
}

fn kinds(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

both!(it_shares_what_containers_of_the_engine_share_that_join_each_other, |world| {
    pods(world, &["create", "pod"]).ok();
    let mut running = vec![spawn_witness(world, "pod", &["sleep-forever"])];
    let one = joined(world, "pod", &[]);
    running.push(spawn_witness(world, "pod", &["sleep-forever"]));
    let other = joined(world, "pod", &[one]);
    let of_the_pod = shared(one, other);
    assert_eq!(of_the_pod, kinds(&["ipc", "net", "user", "uts"]));
    assert_eq!(shared(one, holder(world, "pod").0), of_the_pod, "these are the holder's");

    let image = world.image("witness");
    let start = |flags: &[&str]| {
        let id = world.podling([&["run", "-d"], flags, &[image, "sleep-forever"]].concat()).ok().to_owned();
        let pid = world.podling(["inspect", "--format={{.State.Pid}}", &id]);
        pid.ok().parse().expect("a number")
    };
    let first = start(&["--name=first", "--network=none", "--hostname=pod"]);
    let second = start(&["--network=container:first", "--ipc=container:first", "--uts=container:first"]);
    // Root's containers need no user namespace.
    let engines: BTreeSet<_> = shared(first, second).union(&kinds(&["user"])).cloned().collect();
    assert_eq!(engines, of_the_pod);
    world.podling(["rm", "-f", "-a", "-t0"]).ok();

    assert_eq!(witness(world, "pod", &["hostname"]).ok(), "pod");
    end(world, "pod");
    for member in running {
        assert_eq!(member.wait().status, 137);
    }
});

both!(each_container_keeps_its_processes_and_its_files, |world| {
    pods(world, &["create", "pod"]).ok();
    let one = spawn_witness(world, "pod", &["sleep-forever"]);
    let first = joined(world, "pod", &[]);
    assert_eq!(witness(world, "pod", &["pid"]).ok(), "1");
    let numbers = pods(world, &["run", "pod", "sh", "-c", "ls /proc | grep -c '^[0-9]*$'"]);
    assert!(numbers.ok().parse::<u32>().expect("a count") <= 3, "itself, ls and grep: {numbers}");
    // What one writes, the next does not see; nor the machine.
    let write = "echo mine > /etc/podling-mine && cat /etc/podling-mine; echo mine > /dev/shm/mine";
    assert_eq!(pods(world, &["run", "pod", "sh", "-c", write]).ok(), "mine");
    pods(world, &["run", "pod", "ls", "/etc/podling-mine"]).fails(2);
    pods(world, &["run", "pod", "ls", "/dev/shm/mine"]).fails(2);
    assert!(!Path::new("/etc/podling-mine").exists());
    // A setting of the network is the pod's.
    let setting = "/proc/sys/net/ipv4/ip_default_ttl";
    let before = fs::read_to_string(setting).expect("the machine's");
    witness(world, "pod", &["write", setting, "77"]).ok();
    assert_eq!(witness(world, "pod", &["cat", setting]).ok(), "77");
    assert_eq!(fs::read_to_string(setting).expect("the machine's"), before);
    kill_hard(first);
    assert_eq!(one.wait().status, 137);
    end(world, "pod");
});

both!(two_pods_and_the_machine_may_use_one_port, |world| {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let address = format!("127.0.0.1:{port}");
    for pod in ["a", "b"] {
        pods(world, &["create", pod]).ok();
        let said = witness(world, pod, &["connect", &address]).fails(1).to_owned();
        assert!(said.contains("Connection refused"), "the machine's localhost is another one: {said}");
    }
    let mut servers = ["a", "b"].map(|pod| spawn_witness(world, pod, &["serve", &port]));
    for server in &mut servers {
        server.expect("ready");
    }
    for pod in ["a", "b"] {
        assert!(witness(world, pod, &["connect", &address]).ok().starts_with("hello "));
        let twice = witness(world, pod, &["serve", &port]).fails(1).to_owned();
        assert!(twice.contains("Address already in use"), "in one pod a port is there once: {twice}");
        end(world, pod);
    }
    for server in servers {
        assert_eq!(server.wait().status, 137);
    }
});

/// A container that does what it is told, a line each.
fn listener(world: &World, pod: &str, root: &str) -> Running {
    let mut command = world.command(setup().chapter(CHAPTER));
    command.args([
        "run",
        "--root",
        root,
        pod,
        "busybox",
        "sh",
        "-c",
        "while read line; do eval \"$line\"; echo done; done",
    ]);
    let mut listener = Running::start(command, Input::Pipe);
    listener.write("\n");
    listener.expect("done");
    listener
}

both!(what_a_killed_container_has_said_is_there_for_the_others, |world| {
    pods(world, &["create", "pod"]).ok();
    let root = server(world, "any", "");
    let mut one = listener(world, "pod", &root);
    let first = joined(world, "pod", &[]);
    let mut other = listener(world, "pod", &root);
    one.write("/chapter06_talk say queue 'my last words'\n");
    one.expect("done");
    kill_hard(first);
    assert_eq!(one.wait().status, 137);
    other.write("/chapter06_talk hear queue --now\n");
    other.expect("my last words");
    other.close_input();
    other.wait().ok();
    end(world, "pod");
});

both!(a_killed_holder_locks_the_door_and_throws_nobody_out, |world| {
    pods(world, &["create", "pod"]).ok();
    let (held_by, _) = holder(world, "pod");
    let root = server(world, "any", "");
    let mut serving = spawn_witness(world, "pod", &["serve", "8080"]);
    serving.expect("ready");
    let first = joined(world, "pod", &[]);
    let mut talking = listener(world, "pod", &root);
    let second = joined(world, "pod", &[first]);
    kill_hard(held_by);
    until_gone(held_by);
    talking.write("/chapter06_talk say queue hello && /chapter06_talk hear queue --now; nc 127.0.0.1 8080\n");
    talking.expect("hello\n");
    talking.expect("hello ");
    let said = witness(world, "pod", &["true"]).fails(125).replace(&held_by.to_string(), "PID");
    world.snapshot("chapter10_lost", &said);
    assert_eq!(pods(world, &["ls"]).ok(), format!("pod: lost, process {held_by} is gone"));
    pods(world, &["rm", "pod"]).ok();
    // The name is free, and what is made under it is another pod.
    pods(world, &["create", "pod"]).ok();
    assert_eq!(shared(first, holder(world, "pod").0), kinds(&[]));
    assert_eq!(shared(first, second), kinds(&["ipc", "net", "user", "uts"]));
    end(world, "pod");
    for (pid, running) in [(first, serving), (second, talking)] {
        kill_hard(pid);
        assert_eq!(running.wait().status, 137);
    }
});

both!(a_number_that_is_anothers_now_leads_nobody_there, |world| {
    for pod in ["old", "new"] {
        pods(world, &["create", pod]).ok();
    }
    let (gone, _) = holder(world, "old");
    let (pid, start) = holder(world, "new");
    kill_hard(gone);
    until_gone(gone);
    // As if the holder of the one had ended, and the number had been given to the holder of the other since.
    fs::remove_file(link(world, "old")).expect("our own");
    symlink(format!("{pid}-{}", start - 1), link(world, "old")).expect("our own");
    let said = witness(world, "old", &["hostname"]).fails(125).to_owned();
    assert!(said.starts_with(&format!("Error: pod old has lost its holder, process {pid}")), "{said}");
    assert!(pods(world, &["ls"]).ok().contains(&format!("old: lost, process {pid} is gone")));
    // Nor is the other ended with it.
    pods(world, &["rm", "old"]).ok();
    assert_eq!(witness(world, "new", &["hostname"]).ok(), "new");
    end(world, "new");
});

/// The chapter's program as one of the machine's users, whose pods are named in `run`.
fn as_user(world: &World, (uid, gid): (u32, u32), run: &Path, words: &[&str]) -> Output {
    let mut command = world.command("setpriv");
    command.env("XDG_RUNTIME_DIR", run).env("HOME", run);
    command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups", "--"]);
    command.arg(setup().chapter(CHAPTER)).args(words);
    Running::start(command, Input::Empty).wait()
}

as_root!(the_attack_another_users_pod_is_not_joined, |world| {
    let root = bare_root(world);
    let owner = (setup().user.uid, setup().user.gid);
    let stranger = (65534, 65534);
    let directory = |name: &str, (uid, gid)| {
        let made = world.directory(name);
        chown(&made, Some(uid), Some(gid)).expect("we are root");
        fs::set_permissions(&made, fs::Permissions::from_mode(0o700)).expect("our own directory");
        made
    };
    let [home, his, hers] =
        [("home-of-owner", owner), ("away", stranger), ("copy", owner)].map(|(name, who)| directory(name, who));
    as_user(world, owner, &home, &["create", "secret"]).ok();
    let door = fs::read_link(home.join("chapter10/secret")).expect("it was made");
    let join = ["run", "--root", &root, "secret", "/witness", "hostname"];
    // Not even its name can be read; but the number of the holder is no secret, nor when it began.
    assert!(as_user(world, stranger, &home, &join).status == 125);
    assert!(as_user(world, stranger, &his, &["ls"]).ok().is_empty());
    symlink(&door, his.join("chapter10/secret")).expect("we are root");
    let pid = door.to_str().and_then(|said| said.split('-').next()).expect("a number").to_owned();
    let said = as_user(world, stranger, &his, &join).fails(125).replace(&pid, "PID");
    world.snapshot("chapter10_stranger", &said);
    // It was not the copied link that was wrong.
    assert!(as_user(world, owner, &hers, &["ls"]).ok().is_empty());
    symlink(&door, hers.join("chapter10/secret")).expect("we are root");
    assert_eq!(as_user(world, owner, &hers, &join).ok(), "secret");
    // Nor does another program get in, or look in, by any of the files.
    for namespace in ["--user", "--net", "--ipc", "--uts"] {
        let words =
            ["--reuid=65534", "--regid=65534", "--clear-groups", "nsenter", "--target", &pid, namespace, "true"];
        let said = world.program("setpriv", words);
        assert!(said.status != 0 && said.stderr.contains("Permission denied"), "{said}");
    }
    let listed = as_user(world, stranger, &his, &["ls"]);
    assert_eq!(listed.ok(), format!("secret: /proc/{pid}/ns/net: Permission denied"));
    as_user(world, stranger, &his, &["rm", "secret"]).fails(125);
    as_user(world, owner, &home, &["rm", "secret"]).ok();
});

both!(it_ends_as_its_program_ended, |world| {
    pods(world, &["create", "pod"]).ok();
    witness(world, "pod", &["exit", "7"]).fails(7);
    let root = bare_root(world);
    let run = |program: &str| pods(world, &["run", "--root", &root, "pod", program]).status;
    assert_eq!([run("/nothing"), run("/proc")], [127, 126]);
    assert_eq!(pods(world, &["run", "pod", "sh", "-c", "sh -c 'kill -9 $$'"]).status, 137);
    let said = pods(world, &["run", "--root", "/no/such/place", "pod", "true"]).fails(125).to_owned();
    assert!(said.contains("/no/such/place"), "{said}");
    end(world, "pod");
});

both!(who_errs_is_told_the_cure, |world| {
    let mut said = String::new();
    let mut tell = |words: &[&str]| {
        said += &format!("$ {}\n{}\n", words.join(" "), pods(world, words).fails(125));
    };
    for words in [&["run", "shop", "true"][..], &["rm", "shop"], &["create", ""], &["create", "a/b"], &["create", ".x"]]
    {
        tell(words);
    }
    tell(&["create", &"x".repeat(65)]);
    tell(&["run", "alone"]);
    tell(&[]);
    pods(world, &["create", "shop"]).ok();
    tell(&["create", "shop"]);
    world.snapshot("chapter10_errors", &said);
    let one = spawn_witness(world, "shop", &["sleep-forever"]);
    let pid = joined(world, "shop", &[]);
    let refused = pods(world, &["rm", "shop"]).fails(125).to_owned();
    assert_eq!(refused, format!("Error: there are containers in shop: {pid}\nhint: kill -KILL {pid}"));
    end(world, "shop");
    assert_eq!(one.wait().status, 137);
    assert_eq!(pods(world, &["ls"]).ok(), "");
    // What somebody else has put there does not hide the pods.
    world.file("run/chapter10/file", "");
    pods(world, &["create", "shop"]).ok();
    let list = pods(world, &["ls"]);
    assert!(list.ok().contains("file: ") && list.ok().contains("shop: held by process "), "{list}");
    pods(world, &["rm", "shop"]).ok();
});

both!(a_machine_that_forbids_namespaces_is_told_apart, |world| {
    let said = forbid_user_namespaces(world, CHAPTER, &["create", "pod"]).fails(125).to_owned();
    assert!(said.starts_with("Error: making a user namespace: ") && said.contains("\nhint: "), "{said}");
    let script = "echo 0 > /proc/sys/user/max_net_namespaces; exec \"$0\" create pod";
    let chapter = setup().chapter(CHAPTER);
    let words = ["--single", "sh", "-c", script, chapter.to_str().expect("plain ASCII")];
    let said = world.chapter("chapter02_user_namespace", words);
    let wanted = "Error: making namespaces (net,ipc,uts): No space left on device\n\
                  hint: no more namespaces are allowed: see /proc/sys/user/";
    assert_eq!(said.fails(125), wanted);
    assert_eq!(pods(world, &["ls"]).ok(), "");
});

both!(the_holder_keeps_nothing_of_its_makers, |world| {
    let script = format!("exec 9>/dev/full; {} create held", setup().chapter(CHAPTER).display());
    // It ends only when nobody holds its output.
    assert_eq!(world.program("sh", ["-c", &script]).ok(), "held");
    let (pid, _) = holder(world, "held");
    // What it told its maker through it closes a moment after it has told.
    until("it has three descriptors", || {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
        let open: Vec<_> = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
        (open == [PathBuf::from("/dev/null"), "/dev/null".into(), "/dev/null".into()]).then_some(())
    });
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs"), PathBuf::from("/"));
    assert_ne!(getsid(Some(Pid::from_raw(pid))), getsid(None));
    end(world, "held");
});

both!(a_holder_killed_at_any_moment_hangs_nobody, |world| {
    let told = pods(world, &["--explain=json", "create", "pod"]);
    let count = told.stderr.lines().filter(|line| line.contains(r#""actor":"infra""#)).count();
    assert!(count >= 6, "{told}");
    end(world, "pod");
    for number in 1..=count {
        let mut command = world.command(setup().chapter(CHAPTER));
        command.env("PODLING_FAULT", format!("infra:{number}")).args(["create", "pod"]);
        let status = Running::start(command, Input::Empty).wait().status;
        match status {
            // Not the holder was killed, but its helper, when the ids were mapped.
            0 => assert_eq!(witness(world, "pod", &["hostname"]).ok(), "pod"),
            125 if !link(world, "pod").is_symlink() => continue,
            // It had published the name already.
            125 => assert!(pods(world, &["ls"]).ok().starts_with("pod: lost, ")),
            other => panic!("infra:{number}: {other}"),
        }
        pods(world, &["rm", "pod"]).ok();
    }
});

both!(of_many_who_want_one_name_one_gets_it, |world| {
    let makers: Vec<_> = (0..4).map(|_| world.spawn_chapter(CHAPTER, ["create", "pod"])).collect();
    let ended: Vec<_> = makers.into_iter().map(Running::wait).collect();
    assert_eq!(ended.iter().filter(|maker| maker.status == 0).count(), 1);
    for maker in ended.iter().filter(|maker| maker.status != 0) {
        assert_eq!(maker.fails(125), "Error: the name pod is taken\nhint: chapter10_pods rm pod");
    }
    assert!(witness(world, "pod", &["hostname"]).ok() == "pod");
    end(world, "pod");
});

both!(it_says_what_it_asks_of_the_kernel, |world| {
    let told = |words: &[&str]| {
        let said = world.chapter(CHAPTER, [&["--explain=json"], words].concat()).stderr;
        let events =
            said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object a line"));
        let events = events.filter(|event| event["topic"] == "chapter 10");
        let lines = events.map(|event| {
            let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}\n", word("actor"), word("call"), word("arguments"))
        });
        lines.collect::<String>()
    };
    let created = told(&["create", "pod"]);
    let root = bare_root(world);
    let ran = told(&["run", "--root", &root, "pod", "/witness"]);
    let (pid, start) = holder(world, "pod");
    let both = (created + &ran).replace(&pid.to_string(), "PID").replace(&start.to_string(), "START");
    world.snapshot("chapter10_narration", &both);
    end(world, "pod");
});

both!(its_help_teaches, |world| {
    world.snapshot("chapter10_help", pods(world, &["--help"]).ok());
});
