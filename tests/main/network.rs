//! Networks: pasta, published ports, names.

use std::io::Read;
use std::net::TcpStream;

use crate::running::until;

both!(a_published_port_leads_to_the_container_and_is_free_when_it_ends, |world| {
    let server = "while :; do echo hello | nc -l -p 8080; done";
    let image = world.image("busybox");
    let id = world.podling(["run", "-d", "--name=web", "-p", "127.0.0.1::8080", image, "sh", "-c", server]);
    let id = id.ok().to_owned();
    let line = world.podling(["port", "web", "8080/tcp"]).ok().to_owned();
    assert!(line.starts_with("127.0.0.1:"), "{line}");
    assert_eq!(world.podling(["port", "web"]).ok(), format!("8080/tcp -> {line}"));
    // pasta listens from the start; the program inside a little later.
    let said = until("an answer from the container", || {
        let mut text = String::new();
        TcpStream::connect(&line).ok()?.read_to_string(&mut text).ok()?;
        (!text.is_empty()).then_some(text)
    });
    assert_eq!(said, "hello\n");
    let pasta = world.run_dir().join(format!("containers/{id}/pasta"));
    let pasta: serde_json::Value = serde_json::from_slice(&std::fs::read(pasta).expect("it runs")).expect("JSON");
    world.podling(["kill", "web"]).ok();
    world.podling(["wait", "web"]).ok();
    world.podling(["start", "web"]).ok();
    // The port was kept, so it had been given back; and the first pasta is gone.
    assert_eq!(world.podling(["port", "web", "8080"]).ok(), line);
    assert!(!std::path::Path::new(&format!("/proc/{}/root", pasta["pid"])).exists());
    world.podling(["rm", "-f", "-t0", "web"]).ok();
});

both!(a_port_that_somebody_has_is_refused_by_its_name, |world| {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let mapping = format!("127.0.0.1:{port}:80");
    let output = world.podling(["run", "--rm", "-p", &mapping, world.image("witness"), "true"]);
    world.snapshot("port_taken", output.fails(125));
});

both!(ports_that_make_no_sense_are_refused, |world| {
    let image = world.image("witness");
    let mut said = String::new();
    for mapping in ["0:80", "70000:80", "1-3:80", "9-3:9-3", "80/icmp", "here:80:80"] {
        said += &format!("{mapping}\n  {}\n", world.podling(["create", "-p", mapping, image]).fails(125).trim());
    }
    let twice = world.podling(["create", "-p", "8080:80", "-p", "8080:81", image]);
    said += &format!("twice\n  {}\n", twice.fails(125).trim());
    world.snapshot("bad_ports", &said);
});

both!(names_are_what_was_asked_for, |world| {
    let image = world.image("busybox");
    let flags = ["--add-host=db:10.0.0.9", "--dns=192.0.2.53", "--dns-search=example.test", "--dns-option=ndots:3"];
    let words = ["run", "--rm", "--hostname=here", "--name=names"];
    let files = ["sh", "-c", "cat /etc/resolv.conf; grep -E 'db|localhost' /etc/hosts; grep -c here /etc/hosts"];
    let output = world.podling([&words[..], &flags, &[image], &files].concat());
    assert_eq!(
        output.ok(),
        "search example.test\nnameserver 192.0.2.53\noptions ndots:3\n\
         10.0.0.9\tdb\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n1"
    );
});

both!(a_container_joins_anothers_network, |world| {
    let image = world.image("busybox");
    world.podling(["run", "-d", "--name=one", "--network=none", image, "sleep", "1000"]).ok();
    let space = |output: &crate::running::Output| output.ok().to_owned();
    let first = space(&world.podling(["exec", "one", "readlink", "/proc/self/ns/net"]));
    let joined = ["run", "--rm", "--network=container:one", image, "readlink", "/proc/self/ns/net"];
    assert_eq!(space(&world.podling(joined)), first);
    world.podling(["rm", "-f", "-t0", "one"]).ok();
});

both!(a_bridge_is_refused_with_what_there_is_instead, |world| {
    let output = world.podling(["create", "--network=mynet", world.image("witness")]);
    world.snapshot("bridge", output.fails(125));
});

// What a container cannot have: without its being asked for, one line says so and the program runs; asked for, it fails.
as_root!(a_default_network_that_cannot_be_had_is_done_without_and_an_asked_one_is_not, |world| {
    let image = world.image("witness").to_owned();
    let podling = crate::setup::setup().bin("podling").display().to_string();
    let mut said = String::new();
    let empty = world.directory("empty").display().to_string();
    let no_pasta = format!("PATH={empty} exec {podling}");
    let no_device = format!("mount -t tmpfs tmpfs /dev/net && exec {podling}");
    for (what, before) in [("pasta", no_pasta), ("/dev/net/tun", no_device)] {
        let run = |flags: &str| {
            let script = format!("{before} run --rm {flags} {image} true");
            world.program("unshare", ["-m", "sh", "-c", &script])
        };
        let without = run("");
        without.ok();
        let published = run("-p 80").fails(125).to_owned();
        let asked = run("--network=pasta").fails(125).to_owned();
        said += &format!("no {what}\n{}\n{published}\n{asked}\n\n", without.stderr.trim());
    }
    world.snapshot("no_network", &said);
});
