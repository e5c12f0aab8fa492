//! What is mounted, and which devices are there.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::format::human::parse_size;
use crate::engine::request::{ContainerRequest, ImageVolumes, MountKind, MountRequest};
use crate::engine::settings::{Device, DeviceRule};

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
pub struct Files {
    /// Mount a directory, file or named volume; options: ro, rw, U, z, Z, rprivate … (repeatable)
    #[arg(long, short, value_name = "[SOURCE:]TARGET[:OPTIONS]", value_parser = volume)]
    volume: Vec<MountRequest>,
    /// Mount, said in full: type=bind|volume|tmpfs|image,source=…,target=…[,ro…] (repeatable)
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = mount)]
    mount: Vec<MountRequest>,
    /// Mount an empty file system in memory; options: size=, mode=, noexec … (repeatable)
    #[arg(long, value_name = "TARGET[:OPTIONS]", value_parser = tmpfs)]
    tmpfs: Vec<MountRequest>,
    /// Mount all volumes of another container (repeatable)
    #[arg(long, value_name = "CONTAINER[:OPTIONS]")]
    volumes_from: Vec<String>,
    /// What becomes of the volumes that the image wants: anonymous, tmpfs, ignore
    #[arg(long, value_name = "MODE", value_parser = image_volumes)]
    image_volume: Option<ImageVolumes>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// With --read-only, make /run, /tmp and /var/tmp writable, in memory
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    read_only_tmpfs: bool,
    /// Give it a device of this machine (repeatable)
    #[arg(long, value_name = "HOST[:CONTAINER][:rwm]", value_delimiter = ',', value_parser = device)]
    device: Vec<Device>,
    /// Let it use devices by number, such as 'c 10:200 rwm' (repeatable; root only)
    #[arg(long, value_name = "TYPE MAJOR:MINOR ACCESS", value_delimiter = ',', value_parser = device_rule)]
    device_cgroup_rule: Vec<DeviceRule>,
}

impl Files {
    pub fn ask(self, request: &mut ContainerRequest) {
        request.mounts = self.volume.into_iter().chain(self.mount).chain(self.tmpfs).collect();
        request.volumes_from = self.volumes_from;
        request.read_only = self.read_only;
        request.no_read_only_tmpfs = !self.read_only_tmpfs;
        request.image_volumes = self.image_volume.unwrap_or_default();
        request.devices = self.device;
        request.device_rules = self.device_cgroup_rule;
    }
}

/// `[SOURCE:]TARGET[:OPTIONS]`: a source that begins with `/`, `.` or `~` is a path, another is a volume's name.
fn volume(text: &str) -> Result<MountRequest, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err("too many colons: expected [SOURCE:]TARGET[:OPTIONS]".into()),
    };
    let target = inside(target)?;
    let kind = match source {
        None => MountKind::Volume { name: None },
        Some("") => return Err("the source is empty".into()),
        Some(path) if path.starts_with(['/', '.', '~']) => MountKind::Bind { source: host(path)?, create: false },
        Some(name) if is_name(name) => MountKind::Volume { name: Some(name.to_owned()) },
        Some(name) => {
            return Err(format!("{name:?} is no volume name (letters, digits, _ . -); a path begins with / or ./"));
        }
    };
    let mut mount = MountRequest { kind, target, options: Vec::new(), chown: false, copy: true };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "U" => mount.chown = true,
            "copy" => mount.copy = true,
            "nocopy" => mount.copy = false,
            // Labels of SELinux, which podling does not set; Docker's hint for a Mac.
            "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            _ if OPTIONS.contains(&option) => mount.options.push(option.to_owned()),
            "idmap" => mount.options.push(option.to_owned()),
            _ => return Err(format!("unknown option {option:?}")),
        }
    }
    agree(&mount.options)?;
    Ok(mount)
}

/// Options of a mount that the runtime understands.
const OPTIONS: &[&str] = &[
    "ro",
    "rw",
    "bind",
    "rbind",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
    "exec",
    "noexec",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "O",
];

/// Options that contradict each other.
fn agree(options: &[String]) -> Result<(), String> {
    for (one, other) in [("ro", "rw"), ("exec", "noexec"), ("dev", "nodev"), ("suid", "nosuid"), ("bind", "rbind")] {
        if options.iter().any(|option| option == one) && options.iter().any(|option| option == other) {
            return Err(format!("{one} and {other} contradict each other"));
        }
    }
    Ok(())
}

