//! The registry's client: one repository on one host, over HTTP (the OCI distribution specification).
//!
//! ```text
//! GET   /v2/                            is this a registry, and whom does it trust?
//! GET   /v2/NAME/manifests/REFERENCE    a manifest or an index, by tag or digest
//! GET   /v2/NAME/blobs/DIGEST           a blob; from a byte on, with Range
//! POST  /v2/NAME/blobs/uploads/         where to send a blob; or mount one from another repository
//! PUT   LOCATION?digest=DIGEST          the blob
//! PUT   /v2/NAME/manifests/REFERENCE    the manifest, last
//! ```
//!
//! It is one blocking client; parallel transfers are threads that share it. A registry is a stranger: all sizes are
//! limited, all digests computed, all waits bounded, and its words reach the person in one short line.

mod blob;
mod http;
mod token;
mod upload;

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::MediaType;
use serde_json::Value;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::{Agent, Body, SendBody};

use super::auth::{self, Credentials};
use super::digest::{Digest, read_at_most};
use super::layout::{DOCKER_LIST, DOCKER_MANIFEST, MANIFEST_MAX};
use super::reference::Reference;
use super::registries::{Endpoint, Registries};
use crate::trace::{self, Topic};

pub use http::Patience;
use http::{explain, refusal, retry_after};
use token::Challenge;

/// How registries are reached: what the command line and the machine's files say.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// registries.conf.
    pub registries: Registries,
    /// `--tls-verify`, if given; false tolerates unknown certificates and plain HTTP.
    pub tls_verify: Option<bool>,
    /// `--creds`.
    pub credentials: Option<Credentials>,
    /// `--authfile`.
    pub authfile: Option<PathBuf>,
    /// `--cert-dir`.
    pub cert_dir: Option<PathBuf>,
    /// How long we wait.
    pub patience: Patience,
}

impl Access {
    /// What was asked, and what the machine's registries.conf says.
    pub fn with_files(self) -> Result<Self> {
        Ok(Self { registries: Registries::load()?, ..self })
    }
}

/// More tags than anybody pulls at once.
const TAGS_MAX: usize = 10_000;

/// What we want to do; a registry's tokens are for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Read.
    Pull,
    /// Write; and take blobs from another repository of the registry, if it has an image's.
    Push { taking_from: Option<&'a str> },
}

impl Purpose<'_> {
    /// What a token must be for, as registries write it.
    fn scopes(self, repository: &str) -> Vec<String> {
        match self {
            _ if repository.is_empty() => vec![],
            Self::Pull => vec![format!("repository:{repository}:pull")],
            Self::Push { taking_from } => {
                let own = format!("repository:{repository}:pull,push");
                [own].into_iter().chain(taking_from.map(|other| format!("repository:{other}:pull"))).collect()
            }
        }
    }
}

/// A manifest or index as it came, with its type.
#[derive(Debug, Clone)]
pub struct RawManifest {
    /// Its bytes, whose digest is its name.
    pub bytes: Vec<u8>,
    /// Its type, as its own text says, else as the registry said.
    pub kind: MediaType,
    /// Its digest.
    pub digest: Digest,
}

/// One repository on one host.
pub struct Remote {
    agent: Agent,
    /// `https://host[:port]`.
    base: String,
    repository: String,
    credentials: Option<Credentials>,
    scopes: Vec<String>,
    /// Who we are, as the last challenge was answered.
    authorization: Mutex<Option<String>>,
    patience: Patience,
}

/// Where to send a request: a path of the API, or an address the registry gave.
type Address<'a> = &'a str;

