//! podling-runtime by itself, as Podman, Buildah and containerd call it: bundles, not images. In a run that is a second
//! opinion the same tests ask crun or runc.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::running::{Output, until, until_exists, until_gone};
use crate::second_opinion;
use crate::world::{Who, World};

/// A bundle whose root holds the witness; `change` edits the configuration that the runtime itself suggests.
pub fn bundle(world: &World, words: &[&str], change: impl FnOnce(&mut Value)) -> PathBuf {
    let bundle = world.directory("bundle");
    for sub in ["rootfs", "rootfs/proc", "rootfs/dev", "rootfs/sys", "rootfs/tmp"] {
        world.directory(&format!("bundle/{sub}"));
    }
    let witness = bundle.join("rootfs/witness");
    if !witness.exists() {
        // An earlier bundle's may be running.
        fs::copy(crate::setup::setup().bin("witness"), &witness).expect("our own directory");
    }
    let _ = fs::remove_file(bundle.join("config.json")); // an earlier bundle's; `spec` overwrites nothing
    let rootless: &[&str] = if world.who == Who::User { &["--rootless"] } else { &[] };
    let bundle_option = ["spec", "--bundle", bundle.to_str().expect("plain ASCII")];
    world.runtime([&bundle_option, rootless].concat()).ok();
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("just written")).expect("JSON");
    config["process"]["args"] = json!([&["/witness"], words].concat());
    config["process"]["terminal"] = json!(false);
    config["root"]["readonly"] = json!(false);
    // Where root may not raise limits (in a container, on some machines) the suggested ones cannot be set.
    config["process"].as_object_mut().expect("an object").remove("rlimits");
    change(&mut config);
    world.file("bundle/config.json", config.to_string());
    bundle
}

/// The container's id: also its cgroup's name, which all worlds share.
pub fn id(world: &World) -> String {
    world.tag() + "box"
}

#[track_caller]
pub fn run(world: &World, words: &[&str], change: impl FnOnce(&mut Value)) -> Output {
    let bundle = bundle(world, words, change);
    world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)])
}

pub fn state(world: &World) -> Value {
    serde_json::from_str(world.runtime(["state", &id(world)]).ok()).expect("JSON")
}

/// `create`, with output to a file: the container keeps its creator's streams.
pub fn create(world: &World, bundle: &std::path::Path) -> PathBuf {
    let output = world.dir.join("output");
    let program = second_opinion::runtime();
    let script = r#""$0" --root "$1" create --bundle "$2" --pid-file "$3" "$4" >"$5" 2>&1 || { cat "$5"; exit 1; }"#;
    let root = world.dir.join("run/runtime");
    let pid_file = world.dir.join("pid");
    let words = [script.into(), program, root, bundle.into(), pid_file, id(world).into(), output.clone()];
    world.program("sh", [&[PathBuf::from("-c")], &words[..]].concat()).ok();
    output
}

both!(a_bundle_is_created_started_ended_and_deleted, |world| {
    let bundle = bundle(world, &["until-term"], |_| {});
    let output = create(world, &bundle);
    let created = state(world);
    assert_eq!((&created["id"], &created["status"]), (&json!(id(world)), &json!("created")));
    assert_eq!(created["bundle"], json!(bundle));
    let pid = created["pid"].as_i64().expect("a number") as i32;
    assert_eq!(fs::read_to_string(world.dir.join("pid")).ok(), Some(pid.to_string()));
    assert_eq!(fs::read_to_string(&output).ok().as_deref(), Some(""), "the program must not run before start");

    world.runtime(["start", &id(world)]).ok();
    until("the program speaks", || fs::read_to_string(&output).is_ok_and(|text| text == "ready\n").then_some(()));
    assert_eq!(state(world)["status"], "running");
    world.runtime(["start", &id(world)]).fails(1);
    assert_ne!(world.runtime(["delete", &id(world)]).status, 0, "a running container is not deleted");

    world.runtime(["kill", &id(world), "TERM"]).ok();
    until_gone(pid);
    assert_eq!(fs::read_to_string(&output).ok().as_deref(), Some("ready\nasked to end\n"));
    until("it is known to have stopped", || (state(world)["status"] == "stopped").then_some(()));
    world.runtime(["delete", &id(world)]).ok();
    assert_ne!(world.runtime(["state", &id(world)]).status, 0);
    world.runtime(["delete", "--force", &id(world)]).ok();
});

