//! Registries as their users meet them: tokens, accounts that a helper keeps, formats on request, and what a terminal shows.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::running::until;
use crate::setup::{self, Registry};
use crate::world::World;

/// Who signs tokens for [`Registry::with_tokens`]: `podling` with the password `secret` may do everything, but nothing in
/// repositories below `closed/`.
fn serve_tokens(listener: &TcpListener, keys: &Path) {
    for mut stream in listener.incoming().flatten() {
        let (query, user) = request(&stream);
        let known = user.as_deref() == Some("podling:secret");
        let answer = match user {
            Some(_) if !known => {
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
            }
            _ => {
                let body = json!({"token": token(keys, &access(&query, known))}).to_string();
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            }
        };
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// A request's query, and the `user:password` that it shows.
fn request(stream: &TcpStream) -> (String, Option<String>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let query = first.split([' ', '?']).nth(2).unwrap_or_default();
    let query = query.replace("%3A", ":").replace("%2C", ",").replace("%2F", "/");
    let basic =
        |line: String| Some(line.to_lowercase().starts_with("authorization: basic").then(|| line[21..].to_owned()));
    let shown = lines.take_while(|line| !line.is_empty()).filter_map(basic).flatten().next();
    let user = shown.and_then(|text| String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok());
    (query, user)
}

/// What a token is for, of all that was asked.
fn access(query: &str, known: bool) -> Vec<Value> {
    let scopes = query.split('&').filter_map(|field| field.strip_prefix("scope=repository:"));
    let granted =
        scopes.filter_map(|scope| scope.split_once(':')).filter(|(name, _)| known && !name.starts_with("closed/"));
    granted
        .map(|(name, actions)| json!({"type": "repository", "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
        .collect()
}

/// A JSON Web Token (RFC 7519), signed by openssl.
fn token(keys: &Path, access: &[Value]) -> String {
    let certificate = fs::read_to_string(keys.join("token.crt")).expect("made by openssl");
    let certificate: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
    let now = jiff::Timestamp::now().as_second();
    let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
    let claims = json!({"iss": "tests", "aud": "tests", "sub": "", "exp": now + 300, "nbf": now - 60, "iat": now,
                        "jti": now.to_string(), "access": access});
    let text = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = setup::openssl(keys, "dgst -sha256 -sign token.secret", text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A registry that wants tokens, and is trusted in this world.
fn registry_with_tokens(world: &World) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback device");
    let realm = format!("http://{}/token", listener.local_addr().expect("it is bound"));
    let (registry, keys): (Registry, PathBuf) = Registry::with_tokens(setup::setup(), &realm);
    std::thread::spawn(move || serve_tokens(&listener, &keys));
    world.trust_registry(&registry.address);
    registry.address
}

both!(a_token_is_asked_for_all_repositories_that_a_push_needs, |world| {
    let registry = registry_with_tokens(world);
    let image = world.image("witness");
    let wrong = world.podling(["login", "-u", "podling", "-p", "guess", &registry]);
    assert!(wrong.fails(125).contains("invalid username/password"), "{wrong}");
    world.podling(["login", "-u", "podling", "-p", "secret", &registry]).ok();
    let name = |repository: &str| format!("{registry}/{repository}");
    // The name promises a repository from which blobs could be taken. It may not be read, and so they are sent.
    world.podling(["tag", image, &name("closed/x")]).ok();
    world.podling(["push", "-q", image, &name("open/one")]).ok();
    world.podling(["rmi", "-af"]).ok();
    world.podling(["pull", "-q", &name("open/one")]).ok();
    // This time it may.
    world.podling(["push", "-q", &name("open/one"), &name("open/two")]).ok();
    world.podling(["rmi", "-af"]).ok();
    assert_eq!(world.podling(["run", "--rm", "-q", "--network=none", &name("open/two"), "exit", "7"]).status, 7);
    let closed = world.podling(["pull", "-q", &name("closed/x")]);
    assert!(closed.fails(125).contains("denied (`podling login"), "{closed}");
    world.podling(["logout", &registry]).ok();
    world.podling(["pull", "-q", &name("open/one")]).fails(125);
});

both!(credentials_that_a_helper_keeps_are_not_written_down, |world| {
    let registry = Registry::with_password(setup::setup()).address;
    world.trust_registry(&registry);
    let script = "#!/bin/sh\nf=$HOME/kept.json\ncase $1 in\nstore) cat >$f ;;\nerase) rm $f ;;\n\
                  get) cat $f 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;\nesac\n";
    let helper = setup::setup().bin("docker-credential-tests");
    let new = setup::setup().bin(&format!("docker-credential-{:?}", world.who));
    fs::write(&new, script).expect("our own directory");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("our own file");
    // Root and the user make it at the same time.
    fs::rename(&new, &helper).expect("the same directory");
    let authfile = world.file("auth.json", json!({"credHelpers": {&registry: "tests"}}).to_string());
    let kept = world.dir.join("home/kept.json");
    let flag = format!("--authfile={}", authfile.display());
    world.podling(["login", "-u", "podling", "-p", "secret", &flag, &registry]).ok();
    assert!(fs::read_to_string(&kept).expect("stored").contains(&registry));
    assert!(!fs::read_to_string(&authfile).expect("there").contains("auths\": {\n"), "nothing but the helper's name");
    assert_eq!(world.podling(["login", "--get-login", &flag, &registry]).ok(), "podling");
    let image = world.image("witness");
    world.podling(["push", "-q", &flag, image, &format!("{registry}/mine")]).ok();
    world.podling(["logout", &flag, &registry]).ok();
    assert!(!kept.exists());
    world.podling(["login", "--get-login", &flag, &registry]).fails(125);
    world.podling(["logout", &flag, &registry]).fails(125);
});

both!(who_is_logged_in_is_not_asked_again, |world| {
    let registry = Registry::with_password(setup::setup()).address;
    world.trust_registry(&registry);
    let conf = fs::read_to_string(world.dir.join("registries.conf")).expect("written by the harness");
    world.file("registries.conf", format!("unqualified-search-registries = [\"{registry}\"]\n{conf}"));
    world.podling(["login", "-u", "podling", "-p", "secret"]).ok();
    assert_eq!(world.podling(["login", "--get-login", &registry]).ok(), "podling");
    let said = world.podling(["login", &registry]);
    assert!(said.ok().ends_with(&format!("Already logged in to {registry}")), "{said}");
    world.podling(["logout"]).ok();
    world.podling(["login", "--get-login"]).fails(125);
});

both!(a_push_converts_on_request, |world| {
    let registry = world.registry();
    let image = world.image("witness");
    let id = world.podling(["images", "-q", "--no-trunc"]).ok().to_owned();
    let raw = |name: &str| -> Value {
        let text = world.program("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
        serde_json::from_str(text.ok()).expect("a manifest")
    };
    for (flags, manifest, layer) in [
        (&["--compression-format=zstd"][..], "oci.image.manifest.v1+json", "oci.image.layer.v1.tar+zstd"),
        (&["--format=v2s2"], "docker.distribution.manifest.v2+json", "docker.image.rootfs.diff.tar.gzip"),
        (&["--format=oci"], "oci.image.manifest.v1+json", "oci.image.layer.v1.tar+gzip"),
    ] {
        let name = format!("{registry}/converted-for-{:?}:{}", world.who, layer.replace('+', "-")).to_lowercase();
        let file = world.directory("digests").join("digest");
        let digest = format!("--digestfile={}", file.display());
        world.podling([&["push", "-q", &digest], flags, &[image, &name]].concat()).ok();
        let pushed = raw(&name);
        assert_eq!(pushed["mediaType"], format!("application/vnd.{manifest}"), "{flags:?}");
        assert_eq!(pushed["layers"][0]["mediaType"], format!("application/vnd.{layer}"), "{flags:?}");
        world.podling(["rmi", "-af"]).ok();
        assert_eq!(format!("sha256:{}", world.podling(["pull", "-q", &name]).ok()), id, "{flags:?}");
        let said = world.podling(["image", "inspect", "--format={{.Digest}}", &name]);
        assert_eq!(said.ok(), fs::read_to_string(&file).expect("written"), "{flags:?}");
        assert_eq!(world.podling(["run", "--rm", "--network=none", &name, "exit", "7"]).status, 7, "{flags:?}");
        world.podling(["tag", &name, image]).ok();
    }
    let target = format!("{registry}/refused");
    let said = world.podling(["push", "--format=v2s2", "--compression-format=zstd", image, &target]);
    assert!(said.fails(125).contains("knows no zstd"), "{said}");
    let said = world.podling(["push", "--format=bogus", image, &target]);
    assert!(said.fails(125).contains("expected oci or v2s2"), "{said}");
});

both!(a_terminal_shows_what_is_done_above_what_moves, |world| {
    let name = format!("{}/layers", world.registry());
    let said = world.spawn_on_terminal(["pull", &name]).wait();
    let text = said.ok();
    let at = |what: &str| text.rfind(what).unwrap_or_else(|| panic!("no {what:?} in {said}"));
    assert!(text.matches(" done").count() >= 4, "three layers and the configuration: {said}");
    assert!(at(" done") < at("Writing manifest to image destination"), "{said}");
});

both!(an_image_that_is_removed_while_it_is_unpacked_is_unpacked, |world| {
    use nix::fcntl::{Flock, FlockArg};
    use std::os::unix::fs::MetadataExt;
    let image = world.image("witness");
    let layers = world.data().join("layers");
    world.program("mkdir", ["-p", layers.to_str().expect("plain ASCII")]).ok();
    world.program("touch", [layers.join("lock").to_str().expect("plain ASCII")]).ok();
    let lock = fs::File::open(layers.join("lock")).expect("just made");
    let inode = format!(":{} ", lock.metadata().expect("open").ino());
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).expect("nobody else's");
    let run = world.spawn(["run", "--rm", "--network=none", image, "exit", "7"]);
    until("it waits for the layers", || {
        let locks = fs::read_to_string("/proc/locks").ok()?;
        locks.lines().any(|line| line.contains("->") && line.contains(&inode)).then_some(())
    });
    world.podling(["rmi", image]).ok();
    drop(lock);
    assert_eq!(run.wait().status, 7);
    assert_eq!(world.podling(["images", "-q"]).ok(), "");
});

both!(the_machines_own_programs_are_taken_anew_on_request, |world| {
    // One that podling takes if it is there, and that this machine has not.
    let places = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
    let candidates = ["lsfd", "gawk", "strace", "lsof", "busybox", "capsh", "watch", "vmstat"];
    let missing = candidates.iter().find(|name| places.iter().all(|dir| !Path::new(dir).join(name).exists()));
    let missing = missing.expect("nobody has them all");
    let has = || {
        let script = format!("test -x /usr/bin/{missing} || test -x {}/{missing}", world.dir.join("more").display());
        world.podling(["run", "--rm", "--network=none", "host-tools", "sh", "-c", &script]).status == 0
    };
    assert!(!has());
    let more = world.directory("more");
    fs::copy(setup::setup().bin("witness"), more.join(missing)).expect("our own directory");
    assert!(!has(), "an image stays what it is");
    let mut command = world.command(setup::setup().bin("podling"));
    command.args(["pull", "-q", "host-tools"]).env("PATH", format!("{}:/usr/bin:/bin:/usr/sbin", more.display()));
    crate::running::Running::start(command, crate::running::Input::Empty).wait().ok();
    assert!(has());
});

as_user!(which_registry_a_short_name_means_is_asked_once, |world| {
    let registry = world.registry();
    let conf = fs::read_to_string(world.dir.join("registries.conf")).expect("written by the harness");
    let search = format!("unqualified-search-registries = [\"nowhere.invalid\", \"{registry}\"]");
    let mode =
        |mode: &str| drop(world.file("registries.conf", format!("{search}\nshort-name-mode = {mode:?}\n{conf}")));
    mode("enforcing");
    let said = world.podling(["pull", "-q", "witness"]);
    assert!(said.fails(125).contains("no terminal to ask on"), "{said}");
    let mut asked = world.spawn_on_terminal(["pull", "-q", "witness"]);
    let text = asked.expect("Which? [1] ");
    assert!(text.contains(&format!("2  {registry}/witness:latest")), "{text}");
    asked.write("3\n");
    asked.expect("A number from 1 to 2.");
    asked.write("2\n");
    let id = asked.wait().ok().split_whitespace().last().expect("an id").to_owned();
    assert_eq!(id.len(), 64, "{id}");
    world.podling(["rmi", "-a"]).ok();
    assert_eq!(world.podling(["pull", "-q", "witness"]).ok(), id, "it is known now");
    mode("disabled");
    world.spawn_on_terminal(["pull", "-q", "layers"]).wait().ok();
});

both!(a_directory_without_an_entry_is_what_it_is_below, |world| {
    let image = world.image("implied");
    let stat = ["stat", "-c", "%a", "/sticky", "/private", "/private/sub", "/gone"];
    let said = world.podling([&["run", "--rm", "--network=none", image], &stat[..]].concat());
    assert_eq!(said.ok().replace('\n', " "), "1777 700 755 755");
});

both!(an_image_for_another_machine_is_not_taken_for_the_one_that_is_asked_for, |world| {
    let name = format!("{}/witness:every", world.registry());
    world.podling(["pull", "-q", &name]).ok();
    let architecture = || world.podling(["image", "inspect", "--format={{.Architecture}}", &name]).ok().to_owned();
    assert_eq!(architecture(), crate::images::architecture());
    world.podling(["create", "-q", "--network=none", "--platform=linux/vax", &name]).ok();
    assert_eq!(architecture(), "vax");
    world.podling(["create", "-q", "--network=none", &name]).ok();
    assert_eq!(architecture(), "vax", "whoever does not say takes what is here");
});

both!(what_is_no_registry_is_not_taken_for_one, |world| {
    let image = world.image("witness");
    let said = world.podling(["pull", "-q", "oci-archive:/tmp/x.tar"]);
    assert!(said.fails(125).contains("pulled from registries only\nhint: podling load --input /tmp/x.tar"), "{said}");
    let said = world.podling(["push", image, "docker-archive:/tmp/x.tar"]);
    assert!(
        said.fails(125).contains("hint: podling save --format docker-archive --output /tmp/x.tar witness"),
        "{said}"
    );
});
