//! Images to and from registries: formats, platforms, accounts, certificates, and what skopeo makes of our store.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use crate::setup::{self, Registry};
use crate::world::World;

/// The image's program says which image it is: pulls it and runs it.
fn pulls_and_runs(world: &World, name: &str) {
    let id = world.podling(["pull", "-q", name]).ok().to_owned();
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(world.podling(["run", "--rm", "--network=none", name, "exit", "7"]).status, 7, "{name}");
}

both!(every_format_is_pulled_and_runs, |world| {
    let registry = world.registry();
    for tag in ["latest", "docker", "zstd", "every"] {
        pulls_and_runs(world, &format!("{registry}/witness:{tag}"));
    }
    let names = world.podling(["images", "--format", "{{.Tag}}", "--sort", "tag"]).ok().replace('\n', " ");
    assert_eq!(names, "docker every latest zstd");
});

both!(a_short_name_is_looked_for_where_registries_conf_says, |world| {
    let registry = world.registry();
    let conf = fs::read_to_string(world.dir.join("registries.conf")).expect("written by the harness");
    world.file("registries.conf", format!("unqualified-search-registries = [\"{registry}\"]\n{conf}"));
    pulls_and_runs(world, "witness");
    assert_eq!(world.podling(["images", "--format", "{{.Repository}}"]).ok(), format!("{registry}/witness"));
});

both!(an_image_that_is_not_here_is_pulled_by_run, |world| {
    let name = format!("{}/witness", world.registry());
    let said = world.podling(["run", "--rm", "--network=none", &name, "exit", "0"]);
    said.ok();
    assert!(said.stderr.starts_with(&format!("Trying to pull {name}:latest...")), "{said}");
    let again = world.podling(["run", "--rm", "--network=none", &name, "exit", "0"]);
    again.ok();
    assert_eq!(again.stderr, "", "it is here now");
});

both!(what_is_pushed_is_what_is_pulled, |world| {
    let registry = world.registry();
    let image = world.image("witness");
    let id = world.podling(["images", "-q", "--no-trunc"]).ok().to_owned();
    // Root and the user push at the same time, to the same registry.
    let target = format!("{registry}/pushed-by-{:?}:1", world.who).to_lowercase();
    world.podling(["push", "-q", image, &target]).ok();
    world.podling(["rmi", "-a"]).ok();
    let pulled = world.podling(["pull", "-q", &target]).ok().to_owned();
    assert_eq!(format!("sha256:{pulled}"), id);
    let digest = world.podling(["image", "inspect", "--format", "{{.Digest}}", &target]).ok().to_owned();
    world.podling(["rmi", "-a"]).ok();
    let pinned = format!("{}@{digest}", target.trim_end_matches(":1"));
    assert_eq!(world.podling(["pull", "-q", &pinned]).ok(), pulled);
});

both!(an_account_is_needed_kept_and_given_back, |world| {
    let registry = Registry::with_password(setup::setup()).address;
    world.trust_registry(&registry);
    let image = world.image("witness");
    let target = format!("{registry}/mine");
    let denied = world.podling(["push", "-q", image, &target]);
    assert!(denied.fails(125).contains("denied (`podling login"), "{denied}");
    let wrong = world.podling_with_input(["login", "-u", "podling", "--password-stdin", &registry], "guess");
    assert!(wrong.fails(125).contains("invalid username/password"), "{wrong}");
    world.podling_with_input(["login", "-u", "podling", "--password-stdin", &registry], "secret").ok();
    assert_eq!(world.podling(["login", "--get-login", &registry]).ok(), "podling");
    world.podling(["push", "-q", image, &target]).ok();
    world.podling(["pull", "-q", &target]).ok();
    world.podling(["logout", &registry]).ok();
    world.podling(["pull", "-q", &target]).fails(125);
});

both!(a_registry_s_own_authority_is_named_with_cert_dir, |world| {
    let (registry, certs) = Registry::with_password_and_tls(setup::setup());
    let (registry, certs) = (registry.address, format!("--cert-dir={}", certs.display()));
    let image = world.image("witness");
    let target = format!("{registry}/mine:1");
    let login = |flags: &[&str], password: &str| {
        let words = [&["login", "-u", "podling", "--password-stdin"], flags, &[&registry]].concat();
        world.podling_with_input(words, password)
    };
    let unknown = login(&[], "secret");
    assert!(unknown.fails(125).contains("certificate"), "{unknown}");
    let wrong = login(&[&certs], "guess");
    world.snapshot("login_wrong", wrong.fails(125));
    assert_eq!(login(&[&certs], "secret").ok(), "Login Succeeded!");
    world.podling(["push", "-q", &certs, image, &target]).ok();
    let unknown = world.podling(["pull", "-q", &target]);
    assert!(unknown.fails(125).contains("certificate"), "{unknown}");
    world.podling(["rmi", "-a"]).ok();
    world.podling(["pull", "-q", &certs, &target]).ok();
    world.podling(["rmi", "-a"]).ok();
    // Any certificate will do, on request: it need not be plain HTTP.
    let run = ["run", "--rm", "-q", "--network=none", "--tls-verify=false", &target, "exit", "7"];
    assert_eq!(world.podling(run).status, 7);
});