both!(run_ends_with_the_programs_status, |world| {
    for status in [0, 7, 255] {
        assert_eq!(run(world, &["exit", &status.to_string()], |_| {}).status, status);
    }
    assert_eq!(run(world, &["echo", "hello"], |_| {}).ok(), "hello");
});

both!(signals_are_known_by_number_too_and_kill_is_final, |world| {
    let bundle = bundle(world, &["sleep-forever"], |_| {});
    create(world, &bundle);
    world.runtime(["start", &id(world)]).ok();
    let pid = state(world)["pid"].as_i64().expect("a number") as i32;
    world.runtime(["kill", &id(world), "9"]).ok();
    until_gone(pid);
    world.runtime(["delete", "--force", &id(world)]).ok();
    world.runtime(["delete", "--force", &id(world)]).ok();
});

both!(exec_joins_and_reports_its_status, |world| {
    let bundle = bundle(world, &["until-term"], |_| {});
    create(world, &bundle);
    world.runtime(["start", &id(world)]).ok();
    assert_eq!(world.runtime(["exec", &id(world), "/witness", "echo", "inside"]).ok(), "inside");
    world.runtime(["exec", &id(world), "/witness", "exit", "9"]).fails(9);
    let pid_file = world.dir.join("exec.pid");
    let process = json!({
        "args": ["/witness", "write", "/tmp/done", "x"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["A=B"],
    });
    let process = world.file("process.json", process.to_string());
    let words = ["exec", "--pid-file", pid_file.to_str().expect("plain ASCII"), "--process"];
    // Options may come after the id, too; `--detach` returns at once.
    world.runtime([&words[..], &[process.to_str().expect("plain ASCII"), "--detach", &id(world)]].concat()).ok();
    until_exists(&bundle.join("rootfs/tmp/done"));
    assert!(fs::read_to_string(pid_file).is_ok_and(|pid| pid.parse::<u32>().is_ok()));
    world.runtime(["delete", "--force", &id(world)]).ok();
});

both!(a_program_that_is_not_there_is_named_in_the_fields_words, |world| {
    let output = run(world, &[], |config| config["process"]["args"] = json!(["nothing"]));
    assert_ne!(output.status, 0);
    let said = output.stderr.to_lowercase();
    assert!(said.contains("executable file") && said.contains("not found"), "{output}");
});

both!(a_configuration_that_we_suggest_can_be_run, |world| {
    let bundle = bundle(world, &[], |_| {});
    let path = bundle.join("config.json");
    fs::remove_file(&path).expect("just written");
    let rootless: &[&str] = if world.who == Who::User { &["--rootless"] } else { &[] };
    let words = [&["spec", "--bundle", bundle.to_str().expect("plain ASCII")], rootless].concat();
    world.program(crate::setup::setup().bin("podling-runtime"), words).ok();
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("just written")).expect("JSON");
    let process = config["process"].as_object_mut().expect("an object");
    process.insert("args".into(), json!(["/witness", "exit", "7"]));
    process.insert("terminal".into(), json!(false));
    world.file("bundle/config.json", config.to_string());
    world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]).fails(7);
});

