//! Directories that are missing, read-only, or somebody else's.

use std::ffi::OsStr;
use std::os::unix::fs::chown;

use super::{after, can_mount, directory, with_environment};
use crate::running::Output;
use crate::setup::setup;
use crate::world::{Who, World};

/// Mounts this world's store read-only.
fn read_only(world: &World) -> String {
    let store = world.data().display().to_string();
    format!("mount --bind {store} {store}; mount -o remount,bind,ro {store}")
}

/// One line that says what, and one with a cure that begins so.
#[track_caller]
fn refused(output: &Output, what: &str, cure: &str) {
    let lines: Vec<&str> = output.fails(125).lines().collect();
    assert!(lines.len() == 2 && lines[0] == format!("Error: {what}"), "{output}\nnot {what}");
    assert!(lines[1].starts_with(&format!("hint: {cure}")), "{output}");
}

const STORE_ELSEWHERE: &str = "name another place: podling --root DIR, or export PODLING_ROOT=DIR";

both!(a_read_only_store_can_be_looked_at, |world| {
    if !can_mount() {
        return;
    }
    let (image, other) = (world.image("witness"), world.image("layers"));
    world.podling(["create", "--network=none", "--name=keep", image]).ok();
    let read_only = read_only(world);
    for words in [&["ps", "-aq"][..], &["images", "-q"], &["inspect", "keep"], &["volume", "ls"], &["info"]] {
        assert_eq!(after(world, &read_only, "podling", words).fails(0), "");
    }
    let changes: [&[&str]; 6] = [
        &["run", "--network=none", image],
        &["start", "keep"],
        &["rmi", other],
        &["tag", image, "another"],
        &["volume", "create", "new"],
        &["rm", "keep"],
    ];
    for words in changes {
        let output = after(world, &read_only, "podling", words);
        assert!(output.status == 125 || output.status == 1, "{output}");
        assert!(output.stderr.starts_with("Error: ") && output.stderr.lines().count() == 1, "{output}");
        assert!(output.stderr.contains(": Read-only file system"), "{output}");
    }
    world.podling(["start", "-a", "keep"]).ok();
});

as_user!(a_home_that_is_read_only_is_said_with_the_way_out, |world| {
    if !can_mount() {
        return;
    }
    let store = world.data().display().to_string();
    let script = "mount -t tmpfs -o ro tmpfs $WORLD/home";
    let output = after(world, script, "podling", &["ps"]);
    refused(&output, &format!("making {store}: Read-only file system"), STORE_ELSEWHERE);
    // The way out is one.
    let elsewhere = world.directory("elsewhere").display().to_string();
    after(world, script, "podling", &["--root", &elsewhere, "ps"]).ok();
});

as_user!(a_store_or_run_directory_of_somebody_else_is_not_used, |world| {
    if !can_mount() {
        return;
    }
    directory(&world.data(), 0o755);
    let output = world.podling(["ps"]);
    let what = format!("{} belongs to another user (root, uid 0)", world.data().display());
    refused(&output, &what, STORE_ELSEWHERE);
    chown(world.data(), Some(setup().user.uid), None).expect("root gives away");

    let (open, closed) = (world.dir.join("open"), world.dir.join("closed"));
    directory(&open, 0o777);
    directory(&closed, 0o755);
    directory(&open.join("podling"), 0o777);
    let with = |run: &std::path::Path| with_environment(world, &[("XDG_RUNTIME_DIR", run.as_os_str())], &["ps"]);
    let cure = "'unset XDG_RUNTIME_DIR' lets podling find a place; or name one: podling --runroot DIR";
    refused(&with(&open), &format!("{}/podling belongs to another user (root, uid 0)", open.display()), cure);
    refused(&with(&closed), &format!("making {}/podling: Permission denied", closed.display()), cure);
    refused(
        &with(&world.file("run/file", "")),
        &format!("making {}/run/file/podling: Not a directory", world.dir.display()),
        cure,
    );
    let elsewhere = world.directory("elsewhere").display().to_string();
    with_environment(world, &[("XDG_RUNTIME_DIR", closed.as_os_str())], &["--runroot", &elsewhere, "ps"]).ok();
});

