//! Volumes, and what is seen of them from outside.

both!(a_volume_is_made_listed_told_of_and_removed, |world| {
    assert_eq!(world.podling(["volume", "create", "--label=a=1", "data"]).ok(), "data");
    assert_eq!(world.podling(["volume", "ls", "-q", "--filter=label=a=1"]).ok(), "data");
    assert_eq!(world.podling(["volume", "ls", "-q", "--filter=label=a=2"]).ok(), "");
    assert_eq!(world.podling(["volume", "inspect", "--format={{.Labels.a}} {{.Driver}}", "data"]).ok(), "1 local");
    world.podling(["volume", "exists", "data"]).ok();
    world.podling(["volume", "exists", "dat"]).fails(1);
    assert_eq!(world.podling(["volume", "rm", "data"]).ok(), "data");
    assert_eq!(world.podling(["volume", "ls", "-q"]).ok(), "");
});

both!(a_volume_in_use_is_kept_until_its_container_goes, |world| {
    let image = world.image("witness");
    world.podling(["create", "--name=user", "--network=none", "-v", "data:/data", image, "true"]).ok();
    let said = world.podling(["volume", "rm", "data"]).fails(2).to_owned();
    world.snapshot("volume_in_use", &said);
    assert_eq!(world.podling(["volume", "prune", "-f"]).ok(), "");
    world.podling(["rm", "user"]).ok();
    assert_eq!(world.podling(["volume", "prune", "-f"]).ok(), "data");
});

both!(what_makes_no_volume_is_said_to, |world| {
    let mut said = String::new();
    world.podling(["volume", "create", "there"]).ok();
    for words in [
        &["create", "a/b"][..],
        &["create", "there"],
        &["create", "--driver=nfs", "x"],
        &["create", "--opt=type=ext4", "x"],
        &["create", "--opt=colour=red", "x"],
        &["create", "--opt=device=/nowhere", "--opt=o=bind", "x"],
        &["inspect", "gone"],
        &["ls", "--filter=colour=red"],
    ] {
        let output = world.podling([&["volume"], words].concat());
        said += &format!("{}\n  {}\n", words.join(" "), output.fails(125).trim());
    }
    world.snapshot("volume_errors", &said);
    world.podling(["volume", "rm", "gone"]).fails(1);
    world.podling(["volume", "rm", "-f", "gone"]).ok();
});

both!(a_volume_of_memory_forgets_and_a_bound_one_is_the_hosts, |world| {
    let image = world.image("busybox");
    world.podling(["volume", "create", "--opt=type=tmpfs", "--opt=o=size=1m", "memory"]).ok();
    let run = |flag: &str, command: &str| {
        world.podling(["run", "--rm", "--network=none", "-v", flag, image, "sh", "-c", command])
    };
    assert_eq!(run("memory:/m", "echo x >/m/f; grep -c ' /m tmpfs ' /proc/mounts").ok(), "1");
    assert_eq!(run("memory:/m", "ls /m").ok(), "");
    let here = world.directory("shared");
    let device = format!("--opt=device={}", here.display());
    world.podling(["volume", "create", "--opt=type=none", "--opt=o=bind", &device, "bound"]).ok();
    run("bound:/b", "echo hello >/b/f").ok();
    assert_eq!(std::fs::read_to_string(here.join("f")).expect("written"), "hello\n");
});

both!(a_volume_is_exported_and_imported, |world| {
    let image = world.image("busybox");
    let run = |volume: &str, script: &str| {
        world.podling(["run", "--rm", "--network=none", "-v", volume, image, "sh", "-c", script]).ok().to_owned()
    };
    let show = "cd /d; find . | sort; cat a/file; stat -c '%u %a' a/file .wh.odd";
    let shown = run("one:/d", &format!("cd /d; mkdir a; echo x >a/file; chown 5 a/file; touch .wh.odd; {show}"));
    let archive = world.dir.join("tmp/.archive");
    let archive = archive.to_str().expect("plain ASCII");
    world.podling(["volume", "export", "-o", archive, "one"]).ok();
    world.podling(["volume", "create", "two"]).ok();
    world.podling(["volume", "import", "two", archive]).ok();
    assert_eq!(run("two:/d", show), shown);
    // Through a pipe, and compressed.
    let podling = crate::setup::setup().bin("podling");
    let podling = podling.display();
    world.podling(["volume", "create", "three"]).ok();
    world.program("sh", ["-c", &format!("{podling} volume export one | gzip | {podling} volume import three -")]).ok();
    assert_eq!(run("three:/d", show), shown);
    let mut said = String::new();
    for words in
        [&["export", "gone"][..], &["import", "gone", archive], &["import", "two", "/nonexistent"], &["import", "two"]]
    {
        said += world.podling([&["volume"], words].concat()).fails(125);
        said.push('\n');
    }
    world.snapshot("volume_archives", &said);
});
