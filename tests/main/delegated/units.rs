//! Chapter 9 with a real systemd: the machine's for root, his own for a user.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{in_session, limits_can_be_set};
use crate::chapters::root_with;
use crate::chapters::systemd::{child, children, greeting, parent, told};
use crate::running::{Input, Output, Running, until, until_gone};
use crate::setup::setup;
use crate::world::{Who, World};

const CHAPTER: &str = "chapter09_systemd";

/// A container that systemd knows under a name which no other test has. It goes with this value.
struct Unit<'a> {
    world: &'a World,
    name: String,
}

impl<'a> Unit<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, name: world.tag() + "box" }
    }

    fn chapter(&self, words: &[&str]) -> Output {
        let mut command = in_session(self.world, setup().chapter(CHAPTER));
        command.args(words);
        Running::start(command, Input::Empty).wait()
    }

    /// Installs it with these flags, and this program.
    fn install(&self, flags: &[&str], program: &[&str]) -> Output {
        self.chapter(&[&["install"], flags, &[&self.name], program].concat())
    }

    fn uninstall(&self) -> Output {
        self.chapter(&["uninstall", &self.name])
    }

    fn systemctl(&self, words: &[&str]) -> Output {
        let mut command = in_session(self.world, "systemctl");
        command.arg(if self.world.who == Who::Root { "--system" } else { "--user" }).args(words);
        Running::start(command, Input::Empty).wait()
    }

    /// What systemd knows of the service.
    fn show(&self, property: &str) -> String {
        let service = format!("{}.service", self.name);
        self.systemctl(&["show", "--value", "--property", property, &service]).ok().to_owned()
    }

    /// The process that it watches; 0: none.
    fn main(&self) -> i32 {
        self.show("MainPID").parse().expect("a number")
    }

    /// Waits until the container runs, in another process than this.
    fn main_after(&self, before: i32) -> i32 {
        until("another process is watched", || {
            let runs = self.show("SubState") == "running";
            Some(self.main()).filter(|pid| runs && ![0, before].contains(pid))
        })
    }

    /// The directory of its group.
    fn group(&self) -> String {
        format!("/sys/fs/cgroup{}", self.show("ControlGroup"))
    }

    /// The units' files, as far as they are there, and the links to them.
    fn files(&self) -> Vec<PathBuf> {
        let all = self.systemctl(&["show", "--value", "--property", "UnitPath"]).ok().to_owned();
        let targets = ["", "default.target.wants", "multi-user.target.wants", "sockets.target.wants"];
        let places = all.split_whitespace().flat_map(|place| targets.map(|target| Path::new(place).join(target)));
        let files = places.flat_map(|place| fs::read_dir(place).into_iter().flatten());
        let files = files.map(|entry| entry.expect("readable").path());
        files.filter(|file| file.to_string_lossy().contains(&self.name)).collect()
    }

    /// Nothing of it is left.
    #[track_caller]
    fn is_gone(&self) {
        assert_eq!(self.show("LoadState"), "not-found");
        assert_eq!(self.files(), Vec::<PathBuf>::new());
    }
}

impl Drop for Unit<'_> {
    fn drop(&mut self) {
        // A test that failed says why by itself; the machine is to be as before.
        if std::thread::panicking() {
            let _ = self.uninstall();
        }
    }
}

both!(a_container_is_started_by_systemd_watched_and_removed, |world| {
    if limits_can_be_set() {
        let unit = Unit::new(world);
        assert_eq!(unit.install(&[], &["sleep", "1000"]).ok(), format!("{}.service: running", unit.name));
        let main = unit.main();
        assert_eq!(told(main, "comm").trim(), "podling-init");
        assert_eq!(told(child(main), "cmdline"), "sleep 1000 ");
        assert_eq!(told(parent(main), "comm").trim(), "systemd", "who is the parent hears how it ends");
        assert!(unit.group().ends_with(&format!("/{}.service", unit.name)), "{}", unit.group());
        assert!(unit.group().ends_with(told(main, "cgroup").trim_end().trim_start_matches("0::")));
        assert_eq!(unit.files().len(), 2, "a unit, and a link: {:?}", unit.files());
        // A limit is a property of the unit, and systemd writes it where chapter 5 did.
        unit.systemctl(&["set-property", "--runtime", &unit.name, "MemoryMax=64M"]).ok();
        let limit = fs::read_to_string(unit.group() + "/memory.max").expect("its group");
        assert_eq!(limit.trim(), "67108864");
        unit.uninstall().ok();
        until_gone(main);
        unit.is_gone();
        assert!(unit.uninstall().fails(125).starts_with(&format!("Error: there is no {}.service in /", unit.name)));
    }
});

both!(each_word_reaches_the_program_as_it_was_given, |world| {
    if limits_can_be_set() {
        let unit = Unit::new(world);
        let root = root_with(world, &["witness"]);
        let words =
            ["/witness", "until-term", "0", "a b", "$HOME", "${HOME}", "%h", "\"", "'", "\\n", "x\ny", ";", "", "é"];
        unit.install(&["--root", root.to_str().expect("plain ASCII")], &words).ok();
        let cmdline = fs::read_to_string(format!("/proc/{}/cmdline", child(unit.main()))).expect("it runs");
        let cmdline = cmdline.strip_suffix('\0').expect("a word ends with a zero");
        assert_eq!(cmdline.split('\0').collect::<Vec<_>>(), words);
        unit.uninstall().ok();
        unit.is_gone();
    }
});

