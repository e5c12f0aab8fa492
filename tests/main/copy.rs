//! `cp`: both ways, running or not, and no link leads out.

use std::fs;

both!(files_go_in_and_come_out_whether_it_runs_or_not, |world| {
    let image = world.image("busybox");
    let file = world.file("hello", "hello\n");
    let path = file.to_str().expect("plain ASCII");
    let out = world.directory("out");
    let out = out.to_str().expect("plain ASCII");
    world.podling(["create", "--name=box", "--network=none", "-v", "data:/data", image, "sleep", "1000"]).ok();
    world.podling(["cp", path, "box:/root/new"]).ok();
    world.podling(["cp", path, "box:/data"]).ok();
    world.podling(["cp", "box:/root/new", &format!("{out}/stopped")]).ok();
    world.podling(["start", "box"]).ok();
    assert_eq!(world.podling(["exec", "box", "cat", "/root/new", "/data/hello"]).ok(), "hello\nhello");
    world.podling(["exec", "box", "sh", "-c", "mkdir -p /t/a; echo x >/t/a/f; ln -s f /t/a/l; chmod 4755 /t/a/f"]).ok();
    world.podling(["cp", "box:/t", &format!("{out}/tree")]).ok();
    world.podling(["cp", "box:/t/.", out]).ok();
    assert_eq!(fs::read_to_string(format!("{out}/stopped")).expect("copied"), "hello\n");
    assert_eq!(fs::read_to_string(format!("{out}/tree/a/f")).expect("copied"), "x\n");
    assert_eq!(fs::read_link(format!("{out}/a/l")).expect("copied").to_str(), Some("f"));
    // Back again: the set-uid bit has survived both ways.
    world.podling(["cp", &format!("{out}/tree"), "box:/back"]).ok();
    assert_eq!(world.podling(["exec", "box", "stat", "-c", "%a %u", "/back/a/f"]).ok(), "4755 0");
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});

both!(a_path_into_a_volume_of_a_container_at_rest_may_take_a_detour, |world| {
    let image = world.image("busybox");
    let file = world.file("hello", "hello\n");
    let path = file.to_str().expect("plain ASCII");
    let out = world.directory("out");
    let out = out.to_str().expect("plain ASCII");
    world.podling(["create", "--name=box", "--network=none", "-v", "data:/data", image, "true"]).ok();
    world.podling(["cp", path, "box:/data"]).ok();
    world.podling(["cp", path, "box:/data/other"]).ok();
    for detour in ["/tmp/../data/hello", "//data/hello", "/./data/../data/hello"] {
        world.podling(["cp", &format!("box:{detour}"), &format!("{out}/came")]).ok();
        assert_eq!(fs::read_to_string(format!("{out}/came")).expect("a file, not the volume"), "hello\n", "{detour}");
    }
    world.podling(["cp", "box:/tmp/../data/.", &format!("{out}/all")]).ok();
    let mut all: Vec<_> =
        fs::read_dir(format!("{out}/all")).expect("copied").flatten().map(|it| it.file_name()).collect();
    all.sort();
    assert_eq!(all, ["hello", "other"]);
    world.podling(["rm", "box"]).ok();
});

both!(no_link_in_the_container_leads_out_of_it, |world| {
    let image = world.image("busybox");
    let file = world.file("payload", "payload");
    let path = file.to_str().expect("plain ASCII");
    let outside = world.directory("outside");
    let outside = outside.to_str().expect("plain ASCII");
    let script = format!("ln -s {outside} /direct; ln -s ../../../../../..{outside} /climbing; sleep 1000");
    world.podling(["run", "-d", "--name=evil", "--network=none", image, "sh", "-c", &script]).ok();
    crate::running::until("the links", || {
        (world.podling(["exec", "evil", "readlink", "/climbing"]).status == 0).then_some(())
    });
    for link in ["direct", "climbing"] {
        world.podling(["cp", path, &format!("evil:/{link}/x")]).fails(125);
    }
    world.podling(["exec", "evil", "mkdir", "-p", outside]).ok();
    for link in ["direct", "climbing"] {
        world.podling(["cp", path, &format!("evil:/{link}/{link}")]).ok();
        assert_eq!(world.podling(["exec", "evil", "cat", &format!("{outside}/{link}")]).ok(), "payload");
    }
    assert_eq!(fs::read_dir(outside).expect("ours").count(), 0, "nothing has landed on the host");
    world.podling(["rm", "-f", "-t0", "evil"]).ok();
});

both!(what_goes_in_belongs_to_the_containers_user, |world| {
    let image = world.image("busybox");
    let file = world.file("mine", "x");
    let path = file.to_str().expect("plain ASCII");
    world.podling(["run", "-d", "--name=box", "-u", "33:44", "--network=none", image, "sleep", "1000"]).ok();
    world.podling(["cp", path, "box:/tmp/mine"]).ok();
    assert_eq!(world.podling(["exec", "box", "stat", "-c", "%u:%g", "/tmp/mine"]).ok(), "33:44");
    world.podling(["rm", "-f", "-t0", "box"]).ok();
});