impl Remote {
    /// Finds out how to speak with the endpoint of an image: by which scheme, and who wants to know who we are.
    pub fn connect(endpoint: &Endpoint, name: &Reference, access: &Access, purpose: Purpose) -> Result<Self> {
        let credentials = match &access.credentials {
            Some(credentials) => Some(credentials.clone()),
            // A mirror is another registry, with its own credentials.
            None if endpoint.host == "registry-1.docker.io" => {
                auth::find(&name.registry, &name.repository, access.authfile.as_deref())?
            }
            None => auth::find(&endpoint.host, &endpoint.repository, access.authfile.as_deref())?,
        };
        let verify = !endpoint.insecure;
        let agent = http::agent(&endpoint.host, verify, access.cert_dir.as_deref(), &access.patience)?;
        let mut remote = Self {
            agent,
            base: format!("https://{}", endpoint.host),
            repository: endpoint.repository.clone(),
            credentials,
            scopes: purpose.scopes(&endpoint.repository),
            authorization: Mutex::new(None),
            patience: access.patience,
        };
        let mut reached = remote.ping();
        if endpoint.insecure
            && let Err(tls) = &reached
            && tls.downcast_ref::<NoRegistry>().is_none()
        {
            remote.base = format!("http://{}", endpoint.host);
            reached = remote.ping();
        }
        reached.with_context(|| format!("registry {}", endpoint.host))?;
        Ok(remote)
    }

    /// Asks who is there, and answers if it asks back.
    fn ping(&self) -> Result<()> {
        let url = format!("{}/v2/", self.base);
        let response = self.retry(|| self.once(&Method::GET, &url, &[], SendBody::none(), None))?;
        match response.status() {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED => {
                let challenge = Challenge::of(&response);
                let challenge = challenge.context("the registry does not say how it wants to be authenticated")?;
                self.authenticate(&challenge)
            }
            status => Err(NoRegistry(format!("/v2/ answered {}: this is no registry", status.as_u16())).into()),
        }
    }

    fn authenticate(&self, challenge: &Challenge) -> Result<()> {
        let answer = token::answer(&self.agent, &self.base, challenge, self.credentials.as_ref(), &self.scopes)?;
        if let Ok(mut authorization) = self.authorization.lock() {
            *authorization = answer;
        }
        Ok(())
    }

    fn authorization(&self) -> Option<String> {
        self.authorization.lock().ok().and_then(|authorization| authorization.clone())
    }

    /// The address of something in this repository.
    fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.base, self.repository)
    }

    /// One request, without a second thought.
    fn once(
        &self,
        method: &Method,
        url: Address,
        headers: &[(&str, &str)],
        body: SendBody,
        authorization: Option<String>,
    ) -> Result<Response<Body>> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let request = request.body(body).context("the registry gave an impossible address")?;
        let response = self.agent.run(request).map_err(explain);
        let shown = response.as_ref().map_or_else(ToString::to_string, |r| r.status().as_u16().to_string());
        trace::say(Topic::Image, "http", format_args!("{method} {url}"), &shown);
        response
    }

    /// A request without a body: authenticated, again with a new token if the old one has expired, and tried again when
    /// the connection fails or the server is busy.
    fn ask(&self, method: &Method, url: Address, headers: &[(&str, &str)]) -> Result<Response<Body>> {
        let response = self.retry(|| self.once(method, url, headers, SendBody::none(), self.authorization()))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(challenge) = Challenge::of(&response) else { return Ok(response) };
        self.authenticate(&challenge)?;
        self.retry(|| self.once(method, url, headers, SendBody::none(), self.authorization()))
    }

    /// Tries again what fails for reasons that may pass: a broken connection, 429, 5xx.
    fn retry(&self, attempt: impl Fn() -> Result<Response<Body>>) -> Result<Response<Body>> {
        let mut number = 1;
        loop {
            let result = attempt();
            let asked = match &result {
                Ok(response) if busy(response.status()) => retry_after(response),
                Ok(_) => return result,
                // What does not listen, does not speak TLS or has no name will not change its mind.
                Err(error) if !error.to_string().contains("connection broke") => return result,
                Err(_) => None,
            };
            if number >= self.patience.attempts {
                return result;
            }
            thread::sleep(self.patience.pause_before(number, asked));
            number += 1;
        }
    }

    /// Fetches a manifest or an index, by tag or digest, and checks it against the digest if that is how it was named.
    pub fn manifest(&self, version: &str) -> Result<RawManifest> {
        let kinds = [MediaType::ImageManifest.as_ref(), MediaType::ImageIndex.as_ref(), DOCKER_MANIFEST, DOCKER_LIST];
        let accept = kinds.join(", ");
        let response = self.ask(&Method::GET, &self.url(&format!("manifests/{version}")), &[("Accept", &accept)])?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(ManifestUnknown.into()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Denied(refusal(response).to_string()).into());
            }
            _ => return Err(refusal(response)),
        }
        let said = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let said = said.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = read_at_most(response.into_body().into_reader(), MANIFEST_MAX, "the manifest")
            .map_err(|error| error.downcast_ref::<std::io::Error>().map(http::explain_io).unwrap_or(error))?;
        let digest = Digest::of(&bytes);
        if let Ok(promised) = version.parse::<Digest>() {
            ensure!(digest == promised, "the manifest came with digest {digest} instead of {promised}");
        }
        let text: Value =
            serde_json::from_slice(&bytes).map_err(|_| anyhow::anyhow!("the registry sent no manifest but garbage"))?;
        if text["schemaVersion"] == 1 {
            bail!("the image has Docker's old schema 1, which nobody reads any more; push it anew");
        }
        let kind = match text["mediaType"].as_str() {
            Some(kind) => kind.to_owned(),
            None if kinds.contains(&said.as_str()) => said,
            None if text["manifests"].is_array() => MediaType::ImageIndex.to_string(),
            None => MediaType::ImageManifest.to_string(),
        };
        ensure!(kinds.contains(&kind.as_str()), "the registry sent {:?}, which is no image", http::one_line(&kind));
        Ok(RawManifest { bytes, kind: MediaType::from(kind.as_str()), digest })
    }

    /// The tags of the repository, as many requests as it takes: a registry answers in pages.
    pub fn tags(&self) -> Result<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let after = all.last().map_or_else(String::new, |last| format!("&last={last}"));
            let response = self.ask(&Method::GET, &self.url(&format!("tags/list?n=1000{after}")), &[])?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(Denied(refusal(response).to_string()).into());
                }
                _ => return Err(refusal(response)),
            }
            let more = response.headers().contains_key("link");
            let bytes = read_at_most(response.into_body().into_reader(), MANIFEST_MAX, "the list of tags")?;
            let page: Value = serde_json::from_slice(&bytes).context("the registry's list of tags is not valid")?;
            let tags = page["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let known = all.len();
            all.extend(tags.map(str::to_owned));
            // A page with nothing new would be asked for for ever.
            if !more || all.len() == known || all.len() > TAGS_MAX {
                return Ok(all);
            }
        }
    }

    /// Whether the repository has a blob already.
    pub fn has_blob(&self, digest: Digest) -> Result<bool> {
        let response = self.ask(&Method::HEAD, &self.url(&format!("blobs/{digest}")), &[])?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(response)),
        }
    }
}