both!(the_attack_a_killed_container_comes_back, |world| {
    if limits_can_be_set() {
        // Chapter 8's stays as it is: its end is known, and nobody does anything about it.
        let before = |words: &[&str]| world.chapter("chapter08_monitor", words);
        before(&["start", "box", "sleep", "1000"]).ok();
        let pid = fs::read_to_string(world.dir.join("run/chapter08/box/pid")).expect("it runs");
        kill(Pid::from_raw(pid.parse().expect("a number")), Signal::SIGKILL).expect("it runs");
        before(&["wait", "box"]).fails(137);
        assert_eq!(before(&["ls"]).ok(), "box: ended with 137");
        before(&["rm", "box"]).ok();

        let unit = Unit::new(world);
        unit.install(&[], &["sleep", "1000"]).ok();
        let mut main = unit.main();
        for restarts in ["1", "2"] {
            // Once process 1 of it, once the program.
            let victim = if restarts == "1" { main } else { child(main) };
            kill(Pid::from_raw(victim), Signal::SIGKILL).expect("it runs");
            main = unit.main_after(main);
            assert_eq!(unit.show("NRestarts"), restarts);
            assert_eq!(told(child(main), "cmdline"), "sleep 1000 ");
        }
        // Who has systemd stop it means it.
        unit.systemctl(&["stop", &unit.name]).ok();
        assert_eq!(["ActiveState", "Result", "MainPID"].map(|it| unit.show(it)), ["inactive", "success", "0"]);
        unit.uninstall().ok();
        unit.is_gone();
    }
});

both!(a_starter_that_is_killed_is_no_reason_to_have_two_or_none, |world| {
    if limits_can_be_set() {
        let unit = Unit::new(world);
        unit.install(&[], &["sleep", "1000"]).ok();
        let user = format!("/run/user/{}/systemd/user", setup().user.uid);
        let place = if world.who == Who::Root { "/run/systemd/system" } else { &user };
        let faults = Path::new(place).join(format!("{}.service.d", unit.name));
        // When the container has been made, and nobody knows; and right after systemd was told.
        for (fault, is_started_again) in [("chapter:waitid", true), ("chapter:sendto", false)] {
            unit.systemctl(&["stop", &unit.name]).ok();
            let text = format!("[Service]\nEnvironment=PODLING_FAULT={fault}\n");
            let made = unit.world.program("mkdir", ["-p", faults.to_str().expect("plain ASCII")]);
            made.ok();
            fs::write(faults.join("fault.conf"), text).expect("whose systemd it is may write there");
            unit.systemctl(&["daemon-reload"]).ok();
            unit.systemctl(&["start", "--no-block", &unit.name]).ok();
            if is_started_again {
                until("it is started again", || (unit.show("NRestarts") != "0").then_some(()));
            }
            fs::remove_dir_all(&faults).expect("our own directory");
            unit.systemctl(&["daemon-reload"]).ok();
            // It may have failed so often meanwhile that systemd has given up.
            unit.systemctl(&["reset-failed", &unit.name]);
            unit.systemctl(&["start", &unit.name]).ok();
            unit.main_after(0);
            let processes = fs::read_to_string(unit.group() + "/cgroup.procs").expect("its group");
            assert_eq!(processes.lines().count(), 2, "process 1 and the program of one container: {fault}");
        }
        unit.uninstall().ok();
        unit.is_gone();
    }
});

both!(what_cannot_start_is_said_and_nothing_of_it_is_left, |world| {
    if limits_can_be_set() {
        let unit = Unit::new(world);
        let said = unit.install(&[], &["no-such-program"]);
        assert_eq!(said.fails(127), "Error: exec: \"no-such-program\": executable file not found in $PATH");
        unit.is_gone();
        unit.install(&[], &["/etc/passwd"]).fails(126);
        unit.is_gone();
        // Somebody else has the address, or the name.
        let taken = TcpListener::bind("127.0.0.1:0").expect("a loopback device");
        let address = taken.local_addr().expect("bound").to_string();
        let said = unit.install(&["--socket", &address], &["true"]).fails(125).to_owned();
        assert!(
            said.starts_with(&format!("Error: listening on {address}: Address already in use\nhint: ss ")),
            "{said}"
        );
        unit.is_gone();
        let said = unit.chapter(&["install", "dbus", "true"]).fails(125).to_owned();
        assert!(said.starts_with("Error: there is a unit dbus.service already\nhint: another name"), "{said}");
        unit.install(&["--restart=no"], &["sleep", "1000"]).ok();
        let said = unit.install(&[], &["true"]).fails(125).to_owned();
        assert!(said.starts_with(&format!("Error: there is a unit {}.service already", unit.name)), "{said}");
        assert_eq!(unit.show("SubState"), "running", "and that one was left alone");
        // A unit of somebody else's is not ours to remove.
        let file = unit.files().into_iter().find(|file| !file.is_symlink()).expect("the unit");
        let text = fs::read_to_string(&file).expect("readable");
        fs::write(&file, text.replacen('#', "# Not ", 1)).expect("writable");
        let said = unit.uninstall().fails(125).to_owned();
        assert_eq!(said, format!("Error: {}.service was not written by chapter09_systemd", unit.name));
        fs::write(&file, text).expect("writable");
        unit.uninstall().ok();
        unit.is_gone();
    }
});

