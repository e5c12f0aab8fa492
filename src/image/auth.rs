//! Credentials: auth.json, shared with Podman, Buildah and skopeo, and Docker's config.json as a fallback.
//!
//! The file maps a registry, or a repository or namespace in one, to `base64(user:password)`: encoded, not encrypted.
//! Whoever wants better names a credential helper in it, a program `docker-credential-NAME` that keeps secrets elsewhere
//! (a keyring) and speaks JSON.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reference::DOCKER_IO;

/// The key under which Docker itself keeps credentials for docker.io.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// What a registry wants to know.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password (or a personal token).
    Password { user: String, password: String },
    /// A token to be exchanged for access tokens, from a browser login.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "{user}:…"),
            Self::Identity(_) => write!(f, "identity token …"),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct AuthFile {
    auths: BTreeMap<String, Value>,
    #[serde(rename = "credHelpers", skip_serializing_if = "BTreeMap::is_empty")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore", skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Where `login` writes: `explicit` (`--authfile`), `$REGISTRY_AUTH_FILE`, or a file that is gone after a reboot.
pub fn own_file(explicit: Option<&Path>) -> PathBuf {
    let from_environment = || env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from);
    explicit.map(Path::to_owned).or_else(from_environment).unwrap_or_else(|| match env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => Path::new(&runtime).join("containers/auth.json"),
        None => format!("/run/containers/{}/auth.json", nix::unistd::geteuid()).into(),
    })
}

/// Where credentials are looked for. A file named explicitly is the only one.
fn files(explicit: Option<&Path>) -> Vec<PathBuf> {
    let mut files = vec![own_file(explicit)];
    if explicit.is_some() || env::var_os("REGISTRY_AUTH_FILE").is_some() {
        return files;
    }
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let config = env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
    files.push(config.join("containers/auth.json"));
    files.push(env::var_os("DOCKER_CONFIG").map_or_else(|| home.join(".docker"), PathBuf::from).join("config.json"));
    files
}

