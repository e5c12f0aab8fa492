//! What a world may leave when it ends: nothing. Four kinds are looked for: processes, mounts, cgroups, files.
//!
//! The subtlety is whose a process is. Ours carry a mark in their environment, from the test through podling and the monitor
//! to the runtime; a container's own processes have another environment, but their root is an overlay of this world.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::running::{until, until_gone};
use crate::world::World;

/// The variable whose value is the world's directory.
pub const MARK: &str = "PODLING_TEST_WORLD";

/// By what this world's cgroups are known: the ids of the containers that there are and, from the log of events, of those
/// that there were (`--rm`), and the tag of those that were made without the engine.
pub fn cgroup_names(world: &World) -> Vec<String> {
    let mut names = names_in(&world.data().join("containers"));
    let events = fs::read_to_string(world.data().join("events")).unwrap_or_default();
    let events = events.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_containers = events.filter(|event| event["Type"] == "container");
    names.extend(of_containers.filter_map(|event| Some(event["ID"].as_str()?.to_owned())));
    names.push(world.tag());
    names.sort();
    names.dedup();
    names
}

/// One line for each thing that is left. `names`: the [`cgroup_names`] before the world was tidied; a command that was
/// killed has not told of its container in the log of events.
pub fn find(world: &World, names: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    // A monitor leaves a moment after the command that was waiting for its container: give it that moment.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let mut processes = processes_of(world);
    while !processes.is_empty() && std::time::Instant::now() < deadline {
        let _ = nix::poll::poll(&mut [], 5_u8);
        processes = processes_of(world);
    }
    left.extend(processes.into_iter().map(|(pid, command)| format!("process {pid}: {command}")));
    left.extend(mounts_of(world).into_iter().map(|target| format!("mount: {target}")));
    left.extend(cgroups_of(&[names, &cgroup_names(world)].concat()).into_iter().map(|path| format!("cgroup: {path}")));
    let places = ["containers", "partial", "names"].map(|sub| world.data().join(sub));
    let running = [world.run_dir().join("containers"), world.run_dir().join("runtime"), world.dir.join("run/runtime")];
    for place in places.iter().chain(&running) {
        left.extend(names_in(place).into_iter().map(|name| format!("file: {}/{name}", place.display())));
    }
    let temporary = names_in(&world.dir.join("tmp")).into_iter().filter(|name| !name.starts_with('.'));
    left.extend(temporary.map(|name| format!("temporary file: {name}")));
    left
}

/// One line for each thing that there is of a world, whether it should be or not: processes and what they have mounted,
/// cgroups, locks that are held, files, and of files that never change how long they are.
pub fn all(world: &World, names: &[String]) -> Vec<String> {
    let processes = processes_of(world);
    let mut all = Vec::new();
    for (pid, command) in &processes {
        all.push(format!("process {pid}: {command}"));
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let targets = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let here = targets.filter(|target| Path::new(target).starts_with(&world.dir));
        all.extend(here.map(|target| format!("mount of process {pid}: {target}")));
    }
    all.extend(mounts_of(world).into_iter().map(|target| format!("mount: {target}")));
    all.extend(cgroups_of(&[names, &cgroup_names(world)].concat()).into_iter().map(|path| format!("cgroup: {path}")));
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut to_see = vec![world.dir.clone()];
    while let Some(dir) = to_see.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let Ok(about) = entry.metadata() else { continue };
            let is_own = dir == world.dir.join("tmp") && name.starts_with('.');
            // A doubt about a layer is lifted after a minute; a lock's file comes when two first want the same name.
            let comes_and_goes = dir.ends_with("layers") && name.starts_with("new-") || name == "names.lock";
            if is_own || comes_and_goes || path == world.data().join("events") {
                continue;
            }
            let inode = format!(":{} ", about.ino());
            all.extend(locks.lines().filter(|line| line.contains(&inode)).map(|_| format!("lock: {}", path.display())));
            let shown = path.strip_prefix(&world.dir).unwrap_or(&path).display();
            let fixed = ["blobs", "layers", "upper", "_data"].iter().any(|part| path.iter().any(|it| it == *part));
            let size = if fixed && about.is_file() { format!(" {}", about.len()) } else { String::new() };
            all.push(format!("file: {shown}{size}"));
            if about.is_dir() {
                to_see.push(path);
            }
        }
    }
    all
}

/// The processes that have the root file system of this container and are its own: its first process, too, once it is the
/// program and no longer the runtime.
pub fn programs_of(id: &str) -> Vec<i32> {
    let layer = format!("containers/{id}/upper");
    let pids = names_in(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
    pids.filter(|pid| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
        // A monitor sees it mounted, but not at its root.
        let command = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let runtime = || String::from_utf8_lossy(&command()).contains("runtime");
        root.is_some_and(|line| line.contains(&layer)) && !command().is_empty() && !runtime()
    })
    .collect()
}

/// Kills, unmounts and deletes whatever is there. The files of a user's containers belong to subordinate ids, so where we
/// are not root this needs the user namespace that podling itself makes.
pub fn remove(world: &World) {
    for (pid, _) in processes_of(world) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        until_gone(pid);
    }
    // Killing a monitor makes its container an orphan; it dies with its pid namespace, but not before it is seen.
    until("all processes are gone", || {
        let left = processes_of(world);
        for (pid, _) in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        left.is_empty().then_some(())
    });
    for target in mounts_of(world).iter().rev() {
        let _ = umount2(target.as_str(), MntFlags::MNT_DETACH);
    }
    if fs::remove_dir_all(&world.dir).is_err() && world.dir.exists() {
        let _ = world.podling(["unshare", "rm", "-rf", &*world.dir.to_string_lossy()]);
        let _ = fs::remove_dir_all(&world.dir);
    }
}

fn processes_of(world: &World) -> Vec<(i32, String)> {
    let mark = world.dir.to_string_lossy();
    let belongs = |pid: i32| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let names = |file: &str, end: &str| {
            let wanted = format!("{mark}{end}");
            read(file).windows(wanted.len()).any(|window| window == wanted.as_bytes())
        };
        // A zombie has no memory and so no environment: it is its parent's business.
        names("environ", "\0") || names("cmdline", "/") || (pid > 1 && names_root(pid, &mark))
    };
    let pids = names_in(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
    let ours = pids.filter(|pid| *pid != std::process::id() as i32 && belongs(*pid));
    ours.map(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, String::from_utf8_lossy(&command).replace('\0', " "))
    })
    .collect()
}

/// Whether the file system at this process's root lies in the world: the first mount of its mountinfo at `/`.
fn names_root(pid: i32, mark: &str) -> bool {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4) == Some("/") && line.contains(&format!("{mark}/")))
}

fn mounts_of(world: &World) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let targets = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    targets.filter(|target| Path::new(target).starts_with(&world.dir)).map(str::to_owned).collect()
}

/// Cgroups below any hierarchy whose name holds one of these.
fn cgroups_of(names: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut to_see = vec![Path::new("/sys/fs/cgroup").to_path_buf()];
    while let Some(dir) = to_see.pop() {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if names.iter().any(|name| entry.file_name().to_string_lossy().contains(name.as_str())) {
                found.push(entry.path().display().to_string());
            }
            to_see.push(entry.path());
        }
    }
    found
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
