//! pasta(1): packets of a network namespace become ordinary sockets of an ordinary process.
//!
//! pasta opens a tap device in the container's network namespace, gives it the host's own address and route, reads
//! every packet the container sends, and does what it says with its own sockets. No bridge, no firewall rule, no
//! privilege; a port is published because pasta listens on it.
//!
//! Two subtleties. **How it finds the namespace**: it may not open /proc/PID/ns/net of a process that has more
//! capabilities than it keeps for itself. So we open the namespace and give it to pasta as standard input; the path it
//! is told, `netns` in the container's directory, is a symlink to /proc/self/fd/0. **How it ends**: pasta holds the
//! namespace open, so the namespace does not end by itself; but pasta watches the *name* it was told, and leaves when the
//! name is removed. Removing the symlink is all the clean-up there is.
//!
//! Its early version (Debian 12's, March 2023) knows no `--map-guest-addr` and does nothing without a default route;
//! what it knows is read from its `--help`, once, and kept in `$RUN/pasta`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::poll::PollTimeout;

use crate::engine::container::{Container, Process, read_json};
use crate::engine::failure::Failure;
use crate::engine::settings::{PortMapping, Protocol};
use crate::engine::store::write_whole;
use crate::engine::{Engine, Owner, in_path};
use crate::linux::process;
use crate::trace::{self, Topic};

/// Where a container asks for names: pasta passes what is sent there on to the host's own resolver, even one that listens
/// on the host's loopback. Podman's choice.
pub const FORWARDER: &str = "169.254.1.1";
/// Where a container finds its host: pasta sends what goes there to the host's own address. Podman's choice.
pub const HOST: &str = "169.254.1.2";

/// The program, and what it can do.
#[derive(Debug, Clone)]
pub struct Pasta {
    program: PathBuf,
    /// Not the early version: `--map-guest-addr`, and a container network without a default route.
    pub current: bool,
}

impl Pasta {
    /// Finds pasta in $PATH, and what it can do. `run` is where that is remembered.
    pub fn find(run: &Path) -> Result<Self> {
        let program = in_path("pasta").with_context(|| {
            Failure::Start(
                "pasta is not installed (install the package passt; or use --network none, or --network host)".into(),
            )
        })?;
        let about = fs::metadata(&program)?;
        let stamp = format!("{} {} {}", program.display(), about.mtime(), about.size());
        let memory = run.join("pasta");
        if let Ok(known) = fs::read_to_string(&memory)
            && let Some((version, known)) = known.split_once(' ')
            && known == stamp
        {
            return Ok(Self { program, current: version == "current" });
        }
        let help =
            Command::new(&program).arg("--help").stdin(Stdio::null()).output().context("running pasta --help")?;
        let knows = |option: &[u8]| {
            [&help.stdout, &help.stderr].iter().any(|text| text.windows(option.len()).any(|at| at == option))
        };
        if !knows(b"--netns") {
            let said = String::from_utf8_lossy(&help.stderr);
            bail!(Failure::Start(format!("{} does not run: {}", program.display(), complaint(&said))));
        }
        let current = knows(b"--map-guest-addr");
        let version = if current { "current" } else { "early" };
        write_whole(&memory, format!("{version} {stamp}").as_bytes())?;
        Ok(Self { program, current })
    }

    /// Whether pasta can work on this host, and if not, why and what would cure it.
    pub fn check_host(&self) -> Result<()> {
        check_tun()?;
        if !self.current && !has_default_route() {
            bail!(Failure::Start(
                "this pasta (an early version) needs a default route on the host, and there is none: connect the host, \
                 install a newer passt, or use --network none"
                    .into()
            ));
        }
        Ok(())
    }

