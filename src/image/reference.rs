//! References: the names of images.
//!
//! `busybox` is short for `docker.io/library/busybox:latest`: a registry, a repository in it, and a tag (a name that can
//! move) or a digest (which cannot). A [`Reference`] always holds the long form. Which registry a short name means is a
//! matter of policy, in [`super::registries`]; parsing one here completes it as Docker does.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use super::digest::Digest;

/// The registry of names that name none, and the namespace of its official images.
pub const DOCKER_IO: &str = "docker.io";
/// The registry of images that were made here. It exists nowhere, so such a name can never pull a stranger's image.
pub const LOCALHOST: &str = "localhost";
const OFFICIAL: &str = "library/";

/// A complete name: `registry/repository[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host, with a port if one is given.
    pub registry: String,
    /// Path in the registry, `library/busybox`.
    pub repository: String,
    /// The tag; always there unless there is a digest.
    pub tag: Option<String>,
    /// The digest, if the name is pinned to one.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Completes a name without a registry (`busybox`, `team/app:2`) with `registry`; one that names a registry keeps it.
    pub fn in_registry(registry: &str, text: &str) -> Result<Self> {
        let (registry, rest) = text.split_once('/').filter(|_| !is_short(text)).unwrap_or((registry, text));
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().with_context(|| format!("image name {text:?}"))?)),
            None => (rest, None),
        };
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (name, None),
        };
        ensure!(
            path.to_ascii_lowercase() == path,
            "image name {text:?}: the repository must be lower case, as in {:?}",
            text.to_ascii_lowercase()
        );
        ensure!(is_registry(registry), "image name {text:?}: {registry:?} is not a registry");
        ensure!(!path.is_empty() && path.split('/').all(is_component), "image name {text:?} is not valid");
        ensure!(tag.is_none_or(is_tag), "image name {text:?}: {:?} is not a tag", tag.unwrap_or_default());
        let registry = if registry == "index.docker.io" { DOCKER_IO } else { registry };
        let official = registry == DOCKER_IO && !path.contains('/');
        let repository = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
        // The long form counts: it is what is stored, and read again.
        ensure!(registry.len() + repository.len() < 255, "image name {text:?} is longer than 255 bytes");
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.or(if digest.is_none() { Some("latest") } else { None }).map(str::to_owned),
            digest,
        })
    }

    /// Without tag and digest: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository, pinned to a digest.
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// What a registry calls it within the repository: the digest, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".into(),
        }
    }

    /// How well a name that a person typed fits: `None` not at all, else the smaller the better. A short name fits any
    /// registry, first ours, then Docker's.
    pub fn fits(&self, typed: &str) -> Option<u8> {
        if !is_short(typed) {
            return (Self::in_registry(LOCALHOST, typed).ok()? == *self).then_some(0);
        }
        let typed = Self::in_registry(LOCALHOST, typed).ok()?;
        if typed.tag != self.tag || typed.digest != self.digest {
            return None;
        }
        let path = self.repository.strip_prefix(OFFICIAL).filter(|_| self.registry == DOCKER_IO);
        match self.registry.as_str() {
            LOCALHOST if self.repository == typed.repository => Some(1),
            DOCKER_IO if path.unwrap_or(&self.repository) == typed.repository => Some(2),
            _ => self.name().strip_suffix(&typed.repository)?.ends_with('/').then_some(3),
        }
    }
}

/// Whether a name leaves its registry to us: its first part is neither `localhost` nor has a dot or a port.
pub fn is_short(text: &str) -> bool {
    match text.split_once('/') {
        None => true,
        Some((first, _)) => first != LOCALHOST && !first.contains(['.', ':']),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, Some(port)),
        _ => (text, None),
    };
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let label_is_good = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host_is_good = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label_is_good),
    };
    host_is_good && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// `[a-z0-9]+` joined by single dots, one or two underscores, or hyphens.
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_well = bytes.first().is_some_and(|b| alphanumeric(*b)) && bytes.last().is_some_and(|b| alphanumeric(*b));
    ends_well
        && bytes.split(|b| alphanumeric(*b)).all(|joint| {
            matches!(joint, b"" | b"." | b"_" | b"__") || (!joint.is_empty() && joint.iter().all(|b| *b == b'-'))
        })
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

impl FromStr for Reference {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            bail!("an image name is empty");
        }
        Self::in_registry(DOCKER_IO, text.strip_prefix("docker://").unwrap_or(text))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(text: &str) -> String {
        text.parse::<Reference>().expect(text).to_string()
    }

    #[test]
    fn short_names_become_long_ones() {
        let digest = Digest::of(b"");
        assert_eq!(long("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(long("team/app:2"), "docker.io/team/app:2");
        assert_eq!(long("index.docker.io/busybox"), "docker.io/library/busybox:latest");
        assert_eq!(long("quay.io/a/b/c"), "quay.io/a/b/c:latest");
        assert_eq!(long("localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(long("localhost/x:1"), "localhost/x:1");
        assert_eq!(long("[::1]:5000/x"), "[::1]:5000/x:latest");
        assert_eq!(long(&format!("busybox@{digest}")), format!("docker.io/library/busybox@{digest}"));
        assert_eq!(long(&format!("busybox:1@{digest}")), format!("docker.io/library/busybox:1@{digest}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in
            ["", "Busybox", "a//b", "a..b", "-a", "a:", "a:b:c", "a@sha256:1", "../x", "a b", "a/../b", "x.y:99999/a"]
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        // With docker.io/library/ before it, it has as many bytes as a name may have; one more is too many.
        let longest = "a".repeat(255 - "docker.io/library/".len());
        assert_eq!(long(&long(&longest)), long(&longest));
        assert!(format!("a{longest}").parse::<Reference>().is_err());
    }

    #[test]
    fn a_short_name_fits_ours_before_dockers_before_others() {
        let fits = |stored: &str, typed: &str| stored.parse::<Reference>().expect(stored).fits(typed);
        assert_eq!(fits("localhost/app:latest", "app"), Some(1));
        assert_eq!(fits("docker.io/library/app:latest", "app"), Some(2));
        assert_eq!(fits("quay.io/team/app:latest", "app"), Some(3));
        assert_eq!(fits("quay.io/team/app:latest", "team/app"), Some(3));
        assert_eq!(fits("quay.io/team/app:latest", "quay.io/team/app"), Some(0));
        assert_eq!(fits("quay.io/team/app:latest", "pp"), None);
        assert_eq!(fits("quay.io/team/app:2", "app"), None);
    }
}
