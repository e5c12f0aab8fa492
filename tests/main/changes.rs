//! What is changed: `diff` of containers and images, and `update` of a container's limits.

both!(a_container_tells_what_it_changed_in_its_image, |world| {
    let image = world.image("busybox");
    let script = "echo x >/fresh; echo x >/etc/group; rm /etc/passwd; mkdir -p /home/a/b; echo x >/root/gone; rm /root/gone; \
                  rm -r /var; mkdir /var; ln -s /etc/shadow /tmp/link";
    world.podling(["run", "--name=a", "--network=none", image, "sh", "-c", script]).ok();
    let lines = "C /etc\nC /etc/group\nD /etc/passwd\nA /fresh\nC /home\nA /home/a\nA /home/a/b\nC /root\nC /tmp\nA /tmp/link\nC /var";
    assert_eq!(world.podling(["diff", "a"]).ok(), lines);
    assert_eq!(world.podling(["container", "diff", "--latest"]).ok(), lines);
    let json: serde_json::Value =
        serde_json::from_str(world.podling(["diff", "--format=json", "a"]).ok()).expect("it says JSON");
    assert_eq!(json["deleted"], serde_json::json!(["/etc/passwd"]));
    assert_eq!(json["added"], serde_json::json!(["/fresh", "/home/a", "/home/a/b", "/tmp/link"]));
    // A running one is asked as it is, and one that changed nothing says nothing but where things were mounted.
    world.podling(["run", "-d", "--name=b", "--network=none", image, "sleep", "1000"]).ok();
    assert!(!world.podling(["diff", "b"]).ok().contains("fresh"));
});

both!(an_image_tells_what_its_last_layer_changes, |world| {
    let image = world.image("layers");
    assert_eq!(world.podling(["image", "diff", image]).ok(), "A /link\nA /top");
    assert_eq!(world.podling(["diff", image]).ok(), "A /link\nA /top");
    // A layer in the middle that hides, replaces and removes, seen from a container that is made of all three.
    world.podling(["create", "--name=a", "--network=none", image]).ok();
    assert_eq!(world.podling(["diff", "a"]).ok(), "");
    let said = [&["diff", "nosuch"][..], &["image", "diff", "nosuch"], &["diff"], &["diff", "--format=yaml", "a"]]
        .map(|words| world.podling(words).fails(125).to_owned());
    world.snapshot("no_diff", &said.join("\n"));
});

both!(a_directory_that_hides_the_layers_below_is_all_new, |world| {
    let image = world.image("layers");
    // (In /etc the runtime made the files that ours are mounted on, as in Podman.) In it /replaced has one file, `new`; the layer below, which it hides, had `old`.
    let script = |name: &str, words: &[&str]| {
        world.podling([&["run", "--network=none", name, image], words].concat()).ok().to_owned()
    };
    script("--name=a", &["write", "/replaced/old", "x"]);
    script("--name=b", &["write", "/replaced/new", "x"]);
    assert_eq!(world.podling(["diff", "a"]).ok(), "C /etc\nC /replaced\nA /replaced/old");
    assert_eq!(world.podling(["diff", "b"]).ok(), "C /etc\nC /replaced\nC /replaced/new");
    script("--name=c", &["write", "/gone", "x"]);
    assert_eq!(world.podling(["diff", "c"]).ok(), "C /etc\nA /gone", "it was removed in the layer below");
});

both!(limits_can_be_changed_afterwards, |world| {
    let image = world.image("witness");
    let id = world.podling(["create", "--name=a", "--network=none", "--cpus=1.5", image]).ok().to_owned();
    let flags = ["update", "--memory=64m", "--cpu-quota=5000", "--cpuset-cpus=0", "--restart=on-failure:3", "a"];
    assert_eq!(world.podling(flags).ok(), id);
    world.podling(["container", "update", "--pids-limit=50", "--latest"]).ok();
    let format = "--format={{with .HostConfig}}{{.Memory}} {{.CpuQuota}} {{.NanoCpus}} {{.CpusetCpus}} {{.PidsLimit}} \
                  {{.RestartPolicy.Name}}:{{.RestartPolicy.MaximumRetryCount}}{{end}}";
    assert_eq!(world.podling(["inspect", format, "a"]).ok(), "67108864 5000 0 0 50 on-failure:3");
    let said = [
        &["update", "--memory=64m"][..],
        &["update", "--memory=lots", "a"],
        &["update", "nosuch"],
        &["update", "--name=b", "a"],
    ]
    .map(|words| world.podling(words).fails(125).to_owned());
    world.snapshot("no_update", &said.join("\n"));
});
