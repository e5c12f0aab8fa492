//! A world of its own for each test: store, run directory, home, temporary directory, environment; as root or as an
//! ordinary user. Tests in different worlds never meet, so all of them run at once.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::leftovers;
use crate::running::{Input, Output, Running};
use crate::second_opinion::{self, other_runtime};
use crate::setup::{self, Setup};

/// Makes two tests of one: `NAME::root` and `NAME::user`.
macro_rules! both {
    ($name:ident, |$world:ident| $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            #[test]
            fn root() {
                $crate::world::World::of($crate::world::Who::Root, body);
            }
            #[test]
            fn user() {
                $crate::world::World::of($crate::world::Who::User, body);
            }
            fn body($world: &$crate::world::World) {
                $body
            }
        }
    };
}

/// Makes a test of what only root can do: `NAME::root`.
#[allow(unused_macros)]
macro_rules! as_root {
    ($name:ident, |$world:ident| $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            #[test]
            fn root() {
                $crate::world::World::of($crate::world::Who::Root, |$world: &$crate::world::World| $body);
            }
        }
    };
}

/// Makes a test of what only an ordinary user meets: `NAME::user`.
#[allow(unused_macros)]
macro_rules! as_user {
    ($name:ident, |$world:ident| $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            #[test]
            fn user() {
                $crate::world::World::of($crate::world::Who::User, |$world: &$crate::world::World| $body);
            }
        }
    };
}

/// Who acts in a world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Root,
    User,
}

/// One test's world. Everything is below `dir`.
pub struct World {
    pub who: Who,
    pub dir: PathBuf,
    setup: &'static Setup,
}

impl World {
    /// Runs a test in a new world, then checks that nothing is left of it; or skips it if nobody here can be `who`.
    pub fn of(who: Who, test: impl FnOnce(&World)) {
        let setup = setup::setup();
        if who == Who::Root && !setup.is_root {
            return crate::skip::skip("not started by root");
        }
        if setup.is_root {
            setup::enter_private_mounts();
        }
        let world = World::make(who, setup);
        test(&world);
        world.end();
    }

    fn make(who: Who, setup: &'static Setup) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Short: the path of a Unix socket has 107 bytes.
        let dir = setup.dir.join("worlds").join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        let world = Self { who, dir, setup };
        for (sub, mode) in [("", 0o755), ("home", 0o755), ("run", 0o700), ("tmp", 0o1777)] {
            let path = world.dir.join(sub);
            setup::make_directory(&path);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own directory");
            if who == Who::User {
                setup::give_to_user(&path);
            }
        }
        // Where root's credentials would be the machine's; tools insist that the file exists.
        world.file("run/auth.json", "{}");
        world
    }

    /// How the ids begin that tests choose themselves: a cgroup's name is seen by all worlds.
    pub fn tag(&self) -> String {
        let number = self.dir.file_name().expect("a world is below a directory").to_string_lossy();
        format!("test-{}-{number}-", std::process::id())
    }

    /// $DATA: what survives a reboot.
    pub fn data(&self) -> PathBuf {
        if self.who == Who::Root { self.dir.join("data") } else { self.dir.join("home/.local/share/podling") }
    }

