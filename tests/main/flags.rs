//! Flags of `run` that stand in no other file: variables, descriptors, streams, what is made ready for systemd.

use crate::running::Output;
use crate::second_opinion::{self, other_runtime};
use crate::world::World;

/// `podling run --rm --network=none FLAGS… busybox sh -c SCRIPT`
#[track_caller]
fn run(world: &World, flags: &[&str], script: &str) -> Output {
    let image = world.image("busybox");
    world.podling([&["run", "--rm", "--network=none"], flags, &[image, "sh", "-c", script]].concat())
}

both!(variables_are_merged_and_unset, |world| {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(run(world, &["--env-merge=PATH=${PATH}:/opt"], "echo $PATH").ok(), format!("{path}:/opt"));
    assert_eq!(run(world, &["-eA=1", "--env-merge=A=$A:2"], "echo $A").ok(), "1", "what is said outright wins");
    let image = world.image("busybox");
    let flags = ["run", "--rm", "--network=none", "--unsetenv-all", "-eA=1", "--hostname=box"];
    let left = world.podling([&flags[..], &[image, "/bin/env"]].concat());
    let mut left: Vec<&str> = left.ok().lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["A=1", "HOME=/root", "HOSTNAME=box"]);
});

both!(descriptors_are_passed_on_when_asked, |world| {
    let letter = world.file("letter", "hello\n");
    let image = world.image("busybox");
    let podling = crate::setup::setup().bin("podling");
    let line = |words: &str| {
        let line = format!("{} {words} 3<{}", podling.display(), letter.display());
        world.program("sh", ["-c", &line])
    };
    let run = format!("run --rm --network=none --preserve-fds=1 {image} sh -c");
    assert_eq!(line(&format!("{run} 'cat <&3'")).ok(), "hello");
    line(&format!("run --rm --network=none {image} sh -c 'test -e /proc/self/fd/3'")).fails(1);
    let missing = line(&format!("run --rm --network=none --preserve-fds=2 {image} true"));
    assert!(missing.fails(125).contains("file descriptor 4 is not open"), "{missing}");
    // In the background, and by an exec session with a monitor of its own.
    line(&format!("run -d --name=a --network=none --preserve-fds=1 {image} sh -c 'cat <&3; sleep 1000'")).ok();
    world.spawn(["logs", "-f", "a"]).expect("hello");
    assert_eq!(line("exec --preserve-fds=1 a sh -c 'cat <&3'").ok(), "hello");
    line("exec --preserve-fds=2 a true").fails(125);
    // Started again without them, it does without.
    world.podling(["restart", "-t0", "a"]).ok();
});

both!(only_the_streams_that_are_named_are_joined, |world| {
    let both = "echo out; echo err >&2";
    let output = run(world, &["-a", "stdout"], both);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", ""));
    let output = run(world, &["-a", "stderr"], both);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", "err\n"));
    let output = run(world, &["-a", "stdout", "-a", "stderr"], both);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
});

both!(a_container_is_made_ready_for_systemd, |world| {
    let mounts =
        "awk '$5 ~ \"^(/run|/run/lock|/tmp|/var/log/journal)$\" {print $5}' /proc/self/mountinfo | sort | tr '\\n' ' '";
    assert_eq!(run(world, &["--systemd=always"], mounts).ok(), "/run /run/lock /tmp /var/log/journal ");
    assert_eq!(run(world, &["--systemd=false"], mounts).ok(), "");
    assert_eq!(run(world, &[], mounts).ok(), "", "a shell is no systemd");
    assert_eq!(run(world, &["--systemd=always"], "echo ${#container_uuid}").ok(), "32");
    let image = world.image("busybox");
    world.podling(["create", "--name=a", "--network=none", image, "/sbin/init"]).ok();
    world.podling(["create", "--name=b", "--network=none", "--systemd=false", image, "/sbin/init"]).ok();
    let signal = |name: &str| world.podling(["inspect", "--format={{.Config.StopSignal}}", name]).ok().to_owned();
    assert_eq!([signal("a"), signal("b")], ["SIGRTMIN+3", "SIGTERM"]);
});

both!(the_images_volumes_are_what_is_said, |world| {
    let image = world.image("busybox");
    world.podling(["run", "--name=a", "--network=none", image, "true"]).ok();
    let wish = "--change=VOLUME /kept";
    world.podling(["commit", "-q", wish, "a", "localhost/wishes"]).ok();
    let kind = |flag: &str| {
        let script = "awk '$2 == \"/kept\" {print $3}' /proc/mounts | grep -c tmpfs; grep -c ' /kept ' /proc/mounts";
        let flags = ["run", "--rm", "--network=none", flag, "localhost/wishes", "sh", "-c", script];
        let said = world.podling(flags);
        said.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kind("--image-volume=anonymous"), "0 1");
    assert_eq!(kind("--image-volume=tmpfs"), "1 1");
    assert_eq!(kind("--image-volume=ignore"), "0 0");
});

