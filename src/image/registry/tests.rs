//! Registries that misbehave, each in its own way, and what becomes of a pull from them.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::image::platform::Platform;
use crate::image::progress::Silent;
use crate::image::pull::{pull, pull_name};
use crate::image::{Layout, LoadedImage};
use server::{Connection, Image, Server, image, reply, serve, stall};

mod server;

/// Short waits; long enough for a loaded machine to answer at all.
fn access() -> Access {
    let patience = Patience {
        connect: Duration::from_secs(5),
        read: Duration::from_millis(300),
        attempts: 3,
        pause: Duration::from_millis(1),
    };
    Access { tls_verify: Some(false), patience, ..Access::default() }
}

struct Pulled {
    result: Result<LoadedImage>,
    layout: Layout,
    _dir: tempfile::TempDir,
}

fn pull_from(server: &Server) -> Pulled {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open(dir.path()).expect("opens");
    let name = format!("{}/x", server.host);
    let result = pull(&layout, &name, &Platform::of_this_machine(), &access(), &Silent);
    Pulled { result, layout, _dir: dir }
}

/// The one line that a failed pull prints. No image may be left.
fn failure(server: &Server) -> String {
    let pulled = pull_from(server);
    let error = pulled.result.map(|image| image.id).expect_err("a failure");
    let text = format!("{error:#}");
    assert!(!text.contains('\n') && text.len() < 400, "{text}");
    assert!(pulled.layout.images().expect("read").is_empty());
    text.replace(&server.host, "HOST")
}

#[test]
fn a_good_registry_gives_the_image() {
    let image = image();
    let server = serve(move |asked, connection| image.answer(asked, connection));
    let pulled = pull_from(&server);
    let image = pulled.result.expect("pulled");
    assert_eq!(image.names[0].to_string(), format!("{}/x:latest", server.host));
    assert!(pulled.layout.has(image.layers[0].blob));
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let image = image();
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let seen = ranges.clone();
    let server = serve(move |asked, connection| {
        if !image.is_layer(asked) {
            return image.answer(asked, connection);
        }
        let mut ranges = seen.lock().expect("one at a time");
        ranges.push(asked.header("range").to_owned());
        if ranges.len() == 1 { image.send_half(connection) } else { image.send_layer(asked, connection) }
    });
    pull_from(&server).result.expect("pulled");
    assert_eq!(*ranges.lock().expect("free"), ["", "bytes=200000-"]);
}

#[test]
fn a_registry_that_ignores_ranges_is_read_from_the_beginning() {
    let image = image();
    let count = AtomicUsize::new(0);
    let server = serve(move |asked, connection| match image.is_layer(asked) {
        true if count.fetch_add(1, SeqCst) == 0 => image.send_half(connection),
        true => reply(connection, "200 OK", "", &image.layer),
        false => image.answer(asked, connection),
    });
    pull_from(&server).result.expect("pulled");
}

#[test]
fn a_stall_ends_wherever_it_happens() {
    for place in ["/v2/", "latest", "layer"] {
        let image = image();
        let server = serve(move |asked, connection| {
            if place == "layer" && image.is_layer(asked) {
                if asked.header("range").is_empty() {
                    image.send_half(connection);
                }
                stall(connection);
            } else if asked.path.ends_with(place) {
                stall(connection);
            } else {
                image.answer(asked, connection);
            }
        });
        let text = failure(&server);
        assert!(text.starts_with("pulling HOST/x:latest: ") && text.contains("the registry stalls"), "{place}: {text}");
    }
}

#[test]
fn lies_about_a_layer_are_found_out() {
    let lie = |change: fn(&Image, Connection)| {
        let image = image();
        let server =
            serve(
                move |asked, connection| {
                    if image.is_layer(asked) { change(&image, connection) } else { image.answer(asked, connection) }
                },
            );
        failure(&server)
    };
    let text = lie(|image, connection| reply(connection, "200 OK", "", &[&image.layer[..], b"more"].concat()));
    assert!(text.contains("the registry offers 400004 bytes where the manifest says 400000"), "{text}");
    let text = lie(|image, connection| {
        // No length, then more than was announced.
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        let _ = connection.write_all(&image.layer).and_then(|()| connection.write_all(&[0; 5000]));
    });
    assert!(text.contains("sends more than the 400000 bytes it announced"), "{text}");
    let text = lie(|image, connection| reply(connection, "200 OK", "", &vec![0; image.layer.len()]));
    assert!(text.contains("arrived with other bytes"), "{text}");
    let text = lie(|_, connection| reply(connection, "404 Not Found", "", b"<html>\nno\n</html>"));
    assert!(text.contains("the registry answered 404: not found"), "{text}");
    let text = lie(|_, connection| reply(connection, "206 Partial Content", "Content-Range: bytes 7-9/10\r\n", b"xyz"));
    assert!(text.contains("the registry"), "{text}");
}

#[test]
fn garbage_in_a_manifests_place_is_called_so() {
    let garbage = |manifest: Vec<u8>| {
        let image = image();
        let server = serve(move |asked, connection| {
            if asked.path.ends_with("latest") {
                return reply(connection, "200 OK", "Content-Type: text/html\r\n", &manifest);
            }
            image.answer(asked, connection);
        });
        failure(&server)
    };
    assert!(garbage(b"<html>".to_vec()).ends_with("the registry sent no manifest but garbage"));
    assert!(garbage(vec![b' '; 5 << 20]).ends_with("the manifest is larger than 4194304 bytes"));
    assert!(garbage(b"{\"schemaVersion\":1}".to_vec()).contains("schema 1"));
    assert!(garbage(b"{\"mediaType\":\"x\\u0000\\ny\"}".to_vec()).contains("is no image"));
    assert!(garbage(b"{\"schemaVersion\":2}".to_vec()).contains("image manifest is not valid"));
}

