//! registries.conf: which registries a short name means, and how each is reached.
//!
//! The file is shared with Podman, Buildah and skopeo, so that a machine is set up once (containers-registries.conf(5),
//! version 2). It says where unqualified names are looked for, and for a prefix of names: another location, mirrors to
//! ask first, whether plain HTTP and unknown certificates are tolerated, or that it is forbidden altogether.
//!
//! A user's own file replaces the machine's; the files of `registries.conf.d` are laid over either, one by one.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::reference::{LOCALHOST, Reference, is_short};
use crate::linux::idmap;

/// The settings, all files read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Registries {
    #[serde(rename = "unqualified-search-registries")]
    unqualified_search: Option<Vec<String>>,
    registry: Vec<Registry>,
    aliases: BTreeMap<String, String>,
    short_name_mode: Option<Asking>,
    /// Where `unqualified-search-registries` was said, for messages.
    #[serde(skip)]
    said_in: Option<PathBuf>,
}

/// `short-name-mode`: whether a person is asked which of several registries he means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Asking {
    /// Not: the first registry that has the image is it.
    #[serde(rename = "disabled")]
    Never,
    /// If there is a terminal.
    #[default]
    #[serde(rename = "permissive")]
    OnTerminal,
    /// Without a terminal it is an error.
    #[serde(rename = "enforcing")]
    Always,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    #[serde(rename = "pull-from-mirror")]
    pull: Option<String>,
}

/// One place where an image can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host, with a port if one was given.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Plain HTTP and unknown certificates are tolerated.
    pub insecure: bool,
}

impl Registries {
    /// The registries in which a short name is looked for, in order.
    pub fn search(&self) -> &[String] {
        self.unqualified_search.as_deref().unwrap_or_default()
    }

    /// Whether a person is asked about a short name.
    pub fn asking(&self) -> Asking {
        self.short_name_mode.unwrap_or_default()
    }

    /// Reads the files of this user and machine. `$CONTAINERS_REGISTRIES_CONF` names another one.
    pub fn load() -> Result<Self> {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let config = env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        let ours = config.join("containers/registries.conf");
        let machine = ["/etc/containers/registries.conf", "/usr/share/containers/registries.conf"].map(PathBuf::from);
        let main = match env::var_os("CONTAINERS_REGISTRIES_CONF") {
            Some(path) => Some(PathBuf::from(path)),
            None => [&ours].into_iter().chain(&machine).find(|path| path.exists()).cloned(),
        };
        let drop_ins = [PathBuf::from("/etc/containers/registries.conf.d"), ours.with_extension("conf.d")];
        let mut all = Self::default();
        for path in main.iter().cloned().chain(drop_ins.iter().flat_map(|dir| files(dir))) {
            all.lay_over(&path)?;
        }
        // What was written down, by Podman or by us, when somebody was asked which registry he meant.
        let asked = asked_before();
        if asked.exists() {
            all.lay_over(&asked)?;
        }
        Ok(all)
    }

    fn lay_over(&mut self, path: &Path) -> Result<()> {
        let read = || -> Result<Self> { Ok(toml::from_str(&std::fs::read_to_string(path)?)?) };
        let over = read().map_err(|error| {
            // A TOML error has a drawing of the place over several lines; the first says it.
            let text = format!("{error:#}");
            anyhow::anyhow!("{}: {}", path.display(), text.lines().next().unwrap_or_default())
        })?;
        self.add(over, path).with_context(|| path.display().to_string())
    }

    fn add(&mut self, over: Self, path: &Path) -> Result<()> {
        if over.unqualified_search.is_some() {
            self.unqualified_search = over.unqualified_search;
            self.said_in = Some(path.to_owned());
        }
        for registry in over.registry {
            let prefix = registry.prefix().context("a [[registry]] has neither prefix nor location")?.to_owned();
            self.registry.retain(|known| known.prefix() != Some(&prefix));
            self.registry.push(registry);
        }
        self.short_name_mode = over.short_name_mode.or(self.short_name_mode);
        self.aliases.extend(over.aliases);
        Ok(())
    }