both!(small_things_are_as_they_were_asked, |world| {
    let limited = |flags: &[&str]| run(world, flags, "grep -c '/dev/shm.*size=[1-9]' /proc/mounts").stdout;
    assert_eq!([limited(&[]), limited(&["--shm-size=0"])], ["1\n", "0\n"]);
    let hidden = run(world, &["--security-opt=proc-opts=hidepid=2"], "grep ' /proc ' /proc/mounts");
    assert!(hidden.ok().contains("hidepid="), "{hidden}");
    let masks = "grep -c ' /proc/' /proc/mounts";
    assert_eq!(run(world, &["--security-opt=systempaths=unconfined"], masks).stdout.trim(), "0");
    if other_runtime().is_none() {
        assert_ne!(run(world, &[], masks).stdout.trim(), "0");
    }
    let ours = world.program("sh", ["-c", "ulimit -n; ulimit -Hn"]).ok().to_owned();
    assert_eq!(run(world, &["--ulimit=host"], "ulimit -n; ulimit -Hn").ok(), ours);
    run(world, &["--no-hostname"], "test -e /etc/hostname").fails(1);
});

both!(an_overlay_above_a_directory_takes_what_is_written, |world| {
    let shared = world.directory("shared");
    world.file("shared/letter", "from outside\n");
    let mount = format!("{}:/mnt:O", shared.display());
    let image = world.image("busybox");
    let script = "cat /mnt/letter; echo changed >/mnt/letter; rm -f /mnt/no; ls /mnt";
    world.podling(["run", "--name=a", "--network=none", "-v", &mount, image, "sh", "-c", script]).ok();
    assert_eq!(world.podling(["start", "-a", "a"]).ok(), "from outside\nletter", "it is forgotten at each start");
    assert_eq!(std::fs::read_to_string(shared.join("letter")).ok().as_deref(), Some("from outside\n"));
    run(world, &["-v", "named:/mnt"], "echo kept >/mnt/file").ok();
    run(world, &["-v", "named:/mnt:O"], "echo lost >/mnt/file").ok();
    assert_eq!(run(world, &["-v", "named:/mnt"], "cat /mnt/file").ok(), "kept");
    let file = run(world, &["-v", &format!("{}:/mnt:O", shared.join("letter").display())], "true");
    assert!(file.fails(125).contains("is not a directory: O puts an overlay above one"), "{file}");
});

both!(what_an_unset_variable_leaves_is_nothing_said, |world| {
    assert_eq!(run(world, &["--name=", "-w", "", "--hostname=", "--user=", "--entrypoint="], "pwd").ok(), "/");
});

both!(a_container_whose_runtime_is_gone_can_be_removed, |world| {
    let image = world.image("witness");
    let program = second_opinion::runtime();
    // By its own name: what options a runtime has is told by that.
    let runtime = world.directory("bin").join(program.file_name().expect("a program's path"));
    std::fs::copy(&program, &runtime).expect("our own directory");
    let flag = format!("--runtime={}", runtime.display());
    world.podling([flag.as_str(), "run", "-d", "--name=a", "--network=none", image, "until-term"]).ok();
    world.podling([flag.as_str(), "create", "--name=b", "--network=none", image]).ok();
    world.podling(["stop", "a"]).ok();
    std::fs::remove_file(&runtime).expect("it was copied there");
    let said = world.podling(["start", "a"]);
    assert!(said.fails(125).contains("no OCI runtime at "), "{said}");
    assert_eq!(world.podling(["rm", "a", "b"]).ok(), "a\nb");
    let said = world.podling([flag.as_str(), "create", "--name=c", "--network=none", image]);
    assert!(said.fails(125).contains("no OCI runtime at "), "{said}");
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
});

both!(what_contradicts_itself_is_said, |world| {
    let said = [
        &["--no-hosts", "--add-host=x:1.2.3.4"][..],
        &["--uts=host", "--hostname=x"],
        &["--device-read-bps=/dev/null:1m"],
        &["--device-cgroup-rule=x 1:3 rwm"],
        &["--sdnotify=loudly"],
        &["--replace"],
    ]
    .map(|flags| run(world, flags, "true").fails(125).to_owned());
    world.snapshot("contradictions", &said.join("\n"));
    if other_runtime().is_none() {
        let said = run(world, &["-v", "/etc/passwd:/etc"], "true");
        assert!(said.fails(125).contains("mounting /etc: a file cannot be mounted on a directory"), "{said}");
    }
});