/// The credentials for a repository of a registry, if anybody left some.
pub fn find(registry: &str, repository: &str, explicit: Option<&Path>) -> Result<Option<Credentials>> {
    for path in files(explicit) {
        let Some(file) = read(&path)? else { continue };
        if let Some(found) = file.find(registry, repository).with_context(|| path.display().to_string())? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The user that is logged in to a registry, for `login --get-login`.
pub fn user(registry: &str, explicit: Option<&Path>) -> Result<Option<String>> {
    Ok(match find(registry, "", explicit)? {
        Some(Credentials::Password { user, .. }) => Some(user),
        Some(Credentials::Identity(_)) => Some("<token>".into()),
        None => None,
    })
}

impl AuthFile {
    /// The most specific entry wins: a repository, the namespaces above it, the registry.
    fn find(&self, registry: &str, repository: &str) -> Result<Option<Credentials>> {
        let mut name = format!("{registry}/{repository}");
        if let Some(helper) = self.helpers.get(registry) {
            return from_helper(helper, registry);
        }
        loop {
            if let Some(entry) = self.auths.get(name.trim_end_matches('/')) {
                return parse(entry).with_context(|| format!("the entry {name}"));
            }
            match name.rfind('/') {
                Some(slash) => name.truncate(slash),
                None => break,
            }
        }
        // Docker wrote keys as URLs.
        let host = |key: &str| {
            let key = key.trim_start_matches("https://").trim_start_matches("http://");
            key.split('/').next().unwrap_or_default().to_owned()
        };
        let aliases: &[&str] = if registry == DOCKER_IO { &["index.docker.io", "registry-1.docker.io"] } else { &[] };
        let by_url = self.auths.iter().find(|(key, _)| {
            let host = host(key);
            key.contains("://") && (host == registry || aliases.contains(&host.as_str()))
        });
        match (by_url, &self.store) {
            (_, Some(store)) => from_helper(store, if registry == DOCKER_IO { DOCKER_KEY } else { registry }),
            (Some((key, entry)), None) => parse(entry).with_context(|| format!("the entry {key}")),
            (None, None) => Ok(None),
        }
    }
}

fn parse(entry: &Value) -> Result<Option<Credentials>> {
    if let Some(token) = entry["identitytoken"].as_str().filter(|token| !token.is_empty()) {
        return Ok(Some(Credentials::Identity(token.into())));
    }
    let Some(encoded) = entry["auth"].as_str().filter(|auth| !auth.is_empty()) else { return Ok(None) };
    let decoded = BASE64.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, password) =
        decoded.as_deref().and_then(|text| text.split_once(':')).context("is not base64(user:password)")?;
    let password = password.trim_end_matches('\0');
    Ok(Some(Credentials::Password { user: user.into(), password: password.into() }))
}

/// Has `docker-credential-NAME` do something: `get` and `erase` want the registry on its standard input, `store` JSON.
/// What it answers; `None`: it has no credentials for that registry.
fn helper(name: &str, verb: &str, input: &str) -> Result<Option<String>> {
    let program = format!("docker-credential-{name}");
    let mut command = Command::new(&program);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("running the credential helper {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may have answered without reading.
        let _ = stdin.write_all(input.as_bytes());
    }
    let answer = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    if answer.status.success() {
        return Ok(Some(text));
    }
    ensure!(text.contains("not found"), "{program} {verb}: {}", text.lines().next().unwrap_or("no answer"));
    Ok(None)
}

fn from_helper(name: &str, registry: &str) -> Result<Option<Credentials>> {
    let Some(text) = helper(name, "get", registry)? else { return Ok(None) };
    let not_json = || format!("docker-credential-{name} did not answer in JSON");
    let answer: Value = serde_json::from_str(&text).with_context(not_json)?;
    Ok(match (answer["Username"].as_str(), answer["Secret"].as_str()) {
        (Some("<token>"), Some(token)) => Some(Credentials::Identity(token.into())),
        (Some(user), Some(password)) => Some(Credentials::Password { user: user.into(), password: password.into() }),
        _ => None,
    })
}

/// Writes credentials down, after they have been verified, or gives them to the helper that keeps this registry's. Returns
/// the file.
pub fn store(registry: &str, user: &str, password: &str, explicit: Option<&Path>) -> Result<PathBuf> {
    let path = own_file(explicit);
    let mut file = read(&path)?.unwrap_or_default();
    if let Some(name) = file.helpers.get(registry) {
        let secret = serde_json::json!({ "ServerURL": registry, "Username": user, "Secret": password });
        helper(name, "store", &secret.to_string())?;
        return Ok(path);
    }
    let auth = BASE64.encode(format!("{user}:{password}"));
    file.auths.insert(registry.into(), serde_json::json!({ "auth": auth }));
    write(&path, &file)?;
    Ok(path)
}

/// Forgets credentials; false if there were none in our own file. Errors: they are in a file of somebody else's.
pub fn forget(registry: &str, explicit: Option<&Path>) -> Result<bool> {
    let path = own_file(explicit);
    let mut file = read(&path)?.unwrap_or_default();
    let helped = match file.helpers.get(registry) {
        // Most erase what they do not have without a word.
        Some(name) => from_helper(name, registry)?.is_some() && helper(name, "erase", registry)?.is_some(),
        None => false,
    };
    let written = file.auths.remove(registry).is_some();
    if written {
        write(&path, &file)?;
    }
    Ok(helped || written)
}

/// Forgets all credentials in our own file.
pub fn forget_all(explicit: Option<&Path>) -> Result<()> {
    let path = own_file(explicit);
    if let Some(mut file) = read(&path)? {
        for (registry, name) in &file.helpers {
            helper(name, "erase", registry)?;
        }
        file.auths.clear();
        write(&path, &file)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<AuthFile>> {
    match fs::read(path) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(None),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{} is broken", path.display())),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn write(path: &Path, file: &AuthFile) -> Result<()> {
    let write = || -> Result<()> {
        let Some(dir) = path.parent() else { bail!("is no file") };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let mut out = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        out.write_all(&serde_json::to_vec_pretty(file)?)?;
        out.sync_data()?;
        Ok(fs::rename(&temporary, path)?)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_entry_wins() {
        let auth = |text: &str| serde_json::json!({ "auth": BASE64.encode(text) });
        let file: AuthFile = serde_json::from_value(serde_json::json!({
            "auths": {
                "quay.io": auth("a:1"), "quay.io/team": auth("b:2:with:colons"), "https://index.docker.io/v1/": auth("d:3"),
                "broken.io": {"auth": "%"}, "empty.io": {}, "token.io": {"identitytoken": "t"},
            },
            "kept": true,
        }))
        .expect("a file");
        let find = |registry, repository| file.find(registry, repository).expect("found").map(|c| format!("{c:?}"));
        assert_eq!(find("quay.io", "other/app").as_deref(), Some("a:…"));
        assert_eq!(find("quay.io", "team/app").as_deref(), Some("b:…"));
        assert_eq!(find("docker.io", "library/busybox").as_deref(), Some("d:…"));
        assert_eq!(find("token.io", "x"), Some("identity token …".into()));
        assert_eq!(find("empty.io", "x"), None);
        assert_eq!(find("quay.io.evil.example", "x"), None);
        assert!(file.find("broken.io", "x").is_err());
        assert_eq!(serde_json::to_value(&file).expect("json")["kept"], true, "what others wrote stays");
    }

    #[test]
    fn a_login_is_written_for_our_eyes_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sub/auth.json");
        store("localhost:5000", "me", "secret", Some(&path)).expect("stored");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let expected = Credentials::Password { user: "me".into(), password: "secret".into() };
        assert_eq!(find("localhost:5000", "x", Some(&path)).expect("found"), Some(expected));
        assert!(forget("localhost:5000", Some(&path)).expect("forgotten"));
        assert!(!forget("localhost:5000", Some(&path)).expect("forgotten"));
    }
}