/// Checks a user's name and password with a registry, for `login`.
pub fn verify(host: &str, credentials: Credentials, access: &Access) -> Result<()> {
    let name = Reference { registry: host.into(), repository: "x".into(), tag: None, digest: None };
    let insecure = access.tls_verify.map(|verify| !verify);
    let endpoint = access.registries.endpoints(&name, insecure)?.pop().context("has an endpoint")?;
    // No repository: a token for no scope only proves who we are.
    let endpoint = Endpoint { repository: String::new(), ..endpoint };
    let access = Access { credentials: Some(credentials), ..access.clone() };
    let remote = Remote::connect(&endpoint, &name, &access, Purpose::Pull)?;
    let response =
        remote.once(&Method::GET, &format!("{}/v2/", remote.base), &[], SendBody::none(), remote.authorization())?;
    match response.status() {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED => bail!("invalid username/password"),
        _ => Err(refusal(response)),
    }
}

/// Says what may help where a registry refused.
pub(super) fn hint_login(error: anyhow::Error, name: &Reference) -> anyhow::Error {
    if error.is::<Denied>() {
        return error.context(format!("access to {} denied (`podling login {}`?)", name.name(), name.registry));
    }
    error
}

/// Whether it may go better in a moment.
fn busy(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// Errors that callers tell from others: with them, the next registry is tried.
#[derive(Debug)]
pub struct ManifestUnknown;

impl std::fmt::Display for ManifestUnknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("manifest unknown")
    }
}

impl std::error::Error for ManifestUnknown {}

/// The registry will not give it to us; with other credentials it might.
#[derive(Debug)]
pub struct Denied(String);

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Denied {}

/// It speaks HTTP, but it is no registry.
#[derive(Debug)]
struct NoRegistry(String);

impl std::fmt::Display for NoRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoRegistry {}

#[cfg(test)]
mod tests;