both!(tar_streams_go_both_ways, |world| {
    let image = world.image("busybox");
    world.podling(["create", "--name=box", "--network=none", image, "true"]).ok();
    let podling = crate::setup::setup().bin("podling");
    let podling = podling.display();
    let script = format!(
        "mkdir t && echo x >t/f && tar c t | {podling} cp - box:/root && {podling} cp box:/root/t - | tar xO t/f"
    );
    let home = world.directory("work");
    let script = format!("cd {} && {script}", home.display());
    assert_eq!(world.program("sh", ["-c", &script]).ok(), "x");
    world.podling_with_input(["cp", "-", "box:/root"], "this is no tar stream, and long enough to see it").fails(125);
    world.podling(["rm", "box"]).ok();
});

both!(what_cannot_be_copied_is_said_to, |world| {
    let image = world.image("busybox");
    let file = world.file("file", "x");
    let path = file.to_str().expect("plain ASCII");
    world.podling(["create", "--name=box", "--network=none", image, "true"]).ok();
    let mut said = String::new();
    for (from, to) in [
        ("box:/nothing", "/tmp"),
        ("nobody:/etc", "/tmp"),
        ("./a", "./b"),
        ("./nothing", "box:/"),
        (path, "box:/no/such/place"),
        ("box:/bin", path),
        ("-", "box:/bin/busybox"),
    ] {
        said += &format!("{from} {to}\n  {}\n", world.podling(["cp", from, to]).fails(125).trim());
    }
    world.snapshot("cp_errors", &said);
    world.podling(["rm", "box"]).ok();
});

both!(many_copies_at_once_share_one_mount_of_what_is_stopped, |world| {
    let image = world.image("busybox");
    world.podling(["create", "--name=box", "--network=none", image, "ls", "/in"]).ok();
    let empty = world.directory("in");
    world.podling(["cp", empty.to_str().expect("plain ASCII"), "box:/"]).ok();
    let files: Vec<_> = (0..8).map(|number| world.file(&format!("file{number}"), format!("{number}"))).collect();
    let out = world.directory("out");
    let mut copies = Vec::new();
    for (number, file) in files.iter().enumerate() {
        copies.push(world.spawn(["cp", file.to_str().expect("plain ASCII"), "box:/in/"]));
        copies.push(world.spawn(["cp", "box:/bin/busybox", &format!("{}/{number}", out.display())]));
    }
    for copy in copies {
        copy.wait().ok();
    }
    assert_eq!(fs::read_dir(out).expect("ours").count(), 8);
    let names = (0..8).map(|number| format!("file{number}")).collect::<Vec<_>>().join("\n");
    assert_eq!(world.podling(["start", "-a", "box"]).ok(), names);
    // From one container into itself, through two commands that need each other, and more than a pipe holds.
    let podling = crate::setup::setup().bin("podling");
    let line = format!("{0} cp box:/bin/busybox - | {0} cp - box:/in", podling.display());
    world.program("sh", ["-c", &line]).ok();
    world.podling(["cp", "box:/in/busybox", &format!("{}/back", world.dir.display())]).ok();
    assert!(fs::metadata(world.dir.join("back")).expect("copied").len() > 100_000);
    world.podling(["rm", "box"]).ok();
});

both!(a_copy_under_way_shares_its_mount_and_a_start_waits_for_it, |world| {
    let image = world.image("busybox");
    world.podling(["create", "--name=box", "--network=none", image, "ls", "/tmp"]).ok();
    // A copy that has begun, and whose stream has not ended.
    let mut copy = world.spawn_with_input(["cp", "-", "box:/tmp"]);
    let id = world.podling(["ps", "-aq", "--no-trunc"]).ok().to_owned();
    let mounted = world.run_dir().join("containers").join(id).join("mounted");
    crate::running::until("it is mounted", || fs::read_dir(&mounted).ok()?.next().map(drop));
    // In a mount of its own this one would put a directory /tmp into the container's layer that the other does not know.
    let file = world.file("second", "");
    world.podling(["cp", file.to_str().expect("plain ASCII"), "box:/tmp/"]).ok();
    let start = world.spawn(["start", "-a", "box"]);
    // An archive of one empty file, name first, and the zeros that end it.
    let mut header = [0_u8; 512];
    header[..4].copy_from_slice(b"late");
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    copy.write(std::str::from_utf8(&header).expect("ASCII"));
    copy.write(&"\0".repeat(1024));
    copy.wait().ok();
    assert_eq!(start.wait().ok(), "late\nsecond");
    world.podling(["rm", "box"]).ok();
});
