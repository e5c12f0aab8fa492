//! What a process of a container holds of its caller's: nothing but pipes. A descriptor of a file is the file, for writing
//! too; one of a terminal hears what is typed.

use std::fs;

use crate::second_opinion::other_runtime;
use crate::setup::setup;
use crate::world::World;

/// Both ways to be a process in a container, with the container of the second.
fn ways(world: &World) -> [String; 2] {
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=box", "--network=none", image, "sleep", "1000"]).ok();
    let podling = setup().bin("podling");
    let podling = podling.display();
    [format!("{podling} run --rm -i --network=none {image} sh -c"), format!("{podling} exec -i box sh -c")]
}

both!(a_file_that_is_only_read_from_cannot_be_written_by_a_container, |world| {
    let path = world.dir.join("file");
    let script = format!("'cat; (echo evil >/proc/self/fd/0) 2>/dev/null; true' <{}", path.display());
    for way in ways(world) {
        world.file("file", "sound\n");
        assert_eq!(world.program("sh", ["-c", &format!("{way} {script}")]).ok(), "sound");
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("sound\n"), "{way}");
    }
    // The attack is one: without a container in between it succeeds.
    world.program("sh", ["-c", &format!("sh -c {script}")]).ok();
    assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("evil\n"));
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});

both!(a_terminal_is_lent_to_no_container, |world| {
    // Whoever holds it may read what is typed, also after the command that lent it.
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=box", "--network=none", image, "sleep", "1000"]).ok();
    let script = "for fd in 0 1 2; do readlink /proc/self/fd/$fd; done; exit 7";
    for words in [&["run", "--rm", "-i", "--network=none", image][..], &["exec", "-i", "box"], &["exec", "box"]] {
        let output = world.spawn_on_terminal([words, &["sh", "-c", script]].concat()).wait();
        assert_eq!(output.status, 7, "{output}");
        assert!(output.stdout.contains("pipe:") && !output.stdout.contains("pts"), "{output}");
    }
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});

both!(a_command_that_cannot_be_executed_says_so_wherever_its_words_go, |world| {
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=box", "--network=none", image, "sleep", "1000"]).ok();
    for (program, status) in [("nothing", 127), ("/etc", 126)] {
        let lent = world.podling(["exec", "box", program]);
        let not_lent = world.spawn_on_terminal(["exec", "box", program]).wait();
        assert_eq!((lent.status, not_lent.status), (status, status), "{lent}{not_lent}");
        let named = not_lent.stdout.contains(program) || other_runtime().is_some();
        assert!(not_lent.stdout.lines().count() == 1 && named, "{not_lent}");
    }
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});