both!(whoever_connects_starts_the_container, |world| {
    if limits_can_be_set() {
        let unit = Unit::new(world);
        let root = root_with(world, &["chapter09_hello"]);
        let socket = world.dir.join("hello");
        let socket = socket.to_str().expect("plain ASCII");
        let flags = ["--socket", socket, "--root", root.to_str().expect("plain ASCII")];
        let installed = unit.install(&flags, &["/chapter09_hello", "--idle=1"]);
        assert_eq!(installed.ok(), format!("{}.socket: listening", unit.name));
        assert_eq!(unit.main(), 0, "nobody has come, and nothing runs");
        let comes = || greeting(UnixStream::connect(socket).expect("systemd listens"));
        let hello = format!("hello from process 2 on {}\n", unit.name);
        assert_eq!(comes(), hello);
        until("it has ended, since nobody comes", || (unit.show("SubState") == "dead").then_some(()));
        let (main, server) = until("it serves, and has not ended by itself yet", || {
            assert_eq!(comes(), hello);
            let main = unit.main();
            children(main).first().map(|server| (main, *server))
        });
        let _ = kill(Pid::from_raw(main), Signal::SIGKILL);
        // Whom it has accepted is lost with it, and the kernel ends it a moment after process 1. Who comes then waits.
        until_gone(server);
        assert_eq!(comes(), hello);
        unit.uninstall().ok();
        unit.is_gone();
        assert!(!Path::new(socket).exists());
    }
});

/// The tests' ordinary user, who lingers as long as this value lives.
struct Lingering<'a> {
    world: &'a World,
    service: String,
}

impl<'a> Lingering<'a> {
    fn begin(world: &'a World) -> Self {
        let it = Self { world, service: format!("user@{}.service", setup().user.uid) };
        world.program("loginctl", ["enable-linger", &setup().user.name]).ok();
        it.machine(&["start", &it.service]);
        it
    }

    /// The machine's systemd.
    fn machine(&self, words: &[&str]) -> String {
        self.world.program("systemctl", words).ok().to_owned()
    }

    /// What the machine's systemd knows of the user's.
    fn show(&self, property: &str) -> String {
        self.machine(&["show", "--value", "--property", property, &self.service])
    }

    /// As that user, who is not logged in. Among the machine's mounts: his /run/user was mounted after ours were made private.
    fn program(&self, words: &[&str]) -> Output {
        let user = &setup().user;
        let ids = [format!("--reuid={}", user.uid), format!("--regid={}", user.gid), "--init-groups".into()];
        let place = format!("XDG_RUNTIME_DIR=/run/user/{}", user.uid);
        let ids = ids.iter().map(String::as_str).chain(["env", &place]);
        let before: Vec<&str> = ["--mount=/proc/1/ns/mnt", "setpriv"].into_iter().chain(ids).collect();
        self.world.program("nsenter", [&before, words].concat())
    }
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        self.world.program("loginctl", ["disable-linger", &setup().user.name]);
        self.world.program("systemctl", ["stop", &self.service]);
    }
}

// No boot, but what a boot does for a user who lingers: his systemd is started, though he has no session.
as_root!(a_container_of_who_lingers_starts_with_his_systemd, |world| {
    if limits_can_be_set() {
        let user = Lingering::begin(world);
        let chapter = setup().chapter(CHAPTER);
        let chapter = chapter.to_str().expect("plain ASCII");
        let name = world.tag() + "box";
        user.program(&[chapter, "install", &name, "sleep", "1000"]).ok();
        let main = |before| {
            until("another process is watched", || {
                let shown = user.program(&["systemctl", "--user", "show", "--value", "--property=MainPID", &name]);
                shown.stdout.trim().parse().ok().filter(|pid: &i32| ![0, before].contains(pid))
            })
        };
        let first = main(0);
        // Stopped, as at a shutdown, all that it has started ends. Killed, too; and nobody starts it again.
        user.machine(&["stop", &user.service]);
        until_gone(first);
        assert_eq!(user.show("ActiveState"), "inactive");
        user.machine(&["start", &user.service]);
        let second = main(first);
        kill(Pid::from_raw(user.show("MainPID").parse().expect("a number")), Signal::SIGKILL).expect("it runs");
        until_gone(second);
        until("it has failed", || (user.show("ActiveState") == "failed").then_some(()));
        user.machine(&["start", &user.service]);
        let third = main(second);
        user.program(&[chapter, "uninstall", &name]).ok();
        until_gone(third);
    }
});