    /// The words after the program's name.
    fn arguments(&self, owner: Owner, options: &[String], ports: &[PortMapping], netns: &Path) -> Vec<String> {
        let mut words: Vec<String> = vec!["--config-net".into(), "--quiet".into()];
        if owner == Owner::Root {
            // Else it becomes nobody, who may not open the namespace. It drops its capabilities by itself.
            words.extend(["--runas".into(), "0:0".into()]);
        }
        words.extend(["--dns-forward".into(), FORWARDER.into()]);
        if self.current {
            words.extend(["--map-guest-addr".into(), HOST.into()]);
        }
        let given = |names: [&str; 2]| options.iter().any(|option| names.contains(&option.as_str()));
        // Without this, the gateway's address would lead to the host's loopback, where services trust their callers.
        if !given(["--map-gw", "--no-map-gw"]) {
            words.push("--no-map-gw".into());
        }
        let mut published = [("-t", "--tcp-ports", Protocol::Tcp), ("-u", "--udp-ports", Protocol::Udp)]
            .into_iter()
            .flat_map(|(short, long, protocol)| {
                let mut words: Vec<String> = ports
                    .iter()
                    .filter(|mapping| mapping.protocol == protocol)
                    .flat_map(|mapping| [short.into(), specification(mapping)])
                    .collect();
                if words.is_empty() && !given([short, long]) {
                    words.extend([short.into(), "none".into()]);
                }
                words
            })
            .collect();
        words.append(&mut published);
        for [short, long] in [["-T", "--tcp-ns"], ["-U", "--udp-ns"]] {
            if !given([short, long]) {
                words.extend([short.into(), "none".into()]);
            }
        }
        words.extend(options.iter().filter(|option| *option != "--map-gw").cloned());
        words.extend(["--pid".into(), "/dev/stdout".into(), "--netns".into(), netns.to_string_lossy().into_owned()]);
        words
    }

    /// Connects the network namespace of process `pid`; when it returns, addresses and routes are set and the ports are
    /// listened on.
    pub fn start(&self, engine: &Engine, container: &Container, options: &[String], pid: i32) -> Result<()> {
        let path = format!("/proc/{pid}/ns/net");
        let namespace = File::open(&path).with_context(|| format!("opening {path}"))?;
        let netns = container.run.join("netns");
        remove(&netns)?;
        std::os::unix::fs::symlink("/proc/self/fd/0", &netns).with_context(|| format!("making {}", netns.display()))?;
        let words = self.arguments(engine.owner, options, &container.config.ports, &netns);
        let mut pasta = trace::ask(Topic::Network, "pasta", format_args!("{}", words.join(" ")), || {
            Command::new(&self.program)
                .args(&words)
                .stdin(Stdio::from(namespace))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        })
        .context("starting pasta")?;
        // Its first self ends when its second is ready. Some versions of that one keep our pipes, which so have no end.
        let status = pasta.wait().context("waiting for pasta")?;
        trace::point("pasta ready");
        if !status.success() {
            remove(&netns)?;
            check_tun()?;
            let mut said = String::new();
            if let Some(mut stderr) = pasta.stderr.take() {
                stderr.read_to_string(&mut said)?;
            }
            if said.contains("routable interface") || said.contains("External interface") {
                self.check_host()?;
            }
            bail!(Failure::Start(format!("pasta: {}", complaint(&said))));
        }
        // The pid of the second is the one line it said.
        let mut line = String::new();
        if let Some(stdout) = pasta.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let daemon = line.trim().parse().ok().and_then(Process::of);
        if let Some(daemon) = daemon {
            write_whole(&container.run.join("pasta"), &serde_json::to_vec(&daemon)?)?;
        }
        Ok(())
    }
}

/// One published port or range, as pasta's `-t` and `-u` want it.
fn specification(mapping: &PortMapping) -> String {
    let span = |first: u16| {
        if mapping.range > 1 { format!("{first}-{}", first + (mapping.range - 1)) } else { first.to_string() }
    };
    let address = mapping.host_ip.map(|ip| format!("{ip}/")).unwrap_or_default();
    format!("{address}{}:{}", span(mapping.host_port), span(mapping.container_port))
}

/// What pasta said, without its lines about itself.
fn complaint(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Failed to send ") && !line.starts_with("Usage"))
        .filter(|line| !line.starts_with("No external routable interface"))
        .collect();
    if lines.is_empty() { "it ended without a word".into() } else { lines.join("; ") }
}

/// Whether a container's pasta listens on ports of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// On none.
    None,
    /// It may.
    Perhaps,
}

