//! The harness itself: its worlds, its images, its registry. When these fail, no other failure means anything.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use podling::linux::cgroup::{Cgroup, Hierarchy};

use crate::setup::setup;
use crate::world::{Who, World};

both!(a_world_belongs_to_whoever_acts_in_it, |world| {
    let uid = world.program("id", ["-u"]).ok().to_owned();
    let home = std::fs::metadata(world.dir.join("home")).expect("every world has a home");
    assert_eq!(uid, home.uid().to_string());
    assert_eq!(world.program("sh", ["-c", "echo $HOME"]).ok(), world.dir.join("home").to_str().expect("plain ASCII"));
    // As on a normal system, whatever this machine's device looks like.
    world.program("sh", ["-c", ": <>/dev/net/tun"]).ok();
});

both!(the_witness_needs_nothing_but_itself, |world| {
    assert_eq!(world.program("witness", ["echo", "a", "b"]).ok(), "a b");
    world.program("witness", ["exit", "7"]).fails(7);
    world.program("witness", ["signal", "9"]).fails(137);
    assert_eq!(world.program("witness", ["fds"]).ok(), "0 /dev/null\n1 pipe\n2 pipe");
});

both!(a_program_on_a_terminal_sees_a_terminal, |world| {
    let mut command = world.command("setsid");
    command.args(["--ctty", "--"]).arg(setup().bin("witness")).arg("tty");
    let output = crate::running::Running::start_on_terminal(command).wait();
    assert_eq!(output.ok(), "stdin terminal\r\nstdout terminal\r\nstderr terminal\r");
});

#[test]
fn the_registry_serves_what_skopeo_put_there() {
    let registry = setup().registry();
    for tag in ["latest", "docker", "zstd", "every"] {
        let image = format!("docker://{}/witness:{tag}", registry.address);
        let output = std::process::Command::new("skopeo").args(["inspect", "--tls-verify=false", &image]).output();
        let output = output.expect("skopeo is installed");
        assert!(output.status.success(), "{image}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Ends a world in which `leave` has left something, and returns the complaint.
fn complaint(leave: fn(&World)) -> String {
    let ended = std::panic::catch_unwind(|| World::of(Who::User, leave));
    let complaint = ended.expect_err("what is left must fail the test");
    complaint.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_process_that_is_left_fails_the_test_and_is_killed() {
    let complaint = complaint(|world| {
        let script = "witness sleep-forever >/dev/null 2>&1 & echo $!";
        let pid = world.program("sh", ["-c", script]).ok().to_owned();
        world.file("pid", pid);
    });
    let pid =
        complaint.split("process ").nth(1).and_then(|rest| rest.split(':').next()).and_then(|pid| pid.parse().ok());
    assert!(complaint.contains("witness sleep-forever"), "{complaint}");
    crate::running::until_gone(pid.expect("the complaint names the process"));
}

#[test]
fn a_temporary_file_that_is_left_fails_the_test() {
    let complaint = complaint(|world| drop(world.file("tmp/forgotten", "")));
    assert!(complaint.contains("temporary file: forgotten"), "{complaint}");
}

mod a_cgroup_that_is_left_fails_the_test {
    use super::*;

    #[test]
    fn root() {
        if !setup().is_root {
            return crate::skip::skip("not started by root");
        }
        // On a machine with version 1 alone nobody makes any.
        if Hierarchy::find().is_none() {
            return;
        }
        let ended = std::panic::catch_unwind(|| {
            World::of(Who::Root, |world| {
                let hierarchy = Hierarchy::find().expect("it was there");
                Cgroup::create(&hierarchy, &Path::new("/podling").join(world.tag() + "left")).expect("we are root");
            });
        });
        let complaint = ended.expect_err("what is left must fail the test");
        let complaint = complaint.downcast_ref::<String>().expect("a message");
        let left = complaint.lines().find_map(|line| line.trim().strip_prefix("cgroup: ")).expect(complaint);
        // Asked again: the world has put us into its mounts, where the tree may be elsewhere.
        let hierarchy = Hierarchy::find().expect("it was there");
        let path = Path::new("/podling").join(Path::new(left).file_name().expect("a group's name"));
        Cgroup::open(&hierarchy, &path).expect("we are root").expect("it is there").remove().expect("it is empty");
    }
}
