//! What all tests of one run share, made once by whichever test comes first: an ordinary user, copies of the programs
//! that he may execute, a private mount namespace, and (when a test asks) image archives and a local registry.
//!
//! The subtlety is the end. A test harness has no last word, so the clean-up is done by a janitor: a shell that reads
//! from a pipe of ours and acts when the kernel closes it, however this program ended.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::exercises::Prepared;
use crate::images;

/// Who the tests of this run can be, and where they find what they share.
pub struct Setup {
    /// `/tmp/podling-test-…`: everything of this run is below.
    pub dir: PathBuf,
    /// The ordinary user: found or made by root, or whoever runs the tests.
    pub user: User,
    /// Tests started by root can play root; others cannot.
    pub is_root: bool,
    janitor: Mutex<ChildStdin>,
    registry: OnceLock<Registry>,
    chapters: OnceLock<()>,
    exercises: OnceLock<Prepared>,
}

/// An account with subordinate ids.
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
}

/// The programs under test, each beside the others as they are when installed.
const PROGRAMS: [(&str, &str); 3] = [
    ("podling", env!("CARGO_BIN_EXE_podling")),
    ("podling-monitor", env!("CARGO_BIN_EXE_podling-monitor")),
    ("podling-runtime", env!("CARGO_BIN_EXE_podling-runtime")),
];

/// The account that root makes for the rootless half.
const USER: &str = "podling-test";

/// Where the programs and the witness lie ready, if not where cargo built them: this test program was carried into a
/// virtual machine, where there is no compiler.
pub fn elsewhere() -> Option<PathBuf> {
    std::env::var_os("PODLING_TEST_PROGRAMS").map(PathBuf::from)
}

/// This run's set-up, made now if nobody has asked before.
pub fn setup() -> &'static Setup {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    SETUP.get_or_init(Setup::make)
}

impl Setup {
    fn make() -> Self {
        // Whoever started us may have leaked descriptors; none may reach a container.
        podling::sys::close_on_exec_from(3).expect("close_range marks descriptors");
        let is_root = nix::unistd::geteuid().is_root();
        let dir = std::env::temp_dir().join(format!("podling-test-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for sub in ["", "bin", "images", "worlds"] {
            make_directory(&dir.join(sub));
        }
        let janitor = hire_janitor(&dir);
        let user = if is_root { ordinary_user() } else { myself() };
        for (name, built) in PROGRAMS {
            let ready = elsewhere().map(|elsewhere| elsewhere.join(name));
            copy_program(&ready.unwrap_or_else(|| built.into()), &dir.join("bin").join(name));
        }
        copy_program(&images::witness_program(), &dir.join("bin/witness"));
        Self {
            dir,
            user,
            is_root,
            janitor: Mutex::new(janitor),
            registry: OnceLock::new(),
            chapters: OnceLock::new(),
            exercises: OnceLock::new(),
        }
    }

    pub fn bin(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// A program of the book, beside the others. Cargo builds only the tests' own package with them, so the first test that
    /// asks has all the chapters built (or found up to date) now.
    pub fn chapter(&self, name: &str) -> PathBuf {
        self.chapters.get_or_init(|| {
            for program in elsewhere().map_or_else(build_chapters, |elsewhere| chapters_in(&elsewhere)) {
                copy_program(&program, &self.bin(&program.file_name().expect("a program").to_string_lossy()));
            }
        });
        self.bin(name)
    }

    /// The exercises, with podling-learn among the programs; compiled when the first test asks.
    pub fn exercises(&self) -> &Prepared {
        self.exercises.get_or_init(|| Prepared::make(self))
    }

    /// An archive (OCI layout in a tar) of one of the stock images, for `podling load`.
    pub fn archive(&self, image: &str) -> PathBuf {
        static MAKING: Mutex<()> = Mutex::new(());
        let _one = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let archive = self.dir.join("images").join(format!("{image}.tar"));
        if !archive.exists() {
            images::stock(image).write_archive(&archive, &format!("localhost/{image}:latest"));
        }
        archive
    }

    /// The local registry, filled with the stock images by skopeo: `127.0.0.1:PORT`, plain HTTP.
    pub fn registry(&self) -> &Registry {
        self.registry.get_or_init(|| Registry::start(self))
    }

    /// Tells the janitor to end this process too when we are gone.
    pub fn ends_with_us(&self, child: &Child) {
        let mut janitor = self.janitor.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        writeln!(janitor, "{}", child.id()).expect("the janitor reads");
    }
}

/// Tests may be started with any umask; the ordinary user must get through.
pub fn make_directory(path: &Path) {
    fs::create_dir_all(path).unwrap_or_else(|e| panic!("making {}: {e}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own directory");
}

pub fn copy_program(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|e| panic!("copying {}: {e}", from.display()));
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("our own file");
}

pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Where cargo builds: our own programs are in its `debug`.
pub fn target_directory() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_podling"));
    program.ancestors().nth(2).expect("TARGET/debug/podling").to_owned()
}

pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("running {command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

fn build_chapters() -> Vec<PathBuf> {
    let output = Command::new(cargo())
        .args(["build", "--package=chapters", "--bins", "--all-features", "--message-format=json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "building the chapters");
    let messages = String::from_utf8_lossy(&output.stdout);
    let message = |line| serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
    messages.lines().filter_map(|line| Some(PathBuf::from(message(line)["executable"].as_str()?))).collect()
}

fn chapters_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("where the programs lie").map(|entry| entry.expect("readable").path());
    entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("chapter"))).collect()
}

/// Reads pids, a line each; at the end of the file kills them and removes the run's directory.
#[allow(clippy::zombie_processes)] // it outlives us
fn hire_janitor(dir: &Path) -> ChildStdin {
    let work = r#"trap "" INT TERM HUP; pids=; while read -r pid; do pids="$pids $pid"; done
                  [ -z "$pids" ] || kill -9 $pids; exec rm -rf --one-file-system "$1""#;
    let mut janitor = Command::new("/bin/sh")
        .args(["-c", work, "janitor"])
        .arg(dir)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // Ctrl-C ends the tests, not their clean-up
        .spawn()
        .expect("/bin/sh");
    janitor.stdin.take().expect("asked for a pipe")
}

fn myself() -> User {
    let uid = nix::unistd::getuid();
    let name = nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    User { uid: uid.as_raw(), gid: nix::unistd::getgid().as_raw(), name }
}

fn ordinary_user() -> User {
    if nix::unistd::User::from_name(USER).ok().flatten().is_none() {
        let made = Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", USER]).status();
        assert!(made.is_ok_and(|status| status.success()), "useradd {USER}");
    }
    let user = nix::unistd::User::from_name(USER).ok().flatten().expect("it was just made");
    // useradd of most distributions gives subordinate ids; where it does not, the range after everybody else's.
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        let ranges = text.lines().filter_map(|line| {
            let mut fields = line.split(':').skip(1).map(|field| field.parse::<u64>().ok());
            Some(fields.next()?? + fields.next()??)
        });
        let first = ranges.max().unwrap_or(0).max(100_000);
        if !text.lines().any(|line| line.starts_with(&format!("{USER}:"))) {
            let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            fs::write(file, format!("{text}{end}{USER}:{first}:65536\n")).expect("root writes subordinate ids");
        }
    }
    User { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name }
}