fn inside(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("the target {path:?} must be an absolute path"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("the target {path:?} must not hold .."));
    }
    Ok(path.to_owned())
}

/// A path of the host, from where we are.
fn host(path: &str) -> Result<PathBuf, String> {
    let path = match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    };
    std::path::absolute(path).map_err(|error| error.to_string())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
}

/// `type=…,source=…,target=…`; a value that holds a comma is quoted, as in CSV.
fn mount(text: &str) -> Result<MountRequest, String> {
    let mut kind = "volume".to_owned();
    let (mut source, mut target) = (None, None);
    let mut options: Vec<String> = Vec::new();
    let (mut chown, mut copy) = (false, true);
    let mut only = Vec::new();
    for field in fields(text)? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let given = || value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{key} needs a value"));
        let on = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("{key}={other}: expected true or false")),
        };
        match key {
            "type" => given()?.clone_into(&mut kind),
            "src" | "source" => source = Some(given()?.to_owned()),
            "dst" | "destination" | "target" => target = Some(inside(given()?)?),
            "ro" | "readonly" => options.push(if on()? { "ro" } else { "rw" }.to_owned()),
            "rw" | "readwrite" => options.push(if on()? { "rw" } else { "ro" }.to_owned()),
            "U" | "chown" => chown = on()?,
            "bind-propagation" => options.push(propagation(given()?)?),
            "bind-nonrecursive" => options.push(if on()? { "bind" } else { "rbind" }.to_owned()),
            "volume-nocopy" => copy = !on()?,
            "tmpfs-size" => {
                only.push((key.to_owned(), "tmpfs"));
                options.push(format!("size={}", parse_size(given()?).map_err(|why| format!("tmpfs-size: {why}"))?));
            }
            "tmpfs-mode" => {
                only.push((key.to_owned(), "tmpfs"));
                let mode = given()?;
                u32::from_str_radix(mode, 8).map_err(|_| format!("tmpfs-mode: {mode:?} is not octal"))?;
                options.push(format!("mode={mode}"));
            }
            "tmpcopyup" | "notmpcopyup" => options.push(key.to_owned()),
            "idmap" => options.push(field.clone()),
            "relabel" | "consistency" | "volume-driver" | "volume-opt" => {}
            _ if value.is_none() && OPTIONS.contains(&key) => options.push(key.to_owned()),
            _ => return Err(format!("unknown key {key:?}")),
        }
    }
    let target = target.ok_or("target= is missing")?;
    if let Some((key, _)) = only.iter().find(|(_, wanted)| *wanted != kind) {
        return Err(format!("{key} is not for type={kind}"));
    }
    agree(&options)?;
    let kind = match (kind.as_str(), source) {
        ("bind", Some(source)) => MountKind::Bind { source: host(&source)?, create: false },
        ("volume", Some(name)) if !is_name(&name) => return Err(format!("{name:?} is no volume name")),
        ("volume", name) => MountKind::Volume { name },
        ("tmpfs" | "ramfs" | "devpts" | "mqueue", Some(_)) => return Err(format!("type={kind} has no source")),
        ("tmpfs" | "ramfs", None) => MountKind::Tmpfs,
        ("devpts" | "mqueue", None) => MountKind::Special { kind },
        ("image", Some(name)) => MountKind::Image { name },
        ("bind" | "image", None) => return Err("source= is missing".into()),
        _ => return Err(format!("unknown type {kind:?}: expected bind, volume, tmpfs, image, devpts or mqueue")),
    };
    Ok(MountRequest { kind, target, options, chown, copy })
}

fn propagation(text: &str) -> Result<String, String> {
    let known = ["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"];
    if known.contains(&text) { Ok(text.to_owned()) } else { Err(format!("unknown bind-propagation {text:?}")) }
}

/// The fields of a line of CSV.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().ok_or("empty")?;
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => field.push(letter),
        }
    }
    if quoted {
        return Err("unterminated quote".into());
    }
    Ok(fields)
}

fn tmpfs(text: &str) -> Result<MountRequest, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let options: Vec<String> = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    for option in &options {
        let (key, _) = option.split_once('=').unwrap_or((option, ""));
        let known =
            ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "tmpcopyup", "notmpcopyup", "huge", "noatime"];
        if !known.contains(&key) && !OPTIONS.contains(&key) {
            return Err(format!("unknown option {option:?}"));
        }
    }
    agree(&options)?;
    Ok(MountRequest { kind: MountKind::Tmpfs, target: inside(target)?, options, chown: false, copy: true })
}