    /// $RUN: what does not.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run/podling")
    }

    /// A file in this world, with its content, that belongs to whoever acts here.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
        if self.who == Who::User {
            setup::give_to_user(&path);
        }
        path
    }

    /// A directory in this world that belongs to whoever acts here.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        setup::make_directory(&path);
        if self.who == Who::User {
            setup::give_to_user(&path);
        }
        path
    }

    /// `podling ARGUMENTS…`, to its end.
    #[track_caller]
    pub fn podling(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Output {
        self.spawn(arguments).wait()
    }

    /// `podling ARGUMENTS…` with this standard input, to its end.
    #[track_caller]
    pub fn podling_with_input(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>, input: &str) -> Output {
        let mut command = self.command(self.setup.bin("podling"));
        command.args(arguments);
        let mut running = Running::start(command, Input::Pipe);
        running.write(input);
        running.wait()
    }

    /// `podling ARGUMENTS…`, left running, its standard input empty.
    pub fn spawn(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Running {
        let mut command = self.command(self.setup.bin("podling"));
        command.args(arguments);
        Running::start(command, Input::Empty)
    }

    /// `podling ARGUMENTS…`, left running, its standard input a pipe.
    pub fn spawn_with_input(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Running {
        let mut command = self.command(self.setup.bin("podling"));
        command.args(arguments);
        Running::start(command, Input::Pipe)
    }

    /// `podling ARGUMENTS…` on a terminal of 24 rows and 80 columns.
    pub fn spawn_on_terminal(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Running {
        // A terminal must be the controlling one to deliver signals and sizes: setsid(1) makes it so.
        let mut command = self.command("setsid");
        command.args(["--ctty", "--"]).arg(self.setup.bin("podling")).args(arguments);
        Running::start_on_terminal(command)
    }

    /// `chapter01_fork ARGUMENTS…` or another program of the book, to its end.
    #[track_caller]
    pub fn chapter(&self, name: &str, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Output {
        self.spawn_chapter(name, arguments).wait()
    }

    /// A program of the book, left running, its standard input empty.
    pub fn spawn_chapter(&self, name: &str, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Running {
        let mut command = self.command(self.setup.chapter(name));
        command.args(arguments);
        Running::start(command, Input::Empty)
    }

    /// `podling-runtime --root … ARGUMENTS…` (or the other runtime, in a run that is a second opinion).
    #[track_caller]
    pub fn runtime(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Output {
        let program = second_opinion::runtime();
        let mut command = self.command(program);
        command.arg("--root").arg(self.dir.join("run/runtime")).args(arguments);
        Running::start(command, Input::Empty).wait()
    }

    /// Any program, as whoever acts in this world.
    #[track_caller]
    pub fn program(&self, program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Output {
        let mut command = self.command(program);
        command.args(arguments);
        Running::start(command, Input::Empty).wait()
    }

    /// A command that will run as whoever acts in this world, in its directory and environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let path =
            format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.setup.bin("").display());
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear().env("PATH", path).env("LANG", "C.UTF-8").env("TERM", "xterm");
        command.env("HOME", self.dir.join("home")).env("TMPDIR", self.dir.join("tmp")).env("TZ", "UTC");
        command.env("XDG_RUNTIME_DIR", self.dir.join("run"));
        // How a process of this world is known in /proc.
        command.env(leftovers::MARK, &self.dir);
        let registries = self.dir.join("registries.conf");
        if registries.exists() {
            command.env("CONTAINERS_REGISTRIES_CONF", registries);
        }
        if let Some(runtime) = other_runtime() {
            command.env("PODLING_RUNTIME", runtime);
        }
        for passed in ["RUST_BACKTRACE", "DBUS_SESSION_BUS_ADDRESS", "PODLING_TEST_PATIENCE"] {
            if let Some(value) = std::env::var_os(passed) {
                command.env(passed, value);
            }
        }
        match self.who {
            // Root's store has a fixed place on the machine; an ordinary user's follows HOME and XDG_RUNTIME_DIR.
            Who::Root => {
                command.env("PODLING_ROOT", self.data()).env("PODLING_RUNROOT", self.run_dir());
                command.env("REGISTRY_AUTH_FILE", self.dir.join("run/auth.json"));
            }
            Who::User => {
                command.env("USER", &self.setup.user.name).env("LOGNAME", &self.setup.user.name);
                if self.setup.is_root {
                    // std clears the supplementary groups when root becomes somebody else.
                    command.uid(self.setup.user.uid).gid(self.setup.user.gid);
                }
            }
        }
        command
    }

    /// The name of a stock image (`witness`, `busybox`, `layers`), which is in this world's store from now on.
    #[track_caller]
    pub fn image<'a>(&self, name: &'a str) -> &'a str {
        let loaded = self.dir.join(format!("tmp/.{name}"));
        if !loaded.exists() {
            self.load(name, &self.setup.archive(name));
            fs::write(&loaded, "").expect("our own directory");
        }
        name
    }

    #[track_caller]
    fn load(&self, name: &str, archive: &Path) {
        let output = self.podling([OsStr::new("load"), OsStr::new("-q"), OsStr::new("-i"), archive.as_os_str()]);
        assert_eq!(output.status, 0, "loading {name}: {output}");
    }

    /// `127.0.0.1:PORT` of the local registry, which this world's registries.conf lists as insecure from now on.
    pub fn registry(&self) -> String {
        let address = &self.setup.registry().address;
        self.trust_registry(address);
        address.clone()
    }

    /// Adds a registry that speaks plain HTTP to this world's registries.conf.
    pub fn trust_registry(&self, address: &str) {
        let path = self.dir.join("registries.conf");
        let before = fs::read_to_string(&path).unwrap_or_default();
        let entry = format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n");
        if !before.contains(&entry) {
            self.file("registries.conf", format!("{before}{entry}"));
        }
    }

    /// What differs from run to run becomes a word: `<world>`, `<id>`, `<time>`, `<port>`.
    pub fn redact(&self, text: &str) -> String {
        let text = text.replace(&*self.dir.to_string_lossy(), "<world>");
        let text = text.replace(&*self.setup.dir.to_string_lossy(), "<run>");
        redact_words(&text)
    }

    /// Compares text, redacted, with the snapshot of this name in `tests/main/snapshots` (root's and the user's are one).
    #[track_caller]
    pub fn snapshot(&self, name: &str, text: &str) {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, self.redact(text));
        });
    }

    /// Removes the containers, then insists that nothing is left.
    fn end(&self) {
        let names = leftovers::cgroup_names(self);
        let removed = self.podling(["rm", "--force", "--all", "--time", "0"]);
        let mut left = leftovers::find(self, &names);
        if removed.status != 0 {
            left.push(removed.to_string());
        }
        leftovers::remove(self);
        assert!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that failed says why by itself; what it left must still go.
        if std::thread::panicking() {
            leftovers::remove(self);
        }
    }
}

/// Ids, times and loopback ports, wherever they stand.
fn redact_words(text: &str) -> String {
    let mut redacted = String::new();
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-:.+".contains(c);
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        redacted.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let bytes = word.as_bytes();
        if bytes.len() >= 19 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':' {
            redacted.push_str("<time>");
        } else if let Some(port) = word.strip_prefix("127.0.0.1:") {
            let after = port.trim_start_matches(|c: char| c.is_ascii_digit());
            redacted.push_str("127.0.0.1:<port>");
            redacted.push_str(after);
        } else {
            let parts = word.split_inclusive([':', '.', '-', '+']).map(|part| {
                let hex = part.trim_end_matches([':', '.', '-', '+']);
                let is_id = matches!(hex.len(), 12 | 64) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if is_id { part.replace(hex, "<id>") } else { part.to_owned() }
            });
            redacted.extend(parts);
        }
        rest = &rest[end..];
    }
    redacted + rest
}

#[test]
fn what_differs_from_run_to_run_is_redacted() {
    let id = "0123456789ab";
    assert_eq!(redact_words(&format!("sha256:{id}, at 2026-11-23T18:48:15.1+00:00.")), "sha256:<id>, at <time>");
    assert_eq!(redact_words("127.0.0.1:40123/a: no"), "127.0.0.1:<port>/a: no");
    assert_eq!(redact_words("exit status 137"), "exit status 137");
}
