//! The witness: one static program that is the whole root file system of a test container, and says what it sees.
//!
//! `witness WHAT [ARGUMENT…]` prints stable lines, `name value`, or does one thing and ends. It uses the standard library
//! only and is compiled by the test set-up (`rustc -C target-feature=+crt-static`), so a container needs nothing else.

use std::ffi::{CString, c_char};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitCode, exit};
use std::sync::atomic::{AtomicI32, Ordering};
use std::{env, fs, thread};

unsafe extern "C" {
    fn raise(signal: i32) -> i32;
    fn syscall(number: i64, ...) -> i64;
    fn signal(signal: i32, handler: usize) -> usize;
    fn isatty(fd: i32) -> i32;
    fn ioctl(fd: i32, request: u64, argument: *mut u16) -> i32;
    fn write(fd: i32, bytes: *const u8, count: usize) -> isize;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut u8, size: usize) -> isize;
    fn _exit(status: i32) -> !;
}

const SIGTERM: i32 = 15;
const TIOCGWINSZ: u64 = 0x5413;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // Called by another name (a link, as busybox is), the name says what.
    let called = env::args().next().unwrap_or_default();
    let called = called.rsplit('/').next().unwrap_or_default();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if called != "witness" && !called.is_empty() {
        words.insert(0, called);
    }
    match words.as_slice() {
        [] | ["true"] => {}
        ["false"] => return ExitCode::FAILURE,
        // ------------------------------------------------------------------------ what it is
        ["caps"] => print_fields("/proc/self/status", &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]),
        ["security"] => print_fields("/proc/self/status", &["NoNewPrivs", "Seccomp", "Umask"]),
        ["ids"] => {
            print_fields("/proc/self/status", &["Uid", "Gid", "Groups"]);
            print_file("uid_map", "/proc/self/uid_map");
            print_file("gid_map", "/proc/self/gid_map");
        }
        ["status", names @ ..] => print_fields("/proc/self/status", names),
        ["namespaces"] => {
            for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
                let link = fs::read_link(format!("/proc/self/ns/{name}"));
                println!("{name} {}", link.map_or_else(|e| e.to_string(), |link| link.display().to_string()));
            }
        }
        ["mounts"] => {
            // target, type, options of the mount, propagation
            for line in read("/proc/self/mountinfo").lines() {
                let (before, after) = line.split_once(" - ").unwrap_or((line, ""));
                let fields: Vec<&str> = before.split(' ').collect();
                let shared = fields.get(6).copied().filter(|tag| !tag.is_empty()).unwrap_or("private");
                let kind = after.split(' ').next().unwrap_or("");
                println!("{} {kind} {} {}", fields[4], fields[5], shared.split(':').next().unwrap_or(""));
            }
        }
        ["cgroup"] => print!("{}", read("/proc/self/cgroup")),
        ["limits"] => print!("{}", read("/proc/self/limits")),
        ["env"] => env::vars_os().for_each(|(name, value)| println!("{}={}", name.display(), value.display())),
        ["cwd"] => println!("{}", env::current_dir().map_or_else(|e| e.to_string(), |dir| dir.display().to_string())),
        ["args", rest @ ..] => rest.iter().for_each(|word| println!("{word}")),
        ["hostname"] => print!("{}", read("/proc/sys/kernel/hostname")),
        ["pid"] => println!("{}", std::process::id()),
        ["fds"] => {
            // Reading the directory opens one more, the last.
            let mut fds: Vec<(u32, String)> = fs::read_dir("/proc/self/fd")
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|fd| {
                    let target = fs::read_link(fd.path()).ok()?.display().to_string();
                    Some((fd.file_name().to_str()?.parse().ok()?, target))
                })
                .filter(|(_, target)| !target.ends_with("/fd"))
                .collect();
            fds.sort();
            for (fd, target) in fds {
                println!("{fd} {}", target.split(':').next().unwrap_or(""));
            }
        }
        ["tty"] => {
            let is = |fd| if unsafe { isatty(fd) } == 1 { "terminal" } else { "no terminal" };
            println!("stdin {}\nstdout {}\nstderr {}", is(0), is(1), is(2));
        }
        ["size"] => {
            let mut size = [0_u16; 4];
            unsafe { ioctl(0, TIOCGWINSZ, size.as_mut_ptr()) };
            println!("{} {}", size[0], size[1]);
        }
        ["interfaces"] => {
            let mut names: Vec<_> = fs::read_dir("/sys/class/net")
                .map(|dir| dir.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
                .unwrap_or_else(|_| {
                    let lines = read("/proc/net/dev");
                    lines.lines().skip(2).filter_map(|l| l.split(':').next()).map(|n| n.trim().to_owned()).collect()
                });
            names.sort();
            names.iter().for_each(|name| println!("{name}"));
        }
        // ---------------------------------------------------------------------------- files
        ["ls", path] => {
            let mut names: Vec<_> = match fs::read_dir(path) {
                Ok(dir) => dir.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
                Err(error) => return complain(path, &error),
            };
            names.sort();
            names.iter().for_each(|name| println!("{name}"));
        }
        ["stat", paths @ ..] => {
            use std::os::unix::fs::MetadataExt;
            for path in paths {
                match fs::symlink_metadata(path) {
                    Ok(meta) => println!("{path} {:o} {}:{} {}", meta.mode(), meta.uid(), meta.gid(), meta.len()),
                    Err(error) => return complain(path, &error),
                }
            }
        }
        // One extended attribute, in hexadecimal digits.
        ["attribute", path, name] => {
            let (file, name) = (CString::new(*path).unwrap_or_default(), CString::new(*name).unwrap_or_default());
            let mut value = [0; 256];
            let length = unsafe { lgetxattr(file.as_ptr(), name.as_ptr(), value.as_mut_ptr(), value.len()) };
            let Ok(length) = usize::try_from(length) else { return complain(path, &std::io::Error::last_os_error()) };
            println!("{}", value[..length].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        ["cat"] => {
            let mut text = Vec::new();
            let _ = std::io::stdin().read_to_end(&mut text);
            let _ = std::io::stdout().write_all(&text);
        }
        ["cat", paths @ ..] => {
            for path in paths {
                match fs::read(path) {
                    Ok(bytes) => drop(std::io::stdout().write_all(&bytes)),
                    Err(error) => return complain(path, &error),
                }
            }
        }
        ["write", path, text] => {
            if let Err(error) = fs::write(path, text) {
                return complain(path, &error);
            }
        }
        ["rm", path] => {
            if let Err(error) = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)) {
                return complain(path, &error);
            }
        }
        // -------------------------------------------------------------------- deeds and ends
        ["echo", rest @ ..] => println!("{}", rest.join(" ")),
        ["complain", rest @ ..] => eprintln!("{}", rest.join(" ")),
        ["exit", status] => exit(status.parse().unwrap_or(99)),
        // A system call with up to three numbers; nothing that is tried does harm if the kernel lets it through.
        ["syscall", number, numbers @ ..] => {
            let mut all = [0_u64; 4];
            for (place, word) in all.iter_mut().zip([number].into_iter().chain(numbers)) {
                *place = word.parse().unwrap_or(u64::MAX);
            }
            let answer = unsafe { syscall(all[0] as i64, all[1], all[2], all[3]) };
            let error = std::io::Error::last_os_error();
            println!("{}", if answer == -1 { error.raw_os_error().unwrap_or(0) } else { 0 });
        }
        // ioprio_get(2) of this process: class << 13 | level.
        ["disk-priority"] => println!("{}", unsafe { syscall(if cfg!(target_arch = "aarch64") { 31 } else { 252 }, 1, 0) }),
        ["signal", number] => drop(unsafe { raise(number.parse().unwrap_or(0)) }),
        ["lines", count] => (1..=count.parse().unwrap_or(0)).for_each(|n: u64| println!("line {n}")),
        ["bytes", count] => drop(std::io::stdout().write_all(&vec![b'x'; count.parse().unwrap_or(0)])),
        // As pid 1 it takes no signal it has no handler for: only a kill ends it.
        ["sleep-forever", ..] => {
            println!("ready");
            loop {
                thread::park();
            }
        }
        // Ends with this status (0 if none is given) when asked to.
        ["until-term", status @ ..] => {
            static STATUS: AtomicI32 = AtomicI32::new(0);
            extern "C" fn end(_: i32) {
                unsafe {
                    write(1, c"asked to end\n".as_ptr().cast(), 13);
                    _exit(STATUS.load(Ordering::Relaxed))
                }
            }
            STATUS.store(status.first().map_or(0, |status| status.parse().expect("a status")), Ordering::Relaxed);
            unsafe { signal(SIGTERM, end as *const () as usize) };
            println!("ready");
            loop {
                thread::park();
            }
        }
        // Attackers, until they are killed. Two names change places, each for the other, as fast as the kernel can do it.
        ["exchange", one, other] => {
            let number = if cfg!(target_arch = "aarch64") { 276 } else { 316 }; // renameat2(2)
            let (one, other) = (c_string(one), c_string(other));
            println!("ready");
            loop {
                unsafe { syscall(number, -100_i64, one.as_ptr(), -100_i64, other.as_ptr(), 2_i64) }; // RENAME_EXCHANGE
            }
        }
        // A link is there, and is not, and is.
        ["flicker", link, target] => {
            println!("ready");
            loop {
                let _ = std::os::unix::fs::symlink(target, link);
                let _ = fs::remove_file(link);
            }
        }
        // Uses all the processor it can get.
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        // Has children: what `top`, `kill --all` and pids limits are tried on.
        ["family", count] => {
            for _ in 0..count.parse().unwrap_or(0) {
                let me = env::current_exe().unwrap_or_else(|_| "/witness".into());
                if let Err(error) = Command::new(me).arg0("witness").arg("sleep-forever").spawn() {
                    return complain("spawn", &error);
                }
            }
            println!("ready");
            loop {
                thread::park();
            }
        }
        // Uses memory, a mebibyte at a time, saying so.
        ["eat", mebibytes, rest @ ..] => {
            let mut eaten = Vec::new();
            for n in 1..=mebibytes.parse().unwrap_or(0) {
                eaten.push(vec![n as u8; 1 << 20]);
                println!("{n}");
            }
            while rest == ["and-stay"] {
                thread::park();
            }
        }
        // Tells whoever listens at $NOTIFY_SOCKET, as a service tells systemd.
        ["notify", word] => {
            let socket = env::var("NOTIFY_SOCKET").unwrap_or_default();
            let sent = UnixDatagram::unbound().and_then(|ours| ours.send_to(word.as_bytes(), &socket));
            if let Err(error) = sent {
                return complain(&socket, &error);
            }
        }
        // ---------------------------------------------------------------------------- network
        ["serve", port] => match TcpListener::bind(format!("[::]:{port}")).or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}"))) {
            Ok(listener) => {
                println!("ready");
                for mut stream in listener.incoming().flatten() {
                    let peer = stream.peer_addr().map_or_else(|e| e.to_string(), |peer| peer.ip().to_string());
                    let _ = writeln!(stream, "hello {peer}");
                }
            }
            Err(error) => return complain(port, &error),
        },
        ["connect", address] => match TcpStream::connect(address) {
            Ok(mut stream) => {
                let mut text = String::new();
                let _ = stream.read_to_string(&mut text);
                print!("{text}");
            }
            Err(error) => return complain(address, &error),
        },
        other => {
            eprintln!("witness: what is {other:?}?");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

use std::os::unix::process::CommandExt;

fn c_string(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).expect("an argument has no zero byte")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("{path}: {error}\n"))
}

fn print_fields(path: &str, names: &[&str]) {
    for line in read(path).lines() {
        if let Some((name, value)) = line.split_once(':').filter(|(name, _)| names.contains(name)) {
            println!("{name} {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
}

fn print_file(name: &str, path: &str) {
    for line in read(path).lines() {
        println!("{name} {}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

fn complain(what: &str, error: &std::io::Error) -> ExitCode {
    eprintln!("{what}: {error}");
    ExitCode::FAILURE
}