fn image_volumes(text: &str) -> Result<ImageVolumes, String> {
    match text {
        "anonymous" | "bind" | "" => Ok(ImageVolumes::Anonymous),
        "tmpfs" => Ok(ImageVolumes::Tmpfs),
        "ignore" => Ok(ImageVolumes::Ignore),
        _ => Err("expected anonymous, tmpfs or ignore".into()),
    }
}

/// `TYPE MAJOR:MINOR ACCESS`, where `*` is any number.
fn device_rule(text: &str) -> Result<DeviceRule, String> {
    let expected = "expected a rule such as 'c 10:200 rwm'";
    let [kind @ ("a" | "b" | "c"), numbers, access] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(expected.into());
    };
    let number = |text: &str| match text {
        "*" => Ok(None),
        number => number.parse::<u32>().map(|number| Some(number.into())).map_err(|_| expected.to_owned()),
    };
    let (major, minor) = numbers.split_once(':').ok_or(expected)?;
    if access.is_empty() || !access.chars().all(|letter| "rwm".contains(letter)) {
        return Err(format!("{access:?}: access is some of r, w, m"));
    }
    Ok(DeviceRule { kind: kind.into(), major: number(major)?, minor: number(minor)?, access: access.into() })
}

fn device(text: &str) -> Result<Device, String> {
    let parts: Vec<_> = text.split(':').collect();
    let is_access = |text: &str| !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter));
    let (host, container, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, container] => (host, container, "rwm"),
        [host, container, access] if is_access(access) => (host, container, access),
        [_, _, access] => return Err(format!("{access:?}: access is some of r, w, m")),
        _ => return Err("too many colons: expected HOST[:CONTAINER][:rwm]".into()),
    };
    if !host.starts_with('/') || !container.starts_with('/') {
        return Err("a device is an absolute path".into());
    }
    Ok(Device { host: host.into(), container: container.into(), access: access.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mount: Result<MountRequest, String>) -> String {
        let mount = mount.expect("a sound mount");
        let chown = if mount.chown { " U" } else { "" };
        let copy = if mount.copy { "" } else { " nocopy" };
        format!("{:?} {} [{}]{chown}{copy}", mount.kind, mount.target, mount.options.join(","))
    }

    #[test]
    fn volumes_are_read() {
        let lines =
            ["/a:/b", "/a:/b:ro,U", "name:/b:nocopy,z", "/b", "/a:/b:rshared,noexec"].map(|text| said(volume(text)));
        insta::assert_snapshot!(lines.join("\n"), @r#"
        Bind { source: "/a", create: false } /b []
        Bind { source: "/a", create: false } /b [ro] U
        Volume { name: Some("name") } /b [] nocopy
        Volume { name: None } /b []
        Bind { source: "/a", create: false } /b [rshared,noexec]
        "#);
    }

    #[test]
    fn mounts_are_read() {
        let lines = [
            "type=bind,src=/a,dst=/b,ro",
            "type=bind,source=/a,destination=/b,readonly=false,bind-propagation=rshared,U=true",
            "type=volume,source=v,target=/b",
            "target=/b",
            "type=tmpfs,dst=/b,tmpfs-size=64m,tmpfs-mode=1777,noexec",
            "type=image,source=alpine,dst=/b",
            "type=mqueue,dst=/dev/mqueue",
            "type=bind,\"src=/a,b\",dst=/b",
        ]
        .map(|text| said(mount(text)));
        insta::assert_snapshot!(lines.join("\n"), @r#"
        Bind { source: "/a", create: false } /b [ro]
        Bind { source: "/a", create: false } /b [rw,rshared] U
        Volume { name: Some("v") } /b []
        Volume { name: None } /b []
        Tmpfs /b [size=67108864,mode=1777,noexec]
        Image { name: "alpine" } /b []
        Special { kind: "mqueue" } /dev/mqueue []
        Bind { source: "/a,b", create: false } /b []
        "#);
    }

    #[test]
    fn devices_are_read() {
        let said =
            |text| device(text).map(|it| format!("{} {} {}", it.host.display(), it.container.display(), it.access));
        assert_eq!(said("/dev/null"), Ok("/dev/null /dev/null rwm".into()));
        assert_eq!(said("/dev/null:r"), Ok("/dev/null /dev/null r".into()));
        assert_eq!(said("/dev/null:/dev/zero:rw"), Ok("/dev/null /dev/zero rw".into()));
    }
}
