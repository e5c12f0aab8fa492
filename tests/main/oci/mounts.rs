//! What a bundle can ask of its mounts.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::runtime::{bundle, id, run};
use crate::second_opinion;
use crate::world::World;

fn add(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().expect("there are mounts").push(mount);
}

/// A user namespace of 1000 ids from 300000 on, for root's bundles, which have none.
pub fn with_ids(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().expect("there are namespaces").push(json!({ "type": "user" }));
    let map = json!([{ "containerID": 0, "hostID": 300_000, "size": 1000 }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

/// A directory of the host with a file of root's, and one of user 5's.
fn shared(world: &World) -> std::path::PathBuf {
    let source = world.directory("shared");
    fs::write(source.join("ours"), "").expect("our own directory");
    fs::write(source.join("theirs"), "").expect("our own directory");
    std::os::unix::fs::chown(source.join("theirs"), Some(5), Some(6)).expect("root may");
    fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("our own directory");
    source
}

as_root!(a_mount_shows_its_files_with_other_owners, |world| {
    if second_opinion::is("runc") {
        return; // since 1.2
    }
    let source = shared(world);
    let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 1000 }]);
    let output = run(world, &["stat", "/shared/ours", "/shared/theirs"], |config| {
        let options = ["rbind", "idmap"];
        let (uids, gids) = (map(7000), map(8000));
        add(
            config,
            json!({
                "destination": "/shared", "type": "bind", "source": source, "options": options,
                "uidMappings": uids, "gidMappings": gids,
            }),
        );
    });
    assert_eq!(output.ok(), "/shared/ours 100644 7000:8000 0\n/shared/theirs 100644 7005:8006 0");

    // Seen through the container's own namespace: root's file is root's inside, and what is made there is root's outside.
    let bundle = bundle(world, &["write", "/shared/new", "x"], |config| {
        with_ids(config);
        add(config, json!({"destination": "/shared", "type": "bind", "source": source, "options": ["bind", "idmap"]}));
    });
    std::os::unix::fs::chown(bundle.join("rootfs"), Some(300_000), Some(300_000)).expect("root may");
    world.runtime(["run", "--bundle", bundle.to_str().expect("plain ASCII"), &id(world)]).ok();
    let made = fs::metadata(source.join("new")).expect("it was written");
    assert_eq!((made.uid(), made.gid()), (0, 0));
});

as_root!(attributes_reach_the_mounts_below, |world| {
    if second_opinion::is("crun") {
        return; // 1.8 refuses the older words beside the newer
    }
    let source = world.directory("above");
    world.directory("above/below");
    let nix = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&source), &source.join("below"), None::<&str>, nix, None::<&str>).expect("root may");
    let output = run(world, &["mounts"], |config| {
        let options = ["rbind", "rro", "rnosuid", "noexec"];
        add(config, json!({"destination": "/above", "type": "bind", "source": source, "options": options}));
    });
    nix::mount::umount(&source.join("below")).expect("ours");
    let of = |place: &str| {
        let line = output.ok().lines().find(|line| line.starts_with(&format!("{place} "))).expect("mounted").to_owned();
        ["ro", "nosuid", "noexec"].map(|word| line.split([' ', ',']).any(|it| it == word))
    };
    assert_eq!(of("/above"), [true; 3]);
    assert_eq!(of("/above/below"), [true, true, false], "noexec is for the one mount");
});

/// Our own words.
mod only_ours {
    use super::*;

    both!(an_idmapped_mount_that_cannot_be_is_an_error, |world| {
        let source = world.directory("shared");
        let refused = |mount: Value| {
            let output = run(world, &["true"], |config| {
                add(config, mount);
            });
            output.fails(1);
            output.stderr.clone()
        };
        let map = json!([{ "containerID": 0, "hostID": 1, "size": 1 }]);
        let said = refused(json!({
            "destination": "/a", "type": "bind", "source": source, "options": ["bind"], "uidMappings": map
        }));
        assert!(said.contains("needs both uidMappings and gidMappings"), "{said}");
        let said = refused(json!({"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["idmap"]}));
        assert!(said.contains("ids are mapped on bind mounts only"), "{said}");
    });

    as_root!(an_idmapped_mount_without_maps_is_an_error, |world| {
        let source = world.directory("shared");
        let output = run(world, &["true"], |config| {
            add(config, json!({"destination": "/a", "type": "bind", "source": source, "options": ["bind", "idmap"]}));
        });
        output.fails(1);
        assert!(output.stderr.contains("nor a user namespace of the container's"), "{output}");
    });

    as_user!(a_user_cannot_map_the_ids_of_a_mount, |world| {
        let source = world.directory("shared");
        let output = run(world, &["true"], |config| {
            add(config, json!({"destination": "/a", "type": "bind", "source": source, "options": ["bind", "idmap"]}));
        });
        output.fails(1);
        assert!(output.stderr.contains("only root may map the ids of a mount"), "{output}");
    });

    both!(a_label_without_its_security_module_is_an_error, |world| {
        let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
        let apparmor =
            fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|it| it.starts_with('Y'));
        type Ask = fn(&mut Value);
        let asks: [(&str, bool, Ask); 3] = [
            ("process.apparmorProfile", apparmor, |it| it["process"]["apparmorProfile"] = "nothing".into()),
            ("process.selinuxLabel", selinux, |it| it["process"]["selinuxLabel"] = "a:b:c".into()),
            ("linux.mountLabel", selinux, |it| it["linux"]["mountLabel"] = "a:b:c".into()),
        ];
        for (name, is_there, ask) in asks {
            let output = run(world, &["true"], ask);
            // Where the module is, it knows no such label.
            assert_ne!(output.status, 0, "{output}");
            assert!(is_there || output.stderr.contains(&format!("{name}: this machine has no")), "{output}");
        }
        run(world, &["true"], |config| config["process"]["apparmorProfile"] = "unconfined".into()).ok();
    });
}