both!(what_login_writes_the_others_read_and_what_they_write_we_read, |world| {
    let registry = Registry::with_password(setup::setup()).address;
    world.trust_registry(&registry);
    let image = world.image("witness");
    let (ours, theirs) = (world.dir.join("home/ours.json"), world.dir.join("home/theirs.json"));
    let (ours, theirs) = (format!("--authfile={}", ours.display()), format!("--authfile={}", theirs.display()));
    let login = ["login", "-u", "podling", "--password-stdin", &ours, &registry];
    world.podling_with_input(login, "secret").ok();
    assert_eq!(world.program("skopeo", ["login", "--get-login", &ours, &registry]).ok(), "podling");
    let target = format!("{registry}/shared:1");
    world.podling(["push", "-q", &ours, image, &target]).ok();
    let digest = world.podling(["image", "inspect", "--format={{.Digest}}", image]).ok().to_owned();
    let remote = format!("docker://{target}");
    let inspect = ["inspect", "--tls-verify=false", "--format={{.Digest}}", &ours, &remote];
    assert_eq!(world.program("skopeo", inspect).ok(), digest, "skopeo sees the image that we have");
    let login = ["login", "-u", "podling", "-p", "secret", "--tls-verify=false", &theirs, &registry];
    world.program("skopeo", login).ok();
    assert_eq!(world.podling(["login", "--get-login", &theirs, &registry]).ok(), "podling");
    world.podling(["rmi", "-a"]).ok();
    // Without the file nobody knows us; `run` and `create` take it, and --creds, as `pull` does.
    let said = world.podling(["create", "-q", "--network=none", &target]);
    assert!(said.fails(125).contains("denied (`podling login"), "{said}");
    world.podling(["create", "-q", "--network=none", &theirs, &target]).ok();
    world.podling(["rmi", "-af"]).ok();
    world.podling(["create", "-q", "--network=none", "--creds=podling:guess", &target]).fails(125);
    world.podling(["create", "-q", "--network=none", "--creds=podling:secret", &target]).ok();
    world.podling(["logout", &theirs, &registry]).ok();
    world.program("skopeo", ["login", "--get-login", &theirs, &registry]).fails(1);
    world.podling(["logout", &theirs, &registry]).fails(125);
});

both!(all_tags_of_a_name_are_pulled_at_once, |world| {
    let name = format!("{}/witness", world.registry());
    world.podling(["pull", "-q", "--all-tags", &name]).ok();
    let tags = world.podling(["images", "--format", "{{.Tag}}", "--sort", "tag"]).ok().replace('\n', " ");
    assert_eq!(tags, "docker every latest zstd");
    let said = world.podling(["pull", "-aq", &format!("{name}:latest")]);
    assert!(said.fails(125).contains("needs a name without tag or digest"), "{said}");
    let said = world.podling(["pull", "-aq", &format!("{}/nosuch", world.registry())]);
    assert!(said.fails(125).contains("asking for the tags of"), "{said}");
});

both!(plain_http_is_spoken_only_on_request, |world| {
    let registry = &setup::setup().registry().address;
    let name = format!("{registry}/witness");
    let refused = world.podling(["pull", "-q", &name]);
    assert!(refused.fails(125).contains("does not speak TLS; if it is meant to be plain HTTP"), "{refused}");
    world.podling(["pull", "-q", "--tls-verify=false", &name]).ok();
});

both!(an_image_for_no_machine_is_refused_with_what_there_is, |world| {
    let name = format!("{}/witness:every", world.registry());
    let refused = world.podling(["pull", "-q", "--platform=linux/pdp11", &name]);
    assert!(refused.fails(125).contains("no image for platform linux/pdp11; there are: linux/"), "{refused}");
    assert_eq!(world.podling(["images", "-q"]).ok(), "");
});

both!(a_layer_that_is_not_what_was_promised_leaves_nothing, |world| {
    // A manifest that is sound, and a registry that has other bytes of the same length for each blob.
    let blob = [b'x'; 10];
    let digest = crate::images::digest(b"promised!!");
    let part = format!("\"size\":10,\"digest\":\"{digest}\"");
    let manifest = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":\
         {{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",{part}}},\"layers\":[]}}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback device");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let body = if asked.contains("/blobs/") { &blob[..] } else { manifest.as_bytes() };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    world.trust_registry(&address);
    let said = world.podling(["pull", "-q", &format!("{address}/x")]);
    assert!(said.fails(125).contains("arrived with other bytes"), "{said}");
    assert_eq!(said.stderr.trim_end().lines().count(), 1, "{said}");
    assert_eq!(world.podling(["images", "-q"]).ok(), "");
});

