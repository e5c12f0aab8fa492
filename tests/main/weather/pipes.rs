//! Standard streams that are closed, full, or that nobody reads to the end.

use super::shell;
use crate::world::World;

/// What the first of two programs in a pipe ended with, and what the second printed.
fn piped(world: &World, first: &str, second: &str) -> (String, String) {
    let output = shell(world, &format!("(podling {first}; echo \"[$?]\" >&2) | {second}"));
    (output.stderr.trim_end().to_owned(), output.ok().to_owned())
}

both!(a_container_that_goes_with_its_end_goes_with_its_reader, |world| {
    let image = world.image("busybox");
    let run = format!("run --rm --network=none {image} yes");
    assert_eq!(piped(world, &run, "head -n 1"), ("[141]".into(), "y".into()));
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
    // Podman, too, lets one run on that was not to go.
    let run = format!("run --name=stays --network=none --log-opt=max-size=1m {image} yes");
    assert_eq!(piped(world, &run, "head -n 1"), ("[141]".into(), "y".into()));
    assert_eq!(world.podling(["ps", "--format={{.Names}}"]).ok(), "stays");
    assert_eq!(piped(world, "attach --no-stdin stays", "head -n 1"), ("[141]".into(), "y".into()));
    assert_eq!(piped(world, "exec stays yes", "head -n 1"), ("[141]".into(), "y".into()));
});

both!(the_log_of_a_container_that_writes_faster_than_we_read_has_an_end, |world| {
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=fast", "--network=none", image, "yes"]).ok();
    assert_eq!(piped(world, "logs -f fast", "head -n 1"), ("[0]".into(), "y".into()));
    assert_eq!(piped(world, "logs --tail=3 fast", "wc -l"), ("[0]".into(), "3".into()));
    world.podling(["rm", "-f", "--time=0", "fast"]).ok();
});

both!(output_that_cannot_be_written_is_an_error, |world| {
    let image = world.image("busybox");
    world.podling(["run", "--name=said", "--network=none", image, "echo", "hello"]).ok();
    let run = format!("run --rm --network=none {image} echo hello");
    for line in ["ps", "images", "version", "--help", "doctor", "logs said", "save -q busybox", &run] {
        let output = shell(world, &format!("podling {line} >/dev/full"));
        assert_eq!(output.fails(125), "Error: writing to standard output: No space left on device", "{output}");
    }
    assert_eq!(world.podling(["ps", "-a", "--format={{.Names}}"]).ok(), "said");
    // Where not even an error can be written, there is still the status.
    assert_eq!(shell(world, "podling walk 2>/dev/full").status, 125);
});

both!(a_reader_that_has_seen_enough_is_not_worth_a_word, |world| {
    world.image("busybox");
    for line in ["save -q busybox", "--help", "info"] {
        let (said, seen) = piped(world, line, "head -c 1 | wc -c");
        // A short text may have been taken whole by the pipe.
        assert!(seen == "1" && ["[141]", "[0]"].contains(&said.as_str()), "{line}: {said}");
    }
});

both!(a_reader_that_has_gone_is_not_worth_a_word_of_the_other_programs, |world| {
    let lines = [
        ("podling-runtime", "--version"),
        ("podling-runtime", "--help"),
        ("podling-runtime", "features"),
        ("podling-monitor", "--version"),
        ("podling-monitor", "--help"),
    ];
    for (program, word) in lines {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = world.command(crate::setup::setup().bin(program));
        let output = command.arg(word).stdout(writer).output().expect("it can be started");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{program} {word}");
        assert_eq!(output.status.code(), Some(141), "{program} {word}");
    }
});

both!(closed_streams_are_no_obstacle, |world| {
    let image = world.image("busybox");
    let run = format!("podling run --rm -i --network=none {image}");
    assert_eq!(shell(world, &format!("{run} sh -c 'cat; exit 7' <&-")).status, 7);
    assert_eq!(shell(world, &format!("{run} sh -c 'echo lost; exit 7' >&-")).status, 7);
    assert_eq!(shell(world, &format!("{run} sh -c 'echo lost; echo lost >&2; exit 7' <&- >&- 2>&-")).status, 7);
    assert_eq!(shell(world, "podling ps >&-").ok(), "");
});