/// Ends the pasta of the container whose run is in `run`, if it has one; if it listens on ports of the host, waits until
/// they are free again. Else nobody needs to wait: taking the tap device down costs the kernel tens of milliseconds.
pub fn stop(run: &Path, ports: Ports) -> Result<()> {
    remove(&run.join("netns"))?;
    let memory = run.join("pasta");
    let Ok(content) = fs::read(&memory) else { return Ok(()) };
    if let Ok(daemon) = serde_json::from_slice::<Process>(&content)
        && let Some(process) = process::Process::find(nix::unistd::Pid::from_raw(daemon.pid), daemon.start_time)?
    {
        if ports == Ports::None {
            let _ = process.signal(process::Signal::TERM);
        } else if !process.await_end(PollTimeout::from(1000u16))? {
            // It did not see the name go: file systems that tell no changes exist.
            let _ = process.signal(process::Signal::TERM);
            process.await_end(PollTimeout::from(1000u16))?;
        }
    }
    remove(&memory)
}

/// The pasta of the container whose run is in `run`, if one lives.
pub fn helper(run: &Path) -> Option<Process> {
    let daemon: Process = read_json(&run.join("pasta"))?;
    daemon.lives().then_some(daemon)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// pasta's tap device comes from here.
pub fn check_tun() -> Result<()> {
    let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") else { return Ok(()) };
    let cure = match error.kind() {
        ErrorKind::PermissionDenied => "sudo chmod 0666 /dev/net/tun",
        _ => "sudo modprobe tun",
    };
    let why = error.to_string();
    let why = why.split(" (os error").next().unwrap_or_default();
    bail!(Failure::Start(format!("pasta needs /dev/net/tun: {why} ({cure}; or use --network none)")))
}

/// Whether packets for anywhere have somewhere to go, in IPv4 or IPv6.
pub fn has_default_route() -> bool {
    let any = |file: &str, default: fn(&[&str]) -> bool| {
        let routes = fs::read_to_string(file).unwrap_or_default();
        routes.lines().any(|line| default(&line.split_ascii_whitespace().collect::<Vec<_>>()))
    };
    // Iface Destination Gateway Flags RefCnt Use Metric Mask …: flag 1 is "up".
    let four = |fields: &[&str]| fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
    // destination length source length next-hop metric refcnt use flags device; the kernel's own reject route is on lo.
    let six = |fields: &[&str]| {
        fields.first().is_some_and(|to| to.bytes().all(|digit| digit == b'0'))
            && fields.get(1) == Some(&"00")
            && fields.last() != Some(&"lo")
    };
    any("/proc/net/route", four) || any("/proc/net/ipv6_route", six)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(current: bool, options: &[&str], ports: &[PortMapping]) -> String {
        let pasta = Pasta { program: "pasta".into(), current };
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        pasta.arguments(Owner::User { uid: 1000, gid: 1000 }, &options, ports, Path::new("/run/netns")).join(" ")
    }

    #[test]
    fn nothing_of_the_host_is_open_to_the_container_unless_asked() {
        let here = std::net::Ipv4Addr::LOCALHOST.into();
        let web =
            PortMapping { host_ip: Some(here), host_port: 8080, container_port: 80, range: 2, protocol: Protocol::Tcp };
        let dns = PortMapping { host_ip: None, host_port: 53, container_port: 53, range: 1, protocol: Protocol::Udp };
        assert_eq!(
            words(false, &[], &[]),
            "--config-net --quiet --dns-forward 169.254.1.1 --no-map-gw -t none -u none -T none -U none \
             --pid /dev/stdout --netns /run/netns"
        );
        assert_eq!(
            words(true, &["--map-gw", "-T", "auto"], &[web, dns]),
            "--config-net --quiet --dns-forward 169.254.1.1 --map-guest-addr 169.254.1.2 \
             -t 127.0.0.1/8080-8081:80-81 -u 53:53 -U none -T auto --pid /dev/stdout --netns /run/netns"
        );
    }

    #[test]
    fn what_pasta_says_of_itself_is_left_out() {
        assert_eq!(complaint("Failed to send 3 bytes to syslog\nCouldn't open x\n"), "Couldn't open x");
    }
}
