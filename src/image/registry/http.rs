//! HTTP as a registry's client needs it: who is trusted, how long we wait, and errors in words.
//!
//! Certificates are the system's, and those of `certs.d/HOST[:PORT]/` for that host (containers-certs.d(5)): `*.crt` are
//! authorities, `*.cert` with `*.key` a client's own. Every wait has an end: connecting, the first byte of an answer,
//! and each read, so that a server which stalls is noticed wherever it does.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Timeout};

use super::Denied;
use crate::image::digest::read_at_most;

/// How long we wait, and how often we try again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Until the next bytes arrive.
    pub read: Duration,
    /// Attempts in a row that achieve nothing.
    pub attempts: u32,
    /// Before the second attempt; doubled for each further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            read: Duration::from_secs(20),
            attempts: 4,
            pause: Duration::from_secs(1),
        }
    }
}

impl Patience {
    /// How long to pause before attempt `number` (from 1), given what the server asked for.
    pub(super) fn pause_before(&self, number: u32, asked: Option<Duration>) -> Duration {
        let ours = self.pause * 2u32.saturating_pow(number.saturating_sub(1));
        asked.map_or(ours, |asked| asked.min(self.pause * 20).max(ours))
    }
}

/// An agent for one host.
pub(super) fn agent(host: &str, verify: bool, cert_dir: Option<&Path>, patience: &Patience) -> Result<Agent> {
    let mut tls = TlsConfig::builder().disable_verification(!verify).root_certs(RootCerts::PlatformVerifier);
    let (mut roots, mut chain, mut key) = (Vec::new(), Vec::new(), None);
    for path in certificates(host, cert_dir) {
        let items = pem(&path)?;
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        for item in items {
            match (item, kind) {
                (PemItem::Certificate(certificate), "crt") => roots.push(certificate),
                (PemItem::Certificate(certificate), "cert") => chain.push(certificate),
                (PemItem::PrivateKey(found), "key") => key = Some(found),
                _ => {}
            }
        }
    }
    if !roots.is_empty() {
        roots.extend(system_roots());
        tls = tls.root_certs(RootCerts::new_with_certs(&roots));
    }
    if let Some(key) = key.filter(|_| !chain.is_empty()) {
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        // Blobs are redirected to other hosts, which have no business with our credentials.
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(concat!("podling/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.read * 3))
        .timeout_per_read(Some(patience.read))
        .timeout_per_write(Some(patience.read))
        .input_buffer_size(256 << 10)
        .max_idle_connections_per_host(8)
        .build();
    Ok(config.new_agent())
}

/// The certificate files for a host: those of the directory named explicitly, or of every `certs.d` there is.
fn certificates(host: &str, explicit: Option<&Path>) -> Vec<PathBuf> {
    let directories = match explicit {
        Some(directory) => vec![directory.to_owned()],
        None => {
            let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            let config = env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
            let own = config.join("containers/certs.d");
            let all = [own, "/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()];
            // The first that has the host counts alone.
            all.iter().map(|directory| directory.join(host)).find(|directory| directory.is_dir()).into_iter().collect()
        }
    };
    let entries = directories.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn pem(path: &Path) -> Result<Vec<PemItem<'static>>> {
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    if !matches!(kind, "crt" | "cert" | "key") {
        return Ok(vec![]);
    }
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if kind == "key" {
        let key = PrivateKey::from_pem(&bytes).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        return Ok(vec![PemItem::PrivateKey(key)]);
    }
    let items: Result<Vec<_>, _> = parse_pem(&bytes).collect();
    items.map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// The system's authorities, from where distributions keep them. Needed only beside authorities of our own.
fn system_roots() -> Vec<Certificate<'static>> {
    let places = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let from_environment = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let path = from_environment.or_else(|| places.iter().map(PathBuf::from).find(|path| path.exists()));
    let bytes = path.and_then(|path| fs::read(path).ok()).unwrap_or_default();
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(&bytes).filter_map(certificate).collect()
}

/// A connection's failure in words.
pub(super) fn explain(error: ureq::Error) -> anyhow::Error {
    use ureq::Error as E;
    match error {
        E::Timeout(Timeout::Connect | Timeout::Resolve) => anyhow!("no connection: the host does not answer"),
        E::Timeout(_) => anyhow!("the registry stalls: it has sent nothing for a while"),
        E::HostNotFound => anyhow!("the host is not known (no such name, or no network)"),
        E::Io(error) => explain_io(&error),
        E::Rustls(error) => explain_tls(&error.to_string()),
        E::Protocol(error) => anyhow!("the answer is not HTTP: {error}"),
        E::LargeResponseHeader(..) => anyhow!("the answer's header is too large"),
        E::TooManyRedirects => anyhow!("the registry redirects in circles"),
        other => anyhow!("{}", one_line(&other.to_string())),
    }
}

/// The same for an error while reading a body.
pub(super) fn explain_io(error: &std::io::Error) -> anyhow::Error {
    use std::io::ErrorKind as K;
    let text = error.to_string();
    match error.kind() {
        K::ConnectionRefused => anyhow!("connection refused: nothing listens there"),
        K::ConnectionReset | K::BrokenPipe | K::UnexpectedEof | K::ConnectionAborted => anyhow!("the connection broke"),
        K::TimedOut | K::WouldBlock => anyhow!("the registry stalls: it has sent nothing for a while"),
        _ if text.contains("timeout") => anyhow!("the registry stalls: it has sent nothing for a while"),
        // rustls speaks through io::Error where it reads.
        K::InvalidData => explain_tls(&text),
        _ if text.contains("failed to lookup address") => {
            anyhow!("the host is not known (no such name, or no network)")
        }
        _ => anyhow!("{}", one_line(&text)),
    }
}

fn explain_tls(text: &str) -> anyhow::Error {
    if text.contains("InvalidContentType") || text.contains("corrupt message") || text.contains("InvalidMessage") {
        return anyhow!("it does not speak TLS; if it is meant to be plain HTTP, say --tls-verify=false");
    }
    if text.contains("UnknownIssuer") || text.contains("CaUsedAsEndEntity") || text.contains("invalid peer certificate")
    {
        return anyhow!(
            "its certificate is not trusted ({}); put its authority into certs.d, or say --tls-verify=false",
            one_line(text)
        );
    }
    anyhow!("TLS: {}", one_line(text))
}

/// An unexpected answer in words: the registry's own, if it gave any.
pub(super) fn refusal(response: Response<Body>) -> anyhow::Error {
    let status = response.status();
    let body = read_at_most(response.into_body().into_reader(), 64 << 10, "the answer").unwrap_or_default();
    let said = serde_json::from_slice::<Value>(&body).ok().and_then(|answer| {
        let first = &answer["errors"][0];
        let (code, message) =
            (first["code"].as_str().unwrap_or_default(), first["message"].as_str().unwrap_or_default());
        let text = if message.is_empty() { code } else { message };
        (!text.is_empty()).then(|| one_line(text))
    });
    let said = said.unwrap_or_else(|| match status {
        StatusCode::UNAUTHORIZED => "authentication required".into(),
        StatusCode::FORBIDDEN => "access denied".into(),
        StatusCode::NOT_FOUND => "not found".into(),
        StatusCode::TOO_MANY_REQUESTS => "too many requests; wait, or log in for a higher limit".into(),
        _ => status.canonical_reason().unwrap_or("unknown status").to_lowercase(),
    });
    let text = format!("the registry answered {}: {said}", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Denied(text).into(),
        _ => anyhow!(text),
    }
}

/// A stranger's words as one short line without control characters.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

/// How long a server asks us to wait (`Retry-After`, in seconds).
pub(super) fn retry_after(response: &Response<Body>) -> Option<Duration> {
    response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