/// An empty /tmp and /run, but for this run's own directory.
pub const EMPTY_TMP: &str = "
    run=$(dirname $(dirname $WORLD)); mount --rbind $run /mnt
    mount -t tmpfs -o mode=1777 tmpfs /tmp; mount -t tmpfs -o mode=755 tmpfs /run; mkdir /run/user
    mkdir -p $run; mount --rbind /mnt $run; umount -l /mnt
    unset XDG_RUNTIME_DIR PODLING_RUNROOT
";

as_user!(without_a_run_directory_there_is_another_and_it_is_said_once, |world| {
    if !can_mount() {
        return;
    }
    let fallback = format!("/tmp/podling-run-{}", setup().user.uid);
    let image = world.image("witness");
    let line = format!("podling run --rm --network=none {image} exit 7; podling ps; stat -c %a {fallback}");
    let output = after(world, EMPTY_TMP, "sh", &["-c", &line]);
    assert_eq!(output.fails(0), format!("podling: XDG_RUNTIME_DIR is not set; using {fallback}"));
    assert!(output.ok().ends_with("\n700"), "{output}");
    // systemd's is preferred, where it is there.
    let script = format!("{EMPTY_TMP}\nmkdir -m 700 /run/user/$USER_ID; chown $USER_ID /run/user/$USER_ID");
    let output = after(world, &script, "sh", &["-c", "podling ps -q; ls /run/user/*/"]);
    assert_eq!((output.fails(0), output.ok()), ("", "podling"));
    // Anybody may have made it before us.
    for made in ["mkdir -m 700", "touch", "ln -s /var", "mkdir -m 777"] {
        let owner = if made == "mkdir -m 777" { "$USER_ID" } else { "0" };
        let script = format!("{EMPTY_TMP}\n{made} {fallback}; chown -h {owner} {fallback}");
        let output = after(world, &script, "podling", &["ps"]);
        let cure = "name another place: podling --runroot DIR, or export XDG_RUNTIME_DIR=DIR";
        refused(&output, &format!("{fallback} belongs to somebody else, or is open to others"), cure);
    }
});

as_user!(without_a_home_in_the_environment_the_account_s_is_used, |world| {
    if !can_mount() {
        return;
    }
    let name = &setup().user.name;
    let script = format!(
        "sed 's#^\\({name}:.*\\):[^:]*:\\([^:]*\\)$#\\1:'$WORLD/home':\\2#' /etc/passwd >$WORLD/passwd
         mount --bind $WORLD/passwd /etc/passwd; unset HOME"
    );
    let image = world.image("witness");
    assert_eq!(after(world, &script, "podling", &["images", "-q"]).ok().lines().count(), 1, "{image}");
    let script =
        format!("sed '/^{name}:/d' /etc/passwd >$WORLD/passwd; mount --bind $WORLD/passwd /etc/passwd; unset HOME");
    let what = "neither HOME nor XDG_DATA_HOME is set, and /etc/passwd knows no home of yours";
    refused(&after(world, &script, "podling", &["ps"]), what, "export HOME=DIR, or name a place for the store: ");
    let store = world.directory("store");
    for (variable, value) in [("HOME", world.dir.join("home")), ("XDG_DATA_HOME", store)] {
        let value = format!("export {variable}={}", value.display());
        after(world, &format!("{script}\n{value}"), "podling", &["ps"]).ok();
    }
});

both!(a_store_that_is_a_file_is_called_so, |world| {
    let file = world.file("file", "");
    let variable =
        if world.who == Who::Root { ("PODLING_ROOT", file.clone()) } else { ("XDG_DATA_HOME", file.clone()) };
    let output = with_environment(world, &[(variable.0, OsStr::new(&variable.1))], &["ps"]);
    let what = match world.who {
        Who::Root => format!("{} is no directory", file.display()),
        Who::User => format!("making {}/podling: Not a directory", file.display()),
    };
    refused(&output, &what, STORE_ELSEWHERE);
});
