//! A test in a service manager's place: it listens where `NOTIFY_SOCKET` says.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::running::patience;
use crate::world::World;

/// The socket at which it listens, and how it is called in `NOTIFY_SOCKET`.
pub struct Manager {
    pub socket: UnixDatagram,
    pub address: String,
}

impl Manager {
    /// At a path.
    pub fn on_path(world: &World) -> Self {
        let path = world.dir.join("run/notify");
        let socket = UnixDatagram::bind(&path).expect("our own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("our own socket");
        Self::new(socket, path.display().to_string())
    }

    /// Under a name that is no path.
    pub fn abstractly(world: &World) -> Self {
        let name = world.tag() + "notify";
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        Self::new(UnixDatagram::bind_addr(&address).expect("nobody else's name"), format!("@{name}"))
    }

    fn new(socket: UnixDatagram, address: String) -> Self {
        socket.set_read_timeout(Some(patience())).expect("a socket");
        Self { socket, address }
    }

    /// What it is told next.
    pub fn hear(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("it is told something");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Whether it has been told all.
    pub fn has_heard_all(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        self.socket.recv(&mut [0; 10]).is_err()
    }
}
