//! Which systemd, and the doors where it can be met.
//!
//! There are two kinds of door. systemd's private socket is systemctl's: no bus between, the best where it is open. The
//! message bus is what everybody else uses, and the only one that an address in the environment can name.
//!
//! The subtlety is the environment. `XDG_RUNTIME_DIR` may be unset (after su, in cron) or lead somewhere else (a tool, a
//! test, that wants its files apart), while the user's systemd is where logind put it: in /run/user/UID, by his uid
//! *outside* a user namespace in which we are root.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use nix::unistd::geteuid;

use crate::linux::dbus::Address;
use crate::linux::idmap;

/// Which systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// Pid 1, root's.
    System,
    /// A user's own.
    User,
}

/// A socket behind which a systemd may be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Door {
    /// systemd itself.
    Private(Address),
    /// A message bus that systemd is on.
    Bus(Address),
}

impl Instance {
    /// The one that is ours to ask: root's for root, and not only of a user namespace.
    pub fn own() -> Result<Self> {
        let is_root = geteuid().is_root() && idmap::is_initial(&idmap::current(idmap::Kind::Uid)?);
        Ok(if is_root { Self::System } else { Self::User })
    }

    /// Whether it seems to run here.
    pub fn runs(self) -> bool {
        let open = |door: &Door| match door {
            Door::Private(address) | Door::Bus(address) => address.seems_open(),
        };
        Path::new("/run/systemd/system").is_dir() && self.doors().iter().any(open)
    }

    /// Its slice for processes that nobody placed elsewhere.
    pub fn default_slice(self) -> &'static str {
        match self {
            Self::System => "system.slice",
            Self::User => "user.slice",
        }
    }

    /// Its doors, the best first.
    pub(super) fn doors(self) -> Vec<Door> {
        match self {
            Self::System => vec![
                Door::Private(Address::Path("/run/systemd/private".into())),
                Door::Bus(Address::Path("/run/dbus/system_bus_socket".into())),
            ],
            Self::User => {
                let [runtime, bus] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"].map(std::env::var_os);
                user_doors(runtime.as_deref(), bus.as_deref(), uid_outside())
            }
        }
    }
}

fn user_doors(runtime: Option<&OsStr>, bus: Option<&OsStr>, uid: u32) -> Vec<Door> {
    let below = |directory: &Path, name: &str| Address::Path(directory.join(name));
    let said = runtime.map(Path::new).filter(|directory| directory.is_absolute());
    let usual = Path::new("/run/user").join(uid.to_string());

    let mut doors: Vec<Door> =
        said.map(|directory| Door::Private(below(directory, "systemd/private"))).into_iter().collect();
    let buses = bus.and_then(OsStr::to_str).map(Address::list).unwrap_or_default();
    doors.extend(buses.into_iter().chain(said.map(|directory| below(directory, "bus"))).map(Door::Bus));
    doors.extend([Door::Private(below(&usual, "systemd/private")), Door::Bus(below(&usual, "bus"))]);
    doors
}

/// Our uid as the namespace above ours sees it.
fn uid_outside() -> u32 {
    let uid = geteuid().as_raw();
    idmap::current(idmap::Kind::Uid).ok().and_then(|map| idmap::to_host(&map, uid)).unwrap_or(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(runtime: Option<&str>, bus: Option<&str>) -> Vec<String> {
        let doors = user_doors(runtime.map(OsStr::new), bus.map(OsStr::new), 7);
        let told = doors.iter().map(|door| match door {
            Door::Private(address) => format!("private {address}"),
            Door::Bus(address) => format!("bus {address}"),
        });
        told.collect()
    }

    #[test]
    fn a_user_s_systemd_is_looked_for_where_the_environment_says_and_then_where_logind_puts_it() {
        let usual = ["private /run/user/7/systemd/private", "bus /run/user/7/bus"];
        assert_eq!(told(None, None), usual);
        assert_eq!(told(Some("relative"), Some("tcp:host=a")), usual, "what cannot be meant is not used");
        assert_eq!(
            told(Some("/x"), Some("unix:path=/y,guid=1;unix:abstract=z")),
            [["private /x/systemd/private", "bus /y", "bus @z", "bus /x/bus"].as_slice(), &usual].concat()
        );
    }
}
