//! Root's containers and an ordinary user's are the same to the program inside; and what other tools think of our store.

use std::sync::Mutex;

use crate::setup::setup;
use crate::world::{Who, World};

#[test]
fn a_program_cannot_tell_whether_root_or_a_user_runs_it() {
    if !setup().is_root {
        return crate::skip::skip("not started by root");
    }
    let seen = [Who::Root, Who::User].map(|who| {
        let seen = Mutex::new(String::new());
        World::of(who, |world| {
            let image = world.image("witness");
            let see = |words: &[&str]| {
                let flags = ["run", "--rm", "--network=none", "--hostname=box", image];
                world.podling([&flags, words].concat()).ok().to_owned()
            };
            let mut all = String::new();
            for what in ["caps", "security", "cwd", "env", "fds", "tty", "hostname", "pid", "interfaces"] {
                all += &format!("# {what}\n{}\n", see(&[what]));
            }
            all += &format!("# status\n{}\n", see(&["status", "Uid", "Gid", "Groups"]));
            all += &format!("# files\n{}\n", see(&["stat", "/", "/dev", "/dev/shm", "/tmp", "/etc/passwd"]));
            *seen.lock().expect("one thread") = all;
        });
        seen.into_inner().expect("one thread")
    });
    assert_eq!(seen[0], seen[1]);
}

both!(skopeo_reads_our_store_and_podling_what_skopeo_wrote, |world| {
    let image = world.image("layers");
    // Out of the store: it is an OCI image layout.
    let store = format!("oci:{}:localhost/{image}:latest", world.data().join("images").display());
    let out = world.dir.join("copied");
    let copy = ["--insecure-policy", "copy", "-q", &store, &format!("oci:{}:copied", out.display())];
    world.program("skopeo", copy).ok();
    // And into it.
    let archive = world.dir.join("copied.tar");
    let (from, to) =
        (format!("oci:{}:copied", out.display()), format!("docker-archive:{}:localhost/again:1", archive.display()));
    world.program("skopeo", ["--insecure-policy", "copy", "-q", &from, &to]).ok();
    world.podling(["load", "-q", "-i", archive.to_str().expect("plain ASCII")]).ok();
    assert_eq!(world.podling(["run", "--rm", "--network=none", "localhost/again:1", "cat", "/changed"]).ok(), "middle");
});

both!(images_of_every_kind_are_pulled_and_run, |world| {
    let registry = world.registry();
    for tag in ["latest", "docker", "zstd", "every"] {
        let image = format!("{registry}/witness:{tag}");
        let id = world.podling(["pull", "-q", &image]).ok().to_owned();
        assert_eq!(id.len(), 64, "{id}");
        assert_eq!(world.podling(["run", "--rm", "--network=none", &image, "echo", tag]).ok(), tag);
    }
    world.podling(["rmi", "--all", "--force"]).ok();
    assert_eq!(world.podling(["images", "-q"]).ok(), "");
});

both!(many_containers_at_once_do_not_hinder_each_other, |world| {
    let image = world.image("witness");
    let running: Vec<_> =
        (0..12).map(|n| world.spawn(["run", "--rm", "--network=none", image, "echo", &n.to_string()])).collect();
    for (n, running) in running.into_iter().enumerate() {
        assert_eq!(running.wait().ok(), n.to_string());
    }
});