#[test]
fn a_manifest_named_by_digest_must_have_it() {
    let image = image();
    let server = serve(move |asked, connection| {
        if asked.path.contains("/manifests/") {
            return reply(connection, "200 OK", "", &image.manifest);
        }
        image.answer(asked, connection);
    });
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open(dir.path()).expect("opens");
    let name = format!("{}/x@{}", server.host, Digest::of(b"something else")).parse().expect("a name");
    let error = pull_name(&layout, &name, &Platform::of_this_machine(), &access(), &Silent).expect_err("refused");
    assert!(format!("{error:#}").contains("the manifest came with digest"), "{error:#}");
}

#[test]
fn what_is_no_registry_is_called_so() {
    let text = failure(&serve(|_, connection| drop(connection.write_all(b"220 smtp ready\r\n\r\n"))));
    assert!(text.contains("registry HOST: "), "{text}");
    let text = failure(&serve(|_, connection| reply(connection, "418 I'm a teapot", "", b"")));
    assert!(text.ends_with("registry HOST: /v2/ answered 418: this is no registry"), "{text}");
    let text = failure(&serve(|_, _| ()));
    assert!(text.ends_with("registry HOST: the connection broke"), "{text}");
    let gone = serve(|_, _| ()).host.clone();
    let unreachable = Server { host: gone, stop: Arc::default(), thread: None };
    assert!(failure(&unreachable).ends_with("connection refused: nothing listens there"));
}

#[test]
fn a_busy_registry_is_asked_again_but_not_for_ever() {
    let busy = |times: usize| {
        let (image, count) = (image(), AtomicUsize::new(0));
        serve(move |asked, connection| {
            if asked.path.ends_with("latest") && count.fetch_add(1, SeqCst) < times {
                return reply(connection, "429 Too Many Requests", "Retry-After: 0\r\n", b"");
            }
            image.answer(asked, connection);
        })
    };
    pull_from(&busy(2)).result.expect("pulled");
    let text = failure(&busy(usize::MAX));
    assert!(
        text.ends_with("the registry answered 429: too many requests; wait, or log in for a higher limit"),
        "{text}"
    );
}

#[test]
fn a_token_is_fetched_and_renewed_when_it_expires() {
    let (image, tokens) = (image(), Arc::new(AtomicUsize::new(0)));
    let issued = tokens.clone();
    let server = serve(move |asked, connection| {
        let host = asked.header("host").to_owned();
        if asked.path.starts_with("/token") {
            assert!(asked.path.contains("scope=repository%3Ax%3Apull"), "{}", asked.path);
            let number = issued.fetch_add(1, SeqCst) + 1;
            return reply(connection, "200 OK", "", format!("{{\"token\":\"t{number}\"}}").as_bytes());
        }
        // The first token is good until the layer is asked for.
        let wanted = if image.is_layer(asked) { "Bearer t2" } else { "Bearer t" };
        if asked.header("authorization").starts_with(wanted) {
            return image.answer(asked, connection);
        }
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
        reply(connection, "401 Unauthorized", &challenge, b"");
    });
    pull_from(&server).result.expect("pulled");
    assert_eq!(tokens.load(SeqCst), 2);
}

#[test]
fn a_registry_that_never_lets_us_in_is_left() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    let server = serve(move |asked, connection| {
        seen.fetch_add(1, SeqCst);
        let host = asked.header("host");
        match asked.path.as_str() {
            path if path.starts_with("/token") => reply(connection, "200 OK", "", b"{\"token\":\"t\"}"),
            _ => {
                let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n");
                reply(connection, "401 Unauthorized", &challenge, b"");
            }
        }
    });
    let text = failure(&server);
    assert!(text.contains("access to HOST/x denied (`podling login HOST`?)"), "{text}");
    assert!(requests.load(SeqCst) < 10, "{requests:?} requests");
    let text = failure(&serve(|_, connection| reply(connection, "401 Unauthorized", "", b"")));
    assert!(text.contains("does not say how it wants to be authenticated"), "{text}");
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let image = image();
    let (elsewhere, saw) = (image.clone(), Arc::new(Mutex::new(None)));
    let seen = saw.clone();
    let storage = serve(move |asked, connection| {
        *seen.lock().expect("free") = Some(asked.header("authorization").to_owned());
        reply(connection, "200 OK", "", &elsewhere.layer);
    });
    // The same machine by another name: what counts is the name.
    let target = storage.host.replace("127.0.0.1", "localhost");
    let server = serve(move |asked, connection| {
        if asked.header("authorization").is_empty() {
            return reply(connection, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"");
        }
        if image.is_layer(asked) {
            let location = format!("Location: http://{target}/blob\r\n");
            return reply(connection, "307 Temporary Redirect", &location, b"");
        }
        image.answer(asked, connection);
    });
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open(dir.path()).expect("opens");
    let credentials = Credentials::Password { user: "me".into(), password: "secret".into() };
    let access = Access { credentials: Some(credentials), ..access() };
    let name = format!("{}/x", server.host);
    pull(&layout, &name, &Platform::of_this_machine(), &access, &Silent).expect("pulled");
    assert_eq!(saw.lock().expect("free").as_deref(), Some(""));
    assert_eq!(image_count(&layout), 1);
}

fn image_count(layout: &Layout) -> usize {
    layout.images().expect("read").len()
}
