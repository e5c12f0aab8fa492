//! Capabilities: root's power, cut into forty-one pieces, and five sets that say which of them a thread has.
//!
//! | set         | what it is for                                                              |
//! |-------------|-----------------------------------------------------------------------------|
//! | effective   | what the kernel checks                                                      |
//! | permitted   | what may be made effective                                                  |
//! | inheritable | what passes an execve, if the file says so too; empty in our containers     |
//! | bounding    | the most that any execve can ever give, whatever the file says; only shrinks |
//! | ambient     | what a plain (not set-uid, no file capabilities) program keeps over execve  |
//!
//! The subtlety is the order. The bounding set is dropped while we still hold `CAP_SETPCAP`, and before the uid changes;
//! the other three are set after the change of uid (which clears them unless `PR_SET_KEEPCAPS`); the ambient set comes
//! last, since it may hold only what is permitted *and* inheritable. capabilities(7) has the formula.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::sys;
use crate::trace::{self, Topic};

/// The names, each at the index that is its number (`linux/capability.h`, up to Linux 6.18).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// All capabilities that podling has a name for.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// One capability, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its bit in a set.
    pub fn bit(self) -> u64 {
        1 << self.0
    }

    /// The capability of this number, if podling has a name for it.
    pub fn from_number(number: u8) -> Option<Self> {
        (usize::from(number) < NAMES.len()).then_some(Self(number))
    }

    /// Those in `set` that podling has a name for, lowest number first.
    pub fn list(set: u64) -> impl Iterator<Item = Self> {
        (0..NAMES.len() as u8).map(Self).filter(move |capability| set & capability.bit() != 0)
    }
}

impl FromStr for Capability {
    type Err = anyhow::Error;

    /// Takes `CAP_CHOWN`, `cap_chown`, `CHOWN` and `chown`.
    fn from_str(text: &str) -> Result<Self> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match NAMES.iter().position(|known| &known["CAP_".len()..] == name) {
            Some(number) => Ok(Self(number as u8)),
            None => bail!("unknown capability: {text:?}"),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES[usize::from(self.0)])
    }
}

/// The five sets, as bit masks by capability number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The most that any later execve can give.
    pub bounding: u64,
    /// What the kernel checks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What may pass an execve.
    pub inheritable: u64,
    /// What a plain program keeps over execve.
    pub ambient: u64,
}

/// The highest capability number that this kernel knows, which may be above or below ours. Asked once: later, when we
/// stand in a root that an image filled, its /proc may say anything.
pub fn last() -> Result<u8> {
    static LAST: OnceLock<u8> = OnceLock::new();
    if let Some(known) = LAST.get() {
        return Ok(*known);
    }
    let path = "/proc/sys/kernel/cap_last_cap";
    let found = match std::fs::read_to_string(path) {
        Ok(text) => text.trim().parse().with_context(|| format!("reading {path}"))?,
        // Without a /proc: the bounding set answers EINVAL for the first number that is too high.
        Err(_) => (0..64).take_while(|&number| sys::in_bounding(number).is_ok()).last().unwrap_or(0),
    };
    Ok(*LAST.get_or_init(|| found))
}

/// All capabilities that this kernel knows, named here or not: a new kernel's new power must be dropped too.
fn known_to_kernel() -> Result<u64> {
    Ok(u64::MAX >> (63 - u32::from(last()?).min(63)))
}

/// The five sets of this thread.
pub fn current() -> Result<Capabilities> {
    let sets = sys::capget().context("reading capabilities")?;
    let mut bounding = 0;
    let mut ambient = 0;
    for number in 0..=last()? {
        bounding |= u64::from(sys::in_bounding(number)?) << number;
        ambient |= u64::from(sys::in_ambient(number)?) << number;
    }
    Ok(Capabilities {
        bounding,
        effective: sets.effective,
        permitted: sets.permitted,
        inheritable: sets.inheritable,
        ambient,
    })
}

/// Drops from the bounding set all that is not in `keep`. Needs `CAP_SETPCAP`, unless there is nothing to drop.
pub fn limit_bounding(keep: u64) -> Result<()> {
    let mut dropped: u64 = 0;
    for number in 0..=last()? {
        // What is gone already need not be dropped, and so needs no CAP_SETPCAP.
        if keep & 1 << number == 0 && sys::in_bounding(number)? {
            sys::drop_bounding(number).with_context(|| format!("dropping {} from the bounding set", name(number)))?;
            dropped |= 1 << number;
        }
    }
    // One event for some thirty calls, which differ in a number only.
    if dropped != 0 {
        let count = dropped.count_ones();
        trace::say(Topic::Security, "prctl", format_args!("PR_CAPBSET_DROP {count} capabilities: {dropped:#x}"), "ok");
    }
    Ok(())
}

