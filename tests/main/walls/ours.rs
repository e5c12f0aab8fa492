//! The engine's own programs, files and sockets, in reach of a container.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::{image, text};
use crate::images::{Layer, digest};
use crate::setup::setup;

const PROGRAMS: [&str; 3] = ["podling", "podling-monitor", "podling-runtime"];

both!(an_image_whose_interpreter_is_the_runtime_gets_nothing_from_it, |world| {
    let layer = Layer::new().file("script", 0o755, "#!/proc/self/exe\n").dir("tmp", 0o1777);
    let image = image(world, "interpreted", vec![layer], &serde_json::json!({"Cmd": ["/script"]}));
    let before = PROGRAMS.map(|name| digest(&fs::read(setup().bin(name)).expect("our own program")));
    let output = world.podling(["run", "--rm", "--network=none", image]);
    assert!(output.status != 0 && !output.stderr.contains("panicked"), "{output}");
    let after = PROGRAMS.map(|name| digest(&fs::read(setup().bin(name)).expect("our own program")));
    assert_eq!(before, after);
});

as_user!(who_has_the_engines_files_has_no_more_than_their_owner, |world| {
    // The store and the run directory in a container with all flags: it may do to its owner's containers what it likes. It
    // gets nobody else's rights by that, since nobody else ever reads these files.
    let image = world.image("busybox");
    world.podling(["create", "--name=other", "--network=none", image, "true"]).ok();
    let (data, run) = (format!("{}:/data", world.data().display()), format!("{}:/run2", world.run_dir().display()));
    let shared = world.directory("shared");
    let program = world.file("shared/runtime", "#!/bin/sh\n: >${0%/*}/proof\nexit 1\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
    let script = format!(
        "for file in /data/containers/*/container.json; do sed -i 's|\"runtime\": \"\"|\"runtime\": \"{}\"|' $file; done; \
         grep -l '{}' /data/containers/*/container.json | wc -l; cat /data/../../../../secret; ls /run2",
        program.display(),
        program.display()
    );
    if setup().is_root {
        fs::write(world.dir.join("secret"), "root's").expect("root writes");
        fs::set_permissions(world.dir.join("secret"), fs::Permissions::from_mode(0o600)).expect("its own file");
    }
    let words =
        ["run", "--rm", "--privileged", "--network=host", "--pid=host", "-v", &data, "-v", &run, image, "sh", "-c"];
    let output = world.podling([&words[..], &[&script]].concat());
    assert!(!output.stdout.contains("root's"), "{output}");
    assert!(!output.stdout.starts_with("0\n"), "the attack is one: it does change what is run: {output}");
    assert_ne!(world.podling(["start", "other"]).status, 0);
    let proof = fs::metadata(shared.join("proof")).expect("the attacker's program has run on the host");
    assert_eq!(proof.uid(), setup().user.uid, "as who started the container, and as nobody else");
    // Before the world is tidied: the other one is started by nobody any more.
    let config = fs::read_dir(world.data().join("containers")).expect("ours").flatten().next().expect("one");
    let file = config.path().join("container.json");
    let text = fs::read_to_string(&file).expect("ours").replace(program.to_str().expect("plain ASCII"), "");
    fs::write(&file, text).expect("root may write anywhere");
});

both!(a_link_where_an_id_is_to_be_written_is_not_followed, |world| {
    let image = world.image("witness");
    let target = world.directory("outside").join("new");
    let link = world.dir.join("id");
    std::os::unix::fs::symlink(&target, &link).expect("our own directory");
    let output = world.podling(["run", "--rm", "--network=none", "--cidfile", text(&link), image]);
    assert!(output.fails(125).contains(text(&link)), "{output}");
    assert!(!target.exists(), "it was written through the link");
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
});