both!(skopeo_copies_out_of_our_store_and_into_it, |world| {
    let image = world.image("witness");
    let store = format!("oci:{}", world.data().join("images").display());
    let copy = format!("oci:{}:copy", world.directory("copy").display());
    world
        .program("skopeo", ["--insecure-policy", "copy", "-q", &format!("{store}:localhost/{image}:latest"), &copy])
        .ok();
    world.program("skopeo", ["--insecure-policy", "copy", "-q", &copy, &format!("{store}:quay.io/from/skopeo:1")]).ok();
    world.podling(["rmi", image]).ok();
    assert_eq!(world.podling(["run", "--rm", "--network=none", "quay.io/from/skopeo:1", "exit", "7"]).status, 7);
});

both!(commands_about_images_at_once_lose_none, |world| {
    // Each image comes, gets a second name, runs and loses the first one, while garbage is collected all the time.
    let archive = |image: &str| setup::setup().archive(image).display().to_string();
    let images = ["witness", "busybox", "layers", "owners"];
    let first = images.map(archive).map(|archive| world.spawn(["load", "-q", "-i", &archive]));
    let at_once = |commands: Vec<crate::running::Running>| {
        let collecting = (0..8).map(|_| world.spawn(["image", "prune", "-f"])).collect::<Vec<_>>();
        for command in commands.into_iter().chain(collecting) {
            command.wait().ok();
        }
    };
    at_once(first.into());
    at_once(images.map(|image| world.spawn(["tag", image, &format!("localhost/kept:{image}")])).into());
    let run = |image| world.spawn(["run", "--rm", "--network=none", &format!("localhost/kept:{image}"), "true"]);
    at_once(
        ["busybox", "owners"].map(run).into_iter().chain(images.map(|image| world.spawn(["rmi", image]))).collect(),
    );
    let left = world.podling(["images", "--format={{.Repository}}:{{.Tag}}"]).ok().to_owned();
    let mut left: Vec<_> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["busybox", "layers", "owners", "witness"].map(|image| format!("localhost/kept:{image}")));
    assert_eq!(world.podling(["run", "--rm", "--network=none", "localhost/kept:witness", "exit", "7"]).status, 7);
});

both!(archives_go_from_us_to_skopeo_and_back, |world| {
    let image = world.image("layers");
    let skopeo =
        |from: &str, to: &str| world.program("skopeo", ["--insecure-policy", "copy", "-q", from, to]).ok().len();
    let file = |name: String| world.dir.join(name).to_str().expect("plain ASCII").to_owned();
    for format in ["docker-archive", "oci-archive"] {
        let (ours, theirs) = (file(format!("ours-{format}.tar")), file(format!("theirs-{format}.tar")));
        world.podling(["save", "-q", "--format", format, "-o", &ours, image]).ok();
        let name = format!("localhost/{format}:1");
        skopeo(&format!("{format}:{ours}"), &format!("{format}:{theirs}:{name}"));
        world.podling(["load", "-q", "-i", &theirs]).ok();
        assert_eq!(
            world.podling(["run", "--rm", "--network=none", &name, "cat", "/changed"]).ok(),
            "middle",
            "{format}"
        );
    }
});

both!(the_machines_own_programs_are_an_image, |world| {
    let said = world.podling([
        "run",
        "--rm",
        "--network=none",
        "host-tools",
        "sh",
        "-c",
        "id -u; ls /bin/sh; cat /etc/os-release",
    ]);
    assert!(said.ok().starts_with("0\n/bin/sh\nNAME=\"podling host tools\""), "{said}");
    assert_eq!(world.podling(["images", "--format", "{{.Repository}}"]).ok(), "localhost/host-tools");
});

as_user!(an_id_that_the_user_cannot_map_is_refused_by_name, |world| {
    let layer = crate::images::Layer::new().file_of("home/big", 0o644, 1_500_000, "x");
    let layout = crate::images::Layout::new(vec![layer], &serde_json::json!({}));
    let archive = world.directory("archive").join("big.tar");
    layout.write_archive(&archive, "big");
    setup::give_to_user(&archive);
    world.podling(["load", "-q", "-i", archive.to_str().expect("plain ASCII")]).ok();
    let said = world.podling(["run", "--rm", "--network=none", "big", "true"]);
    let text = said.fails(125);
    assert!(text.contains("/home/big belongs to user 1500000, but this user namespace has only user ids 0-"), "{text}");
    assert!(text.contains("/etc/subuid"), "{text}");
    assert_eq!(
        fs::read_dir(world.data().join("layers")).map_or(0, |all| all.flatten().filter(|e| e.path().is_dir()).count()),
        0
    );
});
