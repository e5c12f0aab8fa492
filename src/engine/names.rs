//! Names: of containers that a person did not name, and what a name may be.
//!
//! A name is claimed by making a symbolic link with it: the kernel lets exactly one of two racing commands do that. A
//! claim whose container never came to be, or has taken another name since, is nobody's and may be taken over.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Engine;
use super::container::Container;
use super::failure::Failure;
use super::store::{Lock, make_private};
use crate::trace;

const MOODS: [&str; 48] = [
    "agile", "amber", "brave", "bright", "calm", "candid", "clever", "cosy", "curious", "daring", "deft", "eager",
    "earnest", "fleet", "fluent", "fond", "gentle", "glad", "golden", "handy", "hearty", "humble", "jolly", "keen",
    "kind", "lively", "lucid", "mellow", "merry", "modest", "nimble", "noble", "patient", "placid", "plucky", "quick",
    "quiet", "ready", "serene", "sincere", "sleek", "spry", "steady", "sunny", "tidy", "upbeat", "vivid", "witty",
];
/// What lives in the sea: a podling is a small pod.
const ANIMALS: [&str; 48] = [
    "anchovy",
    "anemone",
    "barnacle",
    "beluga",
    "bonito",
    "capelin",
    "cod",
    "conch",
    "coral",
    "cowrie",
    "crab",
    "cuttlefish",
    "dolphin",
    "dugong",
    "eel",
    "flounder",
    "goby",
    "grouper",
    "haddock",
    "halibut",
    "herring",
    "krill",
    "lamprey",
    "limpet",
    "lobster",
    "mackerel",
    "manatee",
    "marlin",
    "minke",
    "mussel",
    "narwhal",
    "nautilus",
    "octopus",
    "orca",
    "otter",
    "oyster",
    "porpoise",
    "prawn",
    "puffin",
    "ray",
    "salmon",
    "sardine",
    "seal",
    "squid",
    "tuna",
    "turbot",
    "walrus",
    "whelk",
];

/// `count` random bytes.
fn random<const COUNT: usize>() -> Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("reading /dev/urandom")?;
    Ok(bytes)
}

/// A new id: 64 hexadecimal digits.
pub fn new_id() -> Result<String> {
    Ok(random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A name for who has none: `mood_animal`.
fn new_name() -> Result<String> {
    let [mood, animal] = random::<2>()?;
    let (mood, animal) = (usize::from(mood) % MOODS.len(), usize::from(animal) % ANIMALS.len());
    Ok(format!("{}_{}", MOODS[mood], ANIMALS[animal]))
}

/// Whether `name` may be one: it becomes a file's name, a host's, and a word on a command line.
pub fn check(name: &str) -> Result<()> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    let sound = name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || b"_.-".contains(&byte))
        && name.len() < 256;
    if !sound {
        bail!(Failure::Invalid(format!(
            "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument: \"{name}\" is no name"
        )));
    }
    Ok(())
}

impl Engine {
    /// Claims `name`, or a new one if there is none, for container `id`.
    pub(super) fn claim_name(&self, name: Option<&str>, id: &str) -> Result<String> {
        if let Some(name) = name {
            self.claim(name, id)?;
            return Ok(name.into());
        }
        for attempt in 0.. {
            let mut name = new_name()?;
            if attempt > 3 {
                name = format!("{name}{}", u16::from_be_bytes(random()?));
            }
            match self.claim(&name, id) {
                Err(error) if error.downcast_ref::<Failure>().is_some() => {}
                other => return other.map(|()| name),
            }
        }
        unreachable!("the loop has no end")
    }

    fn claim(&self, name: &str, id: &str) -> Result<()> {
        let link = self.paths.names().join(name);
        if link_to(&link, id)? {
            return Ok(());
        }
        // Somebody has it, or had it and died before (or after) there was a container to call so.
        let _store = Lock::exclusive(&self.paths.data.join("names.lock"))?;
        let owner = fs::read_link(&link).ok();
        let owner = owner.as_deref().and_then(Path::file_name).and_then(|id| id.to_str()).unwrap_or_default();
        // Asked in this order: what is no longer being made is either whole by now, or never will be.
        let taken = !owner.is_empty()
            && (self.being_made(owner)
                || Container::read(&self.paths, owner)?.is_some_and(|container| container.name() == name));
        if taken {
            bail!(Failure::NameInUse { name: name.into(), id: owner.into() });
        }
        let _ = fs::remove_file(&link);
        if !link_to(&link, id)? {
            bail!(Failure::NameInUse { name: name.into(), id: owner.into() });
        }
        Ok(())
    }

    /// Half made, and alive: its maker holds its lock.
    fn being_made(&self, id: &str) -> bool {
        Lock::is_held(&self.paths.partial().join(id).join("lock"))
    }

    /// Gives up all names of `id`, but not the one that is `kept`.
    pub(super) fn release_names(&self, id: &str, kept: Option<&str>) {
        for entry in fs::read_dir(self.paths.names()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if kept.is_none_or(|kept| name != kept) {
                self.release_name(&name.to_string_lossy(), id);
            }
        }
    }

    /// Gives up `name` if it is `id`'s.
    pub(super) fn release_name(&self, name: &str, id: &str) {
        let link = self.paths.names().join(name);
        if fs::read_link(&link).is_ok_and(|target| target.ends_with(id)) {
            let _ = fs::remove_file(link);
        }
    }
}

/// Makes the link; false if something of that name is there.
fn link_to(link: &Path, id: &str) -> Result<bool> {
    let make = || symlink(Path::new("../containers").join(id), link);
    let mut made = make();
    if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        make_private(link.parent().context("names are in a directory")?)?;
        made = make();
    }
    match made {
        Ok(()) => {
            trace::point("named");
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("claiming {}", link.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for name in ["web", "a", "Web-1_x.y"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "-x", "a/b", "a b", "ü"] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