/// Takes the calling thread, and so every program it starts, into the run's own mount namespace: nothing that a test
/// mounts is seen by the machine, and /dev/net/tun is usable by the ordinary user even where the machine's is not.
///
/// A thread may have a mount namespace of its own once it shares no file system state (setns(2), EINVAL).
pub fn enter_private_mounts() {
    static NAMESPACE: Mutex<Option<fs::File>> = Mutex::new(None);
    let mut namespace = NAMESPACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(namespace) = &*namespace {
        unshare(CloneFlags::CLONE_FS).expect("a thread may stop sharing");
        return setns(namespace.as_fd(), CloneFlags::CLONE_NEWNS).expect("root may enter a namespace");
    }
    unshare(CloneFlags::CLONE_NEWNS).expect("root may make a namespace");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("making mounts private");
    let tun = Path::new("/dev/net/tun");
    if fs::metadata(tun).is_ok_and(|tun| tun.permissions().mode() & 0o6 != 0o6) {
        mount(Some("tmpfs"), "/dev/net", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("tmpfs on /dev/net");
        mknod(tun, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200)).expect("making tun");
        fs::set_permissions(tun, fs::Permissions::from_mode(0o666)).expect("our own node");
    }
    // crun refuses a tree of mixed cgroup versions; give it a pure one. Our own runtime takes either.
    let pure = std::env::var_os("PODLING_TEST_CGROUP2").is_some() || crate::second_opinion::other_runtime().is_some();
    if pure && !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        // The controllers of version 1 are mounted below; detaching the whole tree takes them along.
        umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).expect("root may unmount in its own namespace");
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none).expect("mounting cgroup2");
    }
    *namespace = Some(fs::File::open("/proc/thread-self/ns/mnt").expect("a thread's own namespace"));
}

