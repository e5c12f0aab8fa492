//! `ps` and `images`: tables, templates, filters, order.

use serde_json::Value;

use crate::world::World;

/// A word that a table pads to a column's width keeps the table's shape only if it is replaced by one as long.
fn shape(world: &World, text: &str) -> String {
    let hex = |word: &str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split(' ').map(|word| if hex(word) { "<digits-id->" } else { word });
    world.redact(&words.collect::<Vec<_>>().join(" "))
}

fn names(world: &World, words: &[&str]) -> String {
    let words = [&["ps", "-a", "--format", "{{.Names}}"], words].concat();
    world.podling(words).ok().replace('\n', " ")
}

both!(ps_lists_and_filters_containers, |world| {
    let image = world.image("witness");
    let empty = world.podling(["ps"]).ok().to_owned();
    assert_eq!(empty, "CONTAINER ID  IMAGE       COMMAND     CREATED     STATUS      PORTS       NAMES");
    for (name, label) in [("one", "a=1"), ("two", "a=2"), ("three", "b=1")] {
        world
            .podling(["create", "--network=none", "--name", name, "--label", label, image, "a-rather-long-command"])
            .ok();
    }
    // All columns but the time, which has a width of its own each second.
    let columns = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
    let table = world.podling(["ps", "-a", "--filter", "name=one", "--format", columns]).ok().to_owned();
    world.snapshot("ps_table", &shape(world, &table));
    assert_eq!(world.podling(["ps", "-a", "--noheading"]).ok().lines().count(), 3);
    // The oldest first.
    assert_eq!(names(world, &[]), "one two three");
    assert_eq!(names(world, &["--sort", "names"]), "one three two");
    assert_eq!(names(world, &["-n", "2"]), "two three");
    assert_eq!(names(world, &["-l"]), "three");
    assert_eq!(names(world, &["-f", "label=a"]), "one two");
    assert_eq!(names(world, &["-f", "label=a=2"]), "two");
    assert_eq!(names(world, &["-f", "name=^t"]), "two three");
    assert_eq!(names(world, &["-f", "name=one", "-f", "name=two"]), "one two");
    assert_eq!(names(world, &["-f", "before=two"]), "one");
    assert_eq!(names(world, &["-f", "since=two"]), "three");
    assert_eq!(names(world, &["-f", "status=exited"]), "");
    assert_eq!(names(world, &["-f", "status=created", "-f", "label=b"]), "three");
    assert_eq!(names(world, &["-f", "ancestor=witness"]), "one two three");
    let ids = world.podling(["ps", "-aq", "--no-trunc"]).ok().to_owned();
    assert!(ids.lines().all(|id| id.len() == 64), "{ids}");
    assert_eq!(names(world, &["-f", &format!("id={}", &ids[..12])]), "one");
});

