//! A registry whose connection breaks in the middle of a layer, as a person at the command line meets it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::images::{self, Layout};

/// Serves one image; of each layer only half, until it is asked for the rest. Returns its address, and the ranges that
/// it is asked for.
fn serve_halves(image: Layout) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback device");
    let address = listener.local_addr().expect("it is bound").to_string();
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let seen = ranges.clone();
    let manifest: Value = serde_json::from_slice(image.blob(digest_of(&image.root))).expect("our own manifest");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(&image, &manifest, stream, &seen);
        }
    });
    (address, ranges)
}

fn digest_of(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().expect("a descriptor")
}

fn answer(image: &Layout, manifest: &Value, mut stream: TcpStream, ranges: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second descriptor")).lines().map_while(Result::ok);
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let range = headers.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let last = path.rsplit('/').next().unwrap_or_default();
    let body = match last {
        "" => &b"{}"[..],
        "latest" => image.blob(digest_of(&image.root)),
        digest => image.blob(digest),
    };
    let layers = manifest["layers"].as_array().expect("a manifest");
    let is_layer = layers.iter().any(|layer| layer["digest"] == last);
    let head = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n")
    };
    let (head, body) = match range {
        None if is_layer => (head("200 OK", body.len(), ""), &body[..body.len() / 2]),
        None => (head("200 OK", body.len(), ""), body),
        Some(range) => {
            let from: usize = range.trim_end_matches('-').parse().expect("a number");
            ranges.lock().expect("free").push(range);
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
            (head("206 Partial Content", body.len() - from, &range), &body[from..])
        }
    };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

both!(a_layer_whose_connection_breaks_is_resumed_where_it_broke, |world| {
    let (address, ranges) = serve_halves(images::stock("layers"));
    world.trust_registry(&address);
    let name = format!("{address}/layers");
    let pulled = world.podling(["pull", &name]);
    assert_eq!(pulled.ok().len(), 64, "{pulled}");
    assert!(pulled.stderr.contains(": the connection broke") && pulled.stderr.contains("; trying again"), "{pulled}");
    let ranges = ranges.lock().expect("free");
    assert!(ranges.len() == 3 && ranges.iter().all(|range| range != "0-"), "{ranges:?}");
    assert_eq!(world.podling(["run", "--rm", "--network=none", &name, "cat", "/changed"]).ok(), "middle");
});
