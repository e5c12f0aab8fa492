//! The attach socket: a conversation between a monitor and clients that come, type, read, stop reading, end their side and
//! go, in any order. Whoever reads gets all that was said since he came, in order; all that was typed arrives.
//!
//! And the client's side alone: packets from a monitor that may say anything, keys that detach.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use podling::engine::attach::Heard;
use podling::engine::detach::{DetachKeys, Filter};
use podling::handover::packet;
use podling::linux::ipc::{self, SockType};
use podling::linux::poll::PollFlags;
use podling::monitor::attach::{Clients, Typed};
use podling::monitor::log::Stream;

use crate::{Scratch, choice};

/// More would find the machine's limit of descriptors and not our faults.
const CLIENTS: usize = 8;

/// After a byte: 0 what happens, a byte each and one for how much; 1 a packet; 2 keys that detach, a newline, and what is
/// typed.
pub fn attach(data: &[u8]) {
    match choice(data, 3) {
        (0, events) => converse(events),
        (1, packet) => hear(packet),
        (_, keys) => detach(keys),
    }
}

fn hear(bytes: &[u8]) {
    match Heard::parse(bytes) {
        Ok(Heard::Output(from, said)) => {
            assert!(from == packet::STDOUT || from == packet::STDERR);
            assert_eq!(said, &bytes[1..]);
        }
        Ok(Heard::Exit(_)) => assert_eq!(bytes[0], packet::EXIT),
        Err(_) => assert!(bytes.is_empty() || bytes[0] == packet::EXIT),
    }
}

/// However what is typed is cut into reads, the same of it passes.
fn detach(data: &[u8]) {
    let cut = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (keys, typed) = (&data[..cut], data.get(cut + 1..).unwrap_or_default());
    let Ok(keys) = String::from_utf8_lossy(keys).parse::<DetachKeys>() else { return };
    let pass = |size: usize| {
        let (mut filter, mut out) = (Filter::new(keys.clone()), Vec::new());
        let found = typed.chunks(size).any(|read| filter.pass(read, &mut out));
        if !found {
            filter.finish(&mut out);
        }
        (found, out)
    };
    let whole = pass(typed.len().max(1));
    assert!(typed.starts_with(&whole.1), "what passes was not typed");
    assert!(whole.0 || whole.1 == typed, "something typed is lost");
    for size in [1, 2, 3] {
        assert_eq!(pass(size), whole, "reads of {size}");
    }
}

/// A client, and what it has been told since it came.
struct Client {
    stream: UnixStream,
    told: Vec<(u8, Vec<u8>)>,
    typed: usize,
    can_type: bool,
}

fn converse(events: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.0.join("attach");
    let mut server = Clients::listen(Some(path.clone()), None).expect("our own directory");
    let mut clients: Vec<Client> = Vec::new();
    let (mut arrived, mut gone) = (0, 0);
    for (number, event) in events.chunks_exact(2).enumerate() {
        let (what, amount) = (event[0] % 7, usize::from(event[1]) * 16);
        let (count, chosen) = (clients.len(), usize::from(event[0] / 7) % clients.len().max(1));
        match (what, clients.get_mut(chosen)) {
            (0, _) if count < CLIENTS => {
                let stream = ipc::reach(&path, SockType::SeqPacket).expect("it listens");
                stream.set_nonblocking(true).expect("a socket");
                server.accept();
                clients.push(Client { stream, told: Vec::new(), typed: 0, can_type: true });
            }
            (1 | 2, _) => {
                let stream = if what == 1 { Stream::Stdout } else { Stream::Stderr };
                let mut framed = vec![number as u8; amount + 1];
                if server.has_room() {
                    server.output(stream, &mut framed);
                    for client in &mut clients {
                        client.told.push((framed[0], framed[1..].to_vec()));
                    }
                }
            }
            (3, Some(client)) if client.can_type && amount > 0 => {
                let sent = client.stream.write(&vec![b'x'; amount]);
                client.typed += sent.unwrap_or(0);
            }
            (4, Some(client)) => client.read(),
            (5, Some(client)) => {
                client.can_type = false;
                let _ = client.stream.shutdown(Shutdown::Write);
            }
            (6, Some(_)) => {
                // What it typed last may or may not arrive.
                let left = clients.remove(chosen);
                gone += left.typed;
            }
            _ => {}
        }
        arrived += serve(&mut server);
    }
    arrived += serve(&mut server);
    let typed: usize = clients.iter().map(|client| client.typed).sum();
    assert!(
        (typed..=typed + gone).contains(&arrived),
        "{typed} bytes were typed, {arrived} arrived ({gone} of the gone)"
    );

    server.close();
    server.exit(b"{}");
    for client in &mut clients {
        client.told.push((packet::EXIT, b"{}".to_vec()));
    }
    for _ in 0..10_000 {
        clients.iter_mut().for_each(Client::read);
        if !server.is_behind(false) {
            break;
        }
        serve(&mut server);
    }
    clients.iter_mut().for_each(Client::read);
    for client in &clients {
        assert!(client.told.is_empty(), "{} packets are missing", client.told.len());
    }
    assert!(!path.exists(), "the door is closed");
}

/// One round of the monitor's loop; how many bytes were typed.
fn serve(server: &mut Clients) -> usize {
    let mut typed = 0;
    server.accept();
    let indices: Vec<usize> = server.wanted(true).filter(|(.., events)| !events.is_empty()).map(|it| it.0).collect();
    for index in indices {
        server.flush(index);
        let still = server.wanted(true).find(|it| it.0 == index);
        if still.is_some_and(|(.., events)| events.contains(PollFlags::POLLIN)) {
            while let Typed::Input(input) = server.read(index) {
                assert!(input.iter().all(|byte| *byte == b'x'));
                typed += input.len();
            }
        }
    }
    server.forget_gone();
    typed
}

impl Client {
    /// Reads what is there, and compares.
    fn read(&mut self) {
        let mut buffer = vec![0; packet::OUTPUT_MAX + 1];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    assert!(!self.told.is_empty(), "nobody said this");
                    let (from, said) = self.told.remove(0);
                    assert_eq!((buffer[0], &buffer[1..count]), (from, &said[..]));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