both!(a_broken_configuration_is_refused_before_anything_is_made, |world| {
    let bundle = bundle(world, &[], |_| {});
    let config = fs::read_to_string(bundle.join("config.json")).expect("just written");
    let without_version = config.replace("\"ociVersion\"", "\"unknown\"");
    let mut all = vec!["", "{", "[]", r#"{"ociVersion": 7}"#];
    // runc 1.1 asks for no version.
    if !second_opinion::is("runc") {
        all.push(&without_version);
    }
    for broken in all {
        world.file("bundle/config.json", broken);
        let output = world.runtime(["create", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
        assert_ne!(output.status, 0, "{broken}");
        assert!(!output.stderr.contains("panicked"), "{output}");
        assert_ne!(world.runtime(["state", &id(world)]).status, 0);
    }
});

both!(ids_that_would_leave_the_state_directory_are_refused, |world| {
    let bundle = bundle(world, &[], |_| {});
    for id in ["..", "a/b", "../../escape", ""] {
        let output = world.runtime(["create", "--bundle", bundle.to_str().expect("plain ASCII"), id]);
        assert_ne!(output.status, 0, "{id:?}");
    }
});

both!(features_and_list_are_json, |world| {
    // crun 1.8.1 has no such command.
    if !second_opinion::is("crun") {
        let features: Value = serde_json::from_str(world.runtime(["features"]).ok()).expect("JSON");
        assert!(features["ociVersionMax"].is_string() && features["linux"]["namespaces"].is_array(), "{features}");
    }
    let bundle = bundle(world, &["sleep-forever"], |_| {});
    create(world, &bundle);
    let list: Value = serde_json::from_str(world.runtime(["list", "--format", "json"]).ok()).expect("JSON");
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!(id(world)), &json!("created")));
    world.runtime(["delete", "--force", &id(world)]).ok();
});

both!(masked_paths_are_empty_and_read_only_paths_are_read_only, |world| {
    let write = ["write", "/proc/sys/kernel/hostname", "x"];
    let output = run(world, &write, |config| config["linux"]["readonlyPaths"] = json!(["/proc/sys"]));
    assert_eq!(output.fails(1), "/proc/sys/kernel/hostname: Read-only file system (os error 30)");
    let output =
        run(world, &["cat", "/proc/uptime"], |config| config["linux"]["maskedPaths"] = json!(["/proc/uptime"]));
    assert_eq!(output.ok(), "");
});

// ------------------------------------------------------------------------------------------------------ attacks

both!(a_proc_that_is_a_link_is_not_mounted_through, |world| {
    // CVE-2019-19921 and its kin: /proc of the image points elsewhere.
    let bundle = bundle(world, &["true"], |_| {});
    fs::remove_dir(bundle.join("rootfs/proc")).expect("our own directory");
    std::os::unix::fs::symlink("tmp", bundle.join("rootfs/proc")).expect("our own directory");
    let output = world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
    assert_ne!(output.status, 0, "{output}");
});

both!(a_link_in_the_image_does_not_lead_a_mount_outside, |world| {
    // CVE-2021-30465's simpler form: a mount's target is a link to a place outside the root.
    let outside = world.directory("outside");
    let bundle = bundle(world, &["stat", "/inner/door"], |config| {
        let mount = json!({"destination": "/link/door", "type": "tmpfs", "source": "tmpfs", "options": ["mode=700"]});
        config["mounts"].as_array_mut().expect("there are mounts").push(mount);
    });
    fs::create_dir(bundle.join("rootfs/inner")).expect("our own directory");
    std::os::unix::fs::symlink(format!("../../{}", outside.display()), bundle.join("rootfs/link"))
        .expect("our own directory");
    let output = world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]);
    // Whether the target is made inside the root or refused: nothing may have happened outside.
    assert!(fs::read_dir(&outside).is_ok_and(|mut dir| dir.next().is_none()), "{output}");
});

both!(a_working_directory_outside_the_root_is_refused, |world| {
    // CVE-2024-21626: cwd through a leaked descriptor of a host directory.
    for fd in 3..12 {
        let output = run(world, &["cwd"], |config| config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}")));
        assert!(output.status != 0 || output.ok().starts_with("/proc/"), "{output}");
    }
});
