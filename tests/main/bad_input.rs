//! What a person gets wrong, and what the world does to them: one clear line, the right exit status, nothing lost.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::world::World;

/// The message must be one line that begins `Error: ` (and at most one hint), and becomes a snapshot.
#[track_caller]
fn complains(world: &World, snapshot: &str, status: i32, words: &[&str]) {
    let output = world.podling(words);
    let said = output.fails(status);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.first().is_some_and(|line| line.starts_with("Error: ")), "{output}");
    assert!(lines.len() == 1 || (lines.len() == 2 && lines[1].starts_with("hint: ")), "{output}");
    assert_eq!(output.stdout, "", "{output}");
    world.snapshot(snapshot, said);
}

both!(a_flag_that_does_not_exist, |world| complains(world, "unknown_flag", 125, &["run", "--no-such-flag", "x"]));

both!(a_verb_that_does_not_exist, |world| complains(world, "unknown_verb", 125, &["walk"]));

both!(a_flag_with_a_bad_value, |world| {
    complains(world, "bad_memory", 125, &["run", "--memory=lots", "witness"]);
    complains(world, "bad_capability", 125, &["run", "--cap-add=FLY", world.image("witness")]);
    complains(world, "bad_volume", 125, &["run", "-v", "a:b:c:d", "witness"]);
});

both!(an_image_that_is_nowhere, |world| {
    complains(world, "image_not_here", 125, &["run", "--pull=never", "localhost/nothing"]);
    complains(world, "rmi_nothing", 1, &["rmi", "localhost/nothing"]);
});

both!(an_image_that_the_registry_does_not_have, |world| {
    let registry = world.registry();
    complains(world, "registry_has_not", 125, &["pull", "-q", &format!("{registry}/nothing:latest")]);
});

both!(a_registry_that_nobody_is, |world| {
    // Port 1 of the loopback device: refused at once.
    world.trust_registry("127.0.0.1:1");
    complains(world, "no_registry", 125, &["pull", "-q", "127.0.0.1:1/witness"]);
});

both!(a_registry_that_answers_garbage, |world| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback device");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<garbage>");
        }
    });
    world.trust_registry(&address);
    complains(world, "garbage_registry", 125, &["pull", "-q", &format!("{address}/witness")]);
    assert_eq!(world.podling(["images", "-q"]).ok(), "");
});

both!(a_container_that_is_gone, |world| {
    for verb in ["start", "stop", "kill", "rm", "logs", "inspect", "wait", "pause", "attach"] {
        let output = world.podling([verb, "gone"]);
        assert!(matches!(output.status, 125 | 1), "{output}");
        assert!(output.stderr.contains("gone") && output.stderr.starts_with("Error: "), "{output}");
    }
    complains(world, "exec_gone", 125, &["exec", "gone", "true"]);
});

both!(a_name_that_is_taken, |world| {
    let image = world.image("witness");
    world.podling(["create", "--network=none", "--name=mine", image]).ok();
    complains(world, "name_taken", 125, &["create", "--network=none", "--name=mine", image]);
    let old = world.podling(["ps", "-aq"]).ok().to_owned();
    world.podling(["create", "--network=none", "--replace", "--name=mine", image]).ok();
    let new = world.podling(["ps", "-aq"]).ok().to_owned();
    assert!(new.len() == 12 && new != old, "{old} {new}");
    complains(world, "name_bad", 125, &["create", "--name=a b", image]);
});

both!(a_container_whose_configuration_is_broken_is_said_to_be, |world| {
    let image = world.image("witness");
    let id = world.podling(["create", "--network=none", "--name=broken", image]).ok().to_owned();
    let config = world.data().join("containers").join(&id).join("container.json");
    let sound = std::fs::read(&config).expect("it was created");
    std::fs::write(&config, "{ not json").expect("root may write anywhere");
    let output = world.podling(["start", "broken"]);
    assert!(output.fails(125).starts_with("Error: "), "{output}");
    // The others are not lost with it.
    world.podling(["run", "--rm", "--network=none", image, "true"]).ok();
    std::fs::write(&config, sound).expect("root may write anywhere");
    world.podling(["rm", "broken"]).ok();
});

both!(a_home_that_cannot_be_written, |world| {
    let mut command = world.command(crate::setup::setup().bin("podling"));
    // /proc takes no directories, from root either.
    command.env("HOME", "/proc/nowhere").env("PODLING_ROOT", "/proc/nowhere/podling").args([
        "run",
        "host-tools",
        "true",
    ]);
    let output = crate::running::Running::start(command, crate::running::Input::Empty).wait();
    assert!(output.fails(125).starts_with("Error: "), "{output}");
    assert!(output.stderr.contains("/proc/nowhere"), "{output}");
});

as_root!(a_disk_that_is_full, |world| {
    let small = world.directory("data");
    let none: Option<&str> = None;
    nix::mount::mount(Some("tmpfs"), &small, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=400k"))
        .expect("root mounts");
    let archive = crate::setup::setup().archive("busybox");
    let output = world.podling(["load", "-q", "-i", archive.to_str().expect("plain ASCII")]);
    assert!(output.fails(125).contains("No space left on device"), "{output}");
    // Nothing half-loaded is left, and with room it works.
    assert_eq!(world.podling(["images", "-q"]).ok(), "");
    nix::mount::mount(none, &small, none, nix::mount::MsFlags::MS_REMOUNT, Some("size=100m")).expect("root mounts");
    world.podling(["load", "-q", "-i", archive.to_str().expect("plain ASCII")]).ok();
    nix::mount::umount2(&small, nix::mount::MntFlags::MNT_DETACH).expect("root unmounts");
});