/// What `openssl LINE` answers, in a directory.
pub fn openssl(directory: &Path, line: &str, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(line.split(' ')).current_dir(directory);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("openssl is installed (./test installs what the tests need)");
    // It need not read: some of its commands do not.
    let _ = child.stdin.take().expect("asked for a pipe").write_all(input);
    let output = child.wait_with_output().expect("our own child");
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// docker-registry on a free port of the loopback device.
pub struct Registry {
    /// `127.0.0.1:PORT`
    pub address: String,
}

impl Registry {
    fn start(setup: &Setup) -> Self {
        let registry = Self::open(setup, "registry", "", "");
        registry.fill(setup);
        registry
    }

    /// A second registry, empty, which knows one account: `podling`, password `secret`.
    pub fn with_password(setup: &Setup) -> Self {
        let name = Self::next("closed-registry");
        let auth = Self::account(setup, &name);
        Self::open(setup, &name, &auth, "")
    }

    /// The same, but it speaks TLS, with a certificate by an authority that nobody knows: `ca.crt` in the second value,
    /// a directory as `--cert-dir` wants it.
    pub fn with_password_and_tls(setup: &Setup) -> (Self, PathBuf) {
        let name = Self::next("tls-registry");
        let certs = setup.dir.join(format!("{name}-certs"));
        make_directory(&certs);
        let openssl = |line: &str| drop(openssl(&certs, line, b""));
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!("req -x509 {key} -keyout ca.secret -out ca.crt -days 2 -subj /CN=authority"));
        openssl(&format!("req {key} -keyout registry.secret -out registry.request -subj /CN=registry"));
        fs::write(certs.join("names"), "subjectAltName=IP:127.0.0.1").expect("our own directory");
        let signed = "-req -in registry.request -CA ca.crt -CAkey ca.secret -CAcreateserial -days 2 -extfile names";
        openssl(&format!("x509 {signed} -out registry.pem"));
        let dir = certs.display();
        let tls = format!(", tls: {{certificate: {dir}/registry.pem, key: {dir}/registry.secret}}");
        (Self::open(setup, &name, &Self::account(setup, &name), &tls), certs)
    }

    /// A registry that trusts whoever signs tokens with the key `token.secret` in the second value; they get them at `realm`.
    pub fn with_tokens(setup: &Setup, realm: &str) -> (Self, PathBuf) {
        let name = Self::next("token-registry");
        let keys = setup.dir.join(format!("{name}-keys"));
        make_directory(&keys);
        openssl(
            &keys,
            "req -x509 -newkey rsa:2048 -nodes -keyout token.secret -out token.crt -days 2 -subj /CN=x",
            b"",
        );
        let auth = format!(
            "auth: {{token: {{realm: '{realm}', service: tests, issuer: tests, rootcertbundle: {}/token.crt}}}}\n",
            keys.display()
        );
        (Self::open(setup, &name, &auth, ""), keys)
    }

    fn next(kind: &str) -> String {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        format!("{kind}-{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    /// The account, as docker-registry's configuration has it.
    fn account(setup: &Setup, name: &str) -> String {
        let passwords = setup.dir.join(format!("{name}.htpasswd"));
        fs::write(&passwords, "podling:$2y$05$9vD4aN6Ss/ad5IBZ2zBAF.M8RvI86nhK7yLnaFEXzY010KmPNdE1.\n")
            .expect("our own directory");
        format!("auth: {{htpasswd: {{realm: podling, path: {}}}}}\n", passwords.display())
    }

    #[allow(clippy::zombie_processes)] // the janitor ends it
    fn open(setup: &Setup, name: &str, extra: &str, http: &str) -> Self {
        let dir = setup.dir.join(name);
        make_directory(&dir);
        // The kernel picks a free port; docker-registry cannot be asked which one it got.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a loopback device").port();
        let address = format!("127.0.0.1:{port}");
        let config = setup.dir.join(format!("{name}.yml"));
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: '{address}'{http}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n{extra}",
            dir.display()
        );
        fs::write(&config, text).expect("our own directory");
        let log = fs::File::create(setup.dir.join(format!("{name}.log"))).expect("our own directory");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second descriptor"))
            .stderr(log)
            .spawn()
            .expect("docker-registry is installed (./test installs what the tests need)");
        setup.ends_with_us(&child);
        crate::running::until("docker-registry answers", || {
            let mut stream = TcpStream::connect(&address).ok()?;
            stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").ok()?;
            stream.read(&mut [0; 1]).ok().filter(|n| *n == 1)
        });
        Self { address }
    }

    /// Puts the stock images in: `witness`, `busybox`, `layers` (with whiteouts), each as OCI with gzip; and `witness` again
    /// as Docker schema 2 (`witness:docker`) and with zstd (`witness:zstd`); `witness:every` is an index of architectures.
    fn fill(&self, setup: &Setup) {
        let copies: [(&str, &str, &[&str]); 6] = [
            ("witness", "witness:latest", &[]),
            ("busybox", "busybox:latest", &[]),
            ("layers", "layers:latest", &[]),
            ("witness", "witness:docker", &["--format=v2s2"]),
            ("witness", "witness:zstd", &["--dest-compress-format=zstd", "--format=oci"]),
            ("every", "witness:every", &["--all"]),
        ];
        for (image, name, options) in copies {
            self.push(&setup.archive(image), name, options);
        }
    }

    /// Has skopeo copy an archive into this registry as `name`.
    pub fn push(&self, archive: &Path, name: &str, options: &[&str]) {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .args(options)
            .arg(format!("oci-archive:{}", archive.display()))
            .arg(format!("docker://{}/{name}", self.address))
            .stdin(Stdio::null())
            .output()
            .expect("skopeo is installed (./test installs what the tests need)");
        assert!(output.status.success(), "skopeo copy … {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Gives a file or directory to the ordinary user.
pub fn give_to_user(path: &Path) {
    let setup = setup();
    if setup.is_root {
        chown(path, Some(setup.user.uid), Some(setup.user.gid)).expect("root may give files away");
    }
}
