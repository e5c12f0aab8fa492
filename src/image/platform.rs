//! Platforms: which of an index's manifests is for this machine.
//!
//! An index lists one manifest for each operating system, architecture and variant. Variants are versions: an arm v7
//! machine runs v6 code, so if the exact one is missing, the newest older one will do.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, Os};

/// `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The operating system.
    pub os: Os,
    /// The architecture, by Go's names (amd64, arm64).
    pub architecture: Arch,
    /// The variant (v7), if it matters.
    pub variant: Option<String>,
}

impl Platform {
    /// The one we run on.
    pub fn of_this_machine() -> Self {
        Self { os: Os::Linux, architecture: Arch::default(), variant: None }
    }

    /// Whether an image says that it is for this one. Not all say their variant.
    pub fn is_of(&self, image: &ImageConfiguration) -> bool {
        let variant = match (&self.variant, image.variant()) {
            (Some(wanted), Some(own)) => wanted == own,
            _ => true,
        };
        variant && *image.os() == self.os && *image.architecture() == self.architecture
    }

    /// How well a manifest's platform suits: the greater the better.
    fn suits(&self, entry: &Descriptor) -> Option<u32> {
        let Some(offered) = entry.platform() else { return Some(1) };
        if *offered.os() != self.os || *offered.architecture() != self.architecture {
            return None;
        }
        let version = |variant: &Option<String>| {
            variant.as_deref().and_then(|v| v.trim_start_matches('v').parse::<u32>().ok()).unwrap_or(0)
        };
        match (version(&self.variant), version(offered.variant())) {
            (0, 0) => Some(1_000),
            // Nothing was asked for: of arm the newest, as Podman does; else what the oldest machines understand.
            (0, offered) if self.architecture == Arch::ARM => Some(100 + offered.min(800)),
            (0, offered) => Some(900 - offered.min(800)),
            (asked, offered) if offered <= asked => Some(10 + offered),
            _ => None,
        }
    }

    /// The manifest for this platform.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Result<&'a Descriptor> {
        // The first of the best, as the index's author put them.
        let best = manifests.iter().rev().filter_map(|entry| Some((self.suits(entry)?, entry)));
        if let Some((_, entry)) = best.max_by_key(|(suits, _)| *suits) {
            return Ok(entry);
        }
        let mut offered: Vec<String> = manifests.iter().filter_map(describe).collect();
        offered.sort();
        offered.dedup();
        bail!("no image for platform {self}; there are: {}", offered.join(", "));
    }
}

/// A manifest's platform in words; attestations call themselves unknown/unknown.
fn describe(entry: &Descriptor) -> Option<String> {
    let offered = entry.platform().as_ref()?;
    let variant = offered.variant().as_ref().map(|v| format!("/{v}")).unwrap_or_default();
    let text = format!("{}/{}{variant}", offered.os(), offered.architecture());
    (!text.starts_with("unknown")).then_some(text)
}

impl FromStr for Platform {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('/');
        let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        // `--platform arm64` leaves out the system.
        let (os, architecture) = second.map_or(("linux", first), |second| (first, second));
        if os.is_empty() || architecture.is_empty() || parts.next().is_some() {
            bail!("platform {text:?} is not os/architecture[/variant]");
        }
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: third.map(str::to_owned) })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: &str, digest: &str) -> Descriptor {
        let json = match platform.parse::<Platform>() {
            Ok(p) => serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
                "digest": crate::image::Digest::of(digest.as_bytes()).to_string(),
                "platform": {"os": p.os.to_string(), "architecture": p.architecture.to_string(), "variant": p.variant},
            }),
            Err(error) => panic!("{error}"),
        };
        serde_json::from_value(json).expect("a descriptor")
    }

    #[test]
    fn the_manifest_for_the_platform_is_chosen() {
        let index =
            ["linux/arm/v6", "linux/arm/v7", "linux/amd64", "linux/amd64/v3", "windows/amd64", "unknown/unknown"];
        let index: Vec<_> = index.iter().map(|p| entry(p, p)).collect();
        let chosen = |asked: &str| {
            let platform: Platform = asked.parse().expect(asked);
            platform.choose(&index).map(|e| describe(e).expect("known")).map_err(|error| error.to_string())
        };
        assert_eq!(chosen("linux/amd64").as_deref(), Ok("linux/amd64"));
        assert_eq!(chosen("linux/arm/v8").as_deref(), Ok("linux/arm/v7"));
        assert_eq!(chosen("arm").as_deref(), Ok("linux/arm/v7"));
        let none = chosen("linux/s390x").expect_err("none");
        assert!(none.starts_with("no image for platform linux/s390x; there are: linux/amd64,"), "{none}");
        assert!(!none.contains("unknown"), "{none}");
    }
}
