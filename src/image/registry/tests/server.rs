//! A registry in a thread, good by default: each test takes its answers over where it wants it to misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use oci_spec::image::MediaType;

use crate::image::digest::Digest;
use crate::image::platform::Platform;

/// A request: path with query, and headers in lower case.
pub struct Asked {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A server on a loopback port that answers by a function. It ends when it is dropped.
pub struct Server {
    pub host: String,
    pub stop: Arc<AtomicBool>,
    pub thread: Option<thread::JoinHandle<()>>,
}

pub type Connection<'a> = &'a mut TcpStream;

pub fn serve(answer: impl Fn(&Asked, Connection) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let stop = Arc::new(AtomicBool::new(false));
    let (answer, stopped) = (Arc::new(answer), stop.clone());
    let accept = move || {
        for connection in listener.incoming().flatten() {
            if stopped.load(SeqCst) {
                return;
            }
            let answer = answer.clone();
            thread::spawn(move || {
                let mut connection = connection;
                if let Some(asked) = read_request(&connection) {
                    answer(&asked, &mut connection);
                }
            });
        }
    };
    Server { host, stop, thread: Some(thread::spawn(accept)) }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = TcpStream::connect(&self.host);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

pub fn read_request(connection: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(connection).lines().map_while(std::result::Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let path = words.nth(1)?.to_owned();
    let header = |line: String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(header).collect();
    Some(Asked { path, headers })
}

pub fn reply(connection: Connection, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body));
}

/// Keeps a connection open and silent until the other side gives up.
pub fn stall(connection: Connection) {
    let _ = std::io::copy(connection, &mut std::io::sink());
}

/// An image of one layer.
pub struct Image {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub layer: Vec<u8>,
}

pub fn image() -> Arc<Image> {
    let layer: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let config = serde_json::json!({
        "architecture": Platform::of_this_machine().architecture, "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
    });
    let config = serde_json::to_vec(&config).expect("json");
    let part = |kind: &str, bytes: &[u8]| {
        let kind = format!("application/vnd.oci.image.{kind}");
        serde_json::json!({"mediaType": kind, "size": bytes.len(), "digest": Digest::of(bytes)})
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::ImageManifest.to_string(),
        "config": part("config.v1+json", &config), "layers": [part("layer.v1.tar", &layer)],
    });
    Arc::new(Image { manifest: serde_json::to_vec(&manifest).expect("json"), config, layer })
}

impl Image {
    /// Answers as a good registry would.
    pub fn answer(&self, asked: &Asked, connection: Connection) {
        let last = asked.path.rsplit('/').next().unwrap_or_default();
        match last {
            "" => reply(connection, "200 OK", "", b"{}"),
            "latest" => reply(connection, "200 OK", "", &self.manifest),
            _ if last == Digest::of(&self.config).to_string() => reply(connection, "200 OK", "", &self.config),
            _ if self.is_layer(asked) => self.send_layer(asked, connection),
            _ => reply(connection, "404 Not Found", "", b""),
        }
    }

    pub fn is_layer(&self, asked: &Asked) -> bool {
        asked.path.ends_with(&Digest::of(&self.layer).to_string())
    }

    pub fn send_layer(&self, asked: &Asked, connection: Connection) {
        let from = asked.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        match from.and_then(|from| from.parse::<usize>().ok()) {
            None => reply(connection, "200 OK", "", &self.layer),
            Some(from) => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", self.layer.len() - 1, self.layer.len());
                reply(connection, "206 Partial Content", &range, &self.layer[from..]);
            }
        }
    }

    /// Sends the header of the whole layer, and only half of it.
    pub fn send_half(&self, connection: Connection) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", self.layer.len());
        let _ = connection.write_all(head.as_bytes());
        let _ = connection.write_all(&self.layer[..self.layer.len() / 2]);
    }
}