both!(ps_says_it_as_json_and_by_templates, |world| {
    let image = world.image("witness");
    world.podling(["create", "--network=none", "--name=it", "--label=a.b=c", image, "exit", "3"]).ok();
    let said = world.podling(["ps", "-a", "--format", "json"]).ok().to_owned();
    let all: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(all[0]["Names"][0], "it");
    assert_eq!(all[0]["State"], "created");
    assert_eq!(all[0]["Labels"]["a.b"], "c");
    let format = |template: &str| world.podling(["ps", "-a", "--format", template]).ok().to_owned();
    assert_eq!(format(r#"{{.Names}} {{.State}} {{.Label "a.b"}} {{.Ports}}."#), "it created c .");
    assert_eq!(format(r"table {{.Names}}\t{{.State}}"), "NAMES       STATE\nit          created");
    assert!(format("{{.ID}}").len() == 12);
    let unknown = world.podling(["ps", "-a", "--format", "{{.Nmae}}"]);
    assert!(unknown.fails(125).starts_with("Error: no field \"Nmae\": there are ID, "), "{unknown}");
});

both!(images_are_listed_named_and_removed, |world| {
    assert_eq!(world.podling(["images"]).ok(), "REPOSITORY  TAG         IMAGE ID    CREATED     SIZE");
    let image = world.image("witness");
    let id = world.podling(["images", "-q"]).ok().to_owned();
    world.podling(["tag", image, "second:2", "example.com/third/x"]).ok();
    let format = "{{.Repository}}|{{.Tag}}";
    let list =
        |words: &[&str]| world.podling([&["images", "--format", format], words].concat()).ok().replace('\n', " ");
    let all = list(&["--sort", "repository"]);
    assert_eq!(all, "example.com/third/x|latest localhost/second|2 localhost/witness|latest", "{all}");
    assert_eq!(list(&["second"]), "localhost/second|2");
    assert_eq!(list(&["-f", "reference=*third*"]), "example.com/third/x|latest");
    assert_eq!(list(&["nosuch"]), "");
    assert_eq!(world.podling(["images", "-q"]).ok(), id, "one image, once");
    world.podling(["image", "exists", "second:2"]).ok();
    assert_eq!(world.podling(["image", "exists", "nosuch"]).fails(1), "");
    assert!(world.podling(["rmi", &id]).fails(125).contains("more than one tag"));
    assert_eq!(world.podling(["rmi", "second:2"]).ok(), "Untagged: localhost/second:2");
    world.podling(["untag", image, "example.com/third/x"]).ok();
    let gone = world.podling(["rmi", image]).ok().to_owned();
    assert!(gone.starts_with("Untagged: localhost/witness:latest\nDeleted: "), "{gone}");
    assert_eq!(world.podling(["images", "-q"]).ok(), "");
});

both!(an_image_that_a_container_is_made_of_is_not_removed, |world| {
    let image = world.image("witness");
    world.podling(["create", "--network=none", "--name=it", image]).ok();
    let said = world.podling(["rmi", image]);
    assert!(said.fails(2).contains("is used by container"), "{said}");
    world.podling(["rmi", "-f", image]).ok();
    assert_eq!(world.podling(["ps", "-aq"]).ok(), "");
});

both!(history_and_inspect_tell_how_an_image_was_made, |world| {
    let image = world.image("witness");
    let ids = world.podling(["history", "-q", image]).ok().to_owned();
    assert_eq!(ids.lines().next().map(str::len), Some(12), "{ids}");
    let said = world.podling(["image", "inspect", image]).ok().to_owned();
    let all: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(all[0]["RepoTags"][0], "localhost/witness:latest");
    let one = world
        .podling(["image", "inspect", "--format", "{{.Id}} {{.Os}} {{len .RootFS.Layers}}", image])
        .ok()
        .to_owned();
    assert!(one.ends_with(" linux 1"), "{one}");
});

both!(images_travel_as_archives, |world| {
    let image = world.image("witness");
    let before = world.podling(["images", "-q", "--no-trunc"]).ok().to_owned();
    let archives = world.directory("archives");
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        let file = archives.join(format);
        let file = file.to_str().expect("plain ASCII");
        world.podling(["save", "--format", format, "-o", file, image]).ok();
        world.podling(["rmi", "-a"]).ok();
        assert_eq!(world.podling(["load", "-i", file]).ok(), "Loaded image: localhost/witness:latest");
        assert_eq!(world.podling(["images", "-q", "--no-trunc"]).ok(), before, "{format}");
    }
});

both!(names_are_filtered_by_regular_expressions_and_exposed_ports_are_shown, |world| {
    let image = world.image("witness");
    for name in ["web1", "web2", "db"] {
        world.podling(["create", "--network=none", "--expose=80", "--expose=53/udp", "--name", name, image]).ok();
    }
    let names = |filter: &str| {
        let said = world.podling(["ps", "-a", "--filter", filter, "--format={{.Names}}"]);
        said.ok().replace('\n', " ")
    };
    assert_eq!(names("name=^(web1|db)$"), "web1 db");
    assert_eq!(names("name=^web[0-9]+"), "web1 web2");
    assert_eq!(names("name=eb"), "web1 web2");
    let wrong = world.podling(["ps", "--filter", "name=a("]);
    assert!(wrong.fails(125).contains("not a regular expression"), "{wrong}");
    assert_eq!(world.podling(["ps", "-a", "--filter=name=db", "--format={{.Ports}}"]).ok(), "53/udp, 80/tcp");
    world.podling(["volume", "create", "data1"]).ok();
    assert_eq!(world.podling(["volume", "ls", "-q", "--filter=name=^data.$"]).ok(), "data1");
});