/// Gives this thread exactly these effective, permitted, inheritable and ambient sets. Call it after
/// [`limit_bounding`] and after the change of uid, with `PR_SET_KEEPCAPS` held over that change.
///
/// Capabilities unknown to the kernel are left out. One that we do not hold ourselves is an error, except in the
/// ambient set, where a capability that is not both permitted and inheritable is passed over (as runc and crun do).
pub fn apply(wanted: &Capabilities) -> Result<()> {
    let known = known_to_kernel()?;
    let sets = sys::CapabilitySets {
        effective: wanted.effective & known,
        permitted: wanted.permitted & known,
        inheritable: wanted.inheritable & known,
    };
    let sys::CapabilitySets { effective, permitted, inheritable } = sets;
    trace::ask(
        Topic::Security,
        "capset",
        format_args!("effective={effective:#x} permitted={permitted:#x} inheritable={inheritable:#x}"),
        || sys::capset(sets),
    )
    .with_context(|| {
        let held = sys::capget().unwrap_or_default().permitted;
        match Capability::list(sets.permitted & !held).next() {
            Some(missing) => format!("setting capabilities: {missing} is not ours to give"),
            None => "setting capabilities".into(),
        }
    })?;

    trace::ask(Topic::Security, "prctl", format_args!("PR_CAP_AMBIENT_CLEAR_ALL"), sys::clear_ambient)
        .context("clearing the ambient capabilities")?;
    for capability in Capability::list(wanted.ambient & sets.permitted & sets.inheritable) {
        trace::ask(Topic::Security, "prctl", format_args!("PR_CAP_AMBIENT_RAISE {capability}"), || {
            sys::raise_ambient(capability.number())
        })
        .with_context(|| format!("raising {capability} in the ambient set"))?;
    }
    Ok(())
}

/// A capability's name, or its number if it is newer than this program.
fn name(number: u8) -> String {
    Capability::from_number(number).map_or_else(|| format!("capability {number}"), |capability| capability.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capabilities belong to a thread: what a test gives up in a thread of its own, the others keep.
    fn in_a_thread<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(test).join().expect("the test thread ran to its end")
    }

    fn held() -> u64 {
        sys::capget().expect("capget").permitted
    }

    #[test]
    fn every_spelling_names_the_same_capability() {
        for text in ["CAP_SYS_ADMIN", "cap_sys_admin", "SYS_ADMIN", "sys_admin", "Sys_Admin"] {
            let capability: Capability = text.parse().expect(text);
            assert_eq!((capability.number(), capability.to_string().as_str()), (21, "CAP_SYS_ADMIN"));
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_repeats_it() {
        for text in ["", "CAP_", "CAP_CAP_CHOWN", "chown ", "ALL", "42"] {
            let error = text.parse::<Capability>().expect_err(text).to_string();
            assert_eq!(error, format!("unknown capability: {text:?}"));
        }
    }

    #[test]
    fn our_names_reach_as_far_as_this_kernel() {
        assert_eq!(known_to_kernel().expect("cap_last_cap") & !ALL, 0, "a new capability wants a name");
    }

    #[test]
    fn what_leaves_the_bounding_set_is_gone_for_good() {
        let kill: Capability = "KILL".parse().expect("a name");
        if held() & 1 << 8 == 0 {
            // Not root: dropping is refused, and the error says what was tried.
            let error = in_a_thread(|| limit_bounding(0)).expect_err("needs CAP_SETPCAP").to_string();
            assert_eq!(error, "dropping CAP_CHOWN from the bounding set");
            return;
        }
        let after = in_a_thread(move || {
            limit_bounding(kill.bit()).expect("dropping");
            current().expect("reading").bounding
        });
        assert_eq!(after, kill.bit());
        assert_ne!(current().expect("reading").bounding, after, "other threads keep theirs");
    }

    #[test]
    fn without_chown_a_chown_is_refused() {
        if held() & 1 == 0 {
            return; // not root: there is nothing to give up
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_owned();
        let chown = move || std::os::unix::fs::chown(&path, Some(1), Some(1)).map_err(|error| error.raw_os_error());
        assert_eq!(in_a_thread(chown.clone()), Ok(()));
        let refused = in_a_thread(move || {
            let sets = held() & !1;
            apply(&Capabilities { effective: sets, permitted: sets, ..Capabilities::default() }).expect("giving up");
            chown()
        });
        assert_eq!(refused, Err(Some(libc::EPERM)));
    }

    #[test]
    fn nobody_gives_what_he_does_not_hold() {
        let error = in_a_thread(|| {
            apply(&Capabilities::default()).expect("giving up everything is always allowed");
            apply(&Capabilities { permitted: 1 << 21, ..Capabilities::default() })
        });
        let error = format!("{:#}", error.expect_err("CAP_SYS_ADMIN came from nowhere"));
        assert_eq!(error, "setting capabilities: CAP_SYS_ADMIN is not ours to give: EPERM: Operation not permitted");
    }

    #[test]
    fn the_ambient_set_holds_only_what_is_permitted_and_inheritable() {
        let mine = held();
        let after = in_a_thread(move || {
            apply(&Capabilities {
                effective: mine,
                permitted: mine,
                inheritable: mine & 1,
                ambient: ALL,
                bounding: ALL,
            })
            .expect("our own capabilities");
            current().expect("reading")
        });
        assert_eq!((after.ambient, after.inheritable, after.permitted), (mine & 1, mine & 1, mine));
    }
}