    /// The full names that a typed one may mean, to be tried in this order.
    pub fn candidates(&self, typed: &str) -> Result<Vec<Reference>> {
        let typed = typed.strip_prefix("docker://").unwrap_or(typed);
        ensure!(!typed.is_empty(), "an image name is empty");
        if !is_short(typed) {
            return Ok(vec![typed.parse()?]);
        }
        let bare = Reference::in_registry(LOCALHOST, typed)?;
        if let Some(full) = self.aliases.get(&bare.repository) {
            let full: Reference = full.parse().with_context(|| format!("the alias of {:?}", bare.repository))?;
            return Ok(vec![Reference { tag: bare.tag, digest: bare.digest, ..full }]);
        }
        match self.unqualified_search.as_deref() {
            Some([]) | None => bail!(
                "short name {typed:?} does not say which registry it is in; type docker.io/{}{typed}, or list \
                 unqualified-search-registries in {}",
                if typed.contains('/') { "" } else { "library/" },
                self.said_in.as_deref().unwrap_or(Path::new("/etc/containers/registries.conf")).display(),
            ),
            Some(registries) => registries.iter().map(|registry| Reference::in_registry(registry, typed)).collect(),
        }
    }

    /// Where an image can be had, to be tried in this order; `insecure` is what the command line says, if it does.
    pub fn endpoints(&self, name: &Reference, insecure: Option<bool>) -> Result<Vec<Endpoint>> {
        let full = name.name();
        let rules = self.registry.iter().filter_map(|rule| Some((rule.matches(&full)?, rule)));
        let Some((length, rule)) = rules.max_by_key(|(length, _)| *length) else {
            return Ok(vec![endpoint(&full, insecure.unwrap_or(false))?]);
        };
        ensure!(!rule.blocked, "registry {} is blocked in registries.conf", rule.prefix().unwrap_or_default());
        // A wildcard stands for a host, and a location for what the prefix stands for.
        let rest = &full[length..];
        let mut endpoints = Vec::new();
        for mirror in &rule.mirror {
            let wanted = match mirror.pull.as_deref() {
                Some("digest-only") => name.digest.is_some(),
                Some("tag-only") => name.digest.is_none(),
                _ => name.digest.is_some() || !rule.mirror_by_digest_only,
            };
            if wanted {
                endpoints.push(endpoint(&format!("{}{rest}", mirror.location), insecure.unwrap_or(mirror.insecure))?);
            }
        }
        let own = match &rule.location {
            Some(location) => format!("{location}{rest}"),
            None => full.clone(),
        };
        endpoints.push(endpoint(&own, insecure.unwrap_or(rule.insecure))?);
        Ok(endpoints)
    }
}

/// Where it is written down what a person meant by a short name.
fn asked_before() -> PathBuf {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let initial = idmap::current(idmap::Kind::Uid).is_ok_and(|uids| idmap::is_initial(&uids));
    let cache = if nix::unistd::geteuid().is_root() && initial {
        PathBuf::from("/var/cache")
    } else {
        env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from)
    };
    cache.join("containers/short-name-aliases.conf")
}

/// Writes down what a person meant by a short name, so that he is not asked again.
pub fn remember(typed: &str, name: &Reference) -> Result<()> {
    let short = Reference::in_registry(LOCALHOST, typed)?.repository;
    let path = asked_before();
    let write = || -> Result<()> {
        let mut known = Registries::default();
        if path.exists() {
            known.lay_over(&path)?;
        }
        known.aliases.insert(short, name.name());
        // Names hold nothing that would have to be escaped.
        let lines: String = known.aliases.iter().map(|(short, full)| format!("  \"{short}\" = \"{full}\"\n")).collect();
        std::fs::create_dir_all(path.parent().context("is no file")?)?;
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        std::fs::write(&temporary, format!("[aliases]\n{lines}"))?;
        Ok(std::fs::rename(&temporary, &path)?)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

impl Registry {
    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref().or(self.location.as_deref()).filter(|prefix| !prefix.is_empty())
    }

    /// How much of a name the prefix covers.
    fn matches(&self, name: &str) -> Option<usize> {
        let prefix = self.prefix()?;
        if let Some(domain) = prefix.strip_prefix("*") {
            let host = name.split_once('/').map_or(name, |(host, _)| host);
            return (domain.starts_with('.') && host.ends_with(domain)).then_some(host.len());
        }
        let rest = name.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
    }
}

fn endpoint(full: &str, insecure: bool) -> Result<Endpoint> {
    let (host, repository) = full.split_once('/').with_context(|| format!("location {full:?} has no repository"))?;
    // Docker's registry is not where its name says.
    let host = if host == super::reference::DOCKER_IO { "registry-1.docker.io" } else { host };
    Ok(Endpoint { host: host.into(), repository: repository.into(), insecure })
}

/// The `.conf` files of a directory, sorted.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "conf")).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Registries {
        let mut all = Registries::default();
        all.add(toml::from_str(text).expect(text), Path::new("/conf")).expect(text);
        all
    }

    fn endpoints(conf: &Registries, name: &str) -> Vec<String> {
        let endpoints = conf.endpoints(&name.parse().expect(name), None).expect(name);
        let show = |e: &Endpoint| format!("{}/{}{}", e.host, e.repository, if e.insecure { " insecure" } else { "" });
        endpoints.iter().map(show).collect()
    }

    #[test]
    fn short_names_are_searched_in_order_and_aliases_come_first() {
        let conf = conf(
            "unqualified-search-registries = ['localhost:5000', 'docker.io']\n[aliases]\n'fedora' = 'quay.io/fedora/fedora'",
        );
        let candidates = |typed: &str| -> Vec<String> {
            conf.candidates(typed).expect(typed).iter().map(ToString::to_string).collect()
        };
        assert_eq!(candidates("busybox:1"), ["localhost:5000/busybox:1", "docker.io/library/busybox:1"]);
        assert_eq!(candidates("fedora:41"), ["quay.io/fedora/fedora:41"]);
        assert_eq!(candidates("quay.io/x/y"), ["quay.io/x/y:latest"]);
        let error = Registries::default().candidates("busybox").expect_err("nowhere to look").to_string();
        assert!(error.contains("type docker.io/library/busybox"), "{error}");
    }

    #[test]
    fn the_longest_prefix_rules() {
        let conf = conf(
            "[[registry]]\nlocation = 'localhost:5000'\ninsecure = true\n\
             [[registry]]\nprefix = 'docker.io/library'\nlocation = 'quay.io/mirror'\n\
             [[registry.mirror]]\nlocation = 'localhost:5000/hub'\ninsecure = true\n\
             [[registry.mirror]]\nlocation = 'digests.example'\npull-from-mirror = 'digest-only'\n\
             [[registry]]\nprefix = '*.bad.example'\nblocked = true",
        );
        assert_eq!(endpoints(&conf, "localhost:5000/a/b"), ["localhost:5000/a/b insecure"]);
        assert_eq!(endpoints(&conf, "busybox"), ["localhost:5000/hub/busybox insecure", "quay.io/mirror/busybox"]);
        assert_eq!(endpoints(&conf, "docker.io/other/x"), ["registry-1.docker.io/other/x"]);
        let pinned = format!("busybox@{}", crate::image::Digest::of(b""));
        assert_eq!(endpoints(&conf, &pinned)[1], "digests.example/busybox");
        let blocked = conf.endpoints(&"very.bad.example/x".parse().expect("a name"), None).expect_err("blocked");
        assert!(blocked.to_string().contains("blocked in registries.conf"));
    }
}
