//! Sending: blobs first, each only if the registry lacks it, then the manifest that names them.

use std::fs::File;
use std::io::{self, Read, Seek};

use anyhow::{Context, Result, ensure};
use oci_spec::image::{Descriptor, MediaType};
use ureq::SendBody;
use ureq::http::{Method, Response, StatusCode};

use super::http::refusal;
use super::token::Challenge;
use super::{Remote, busy, retry_after};
use crate::image::digest::Digest;
use crate::image::progress::{Event, Progress, What};

impl Remote {
    /// Sends a blob, unless the repository has it. `elsewhere` is a repository on the same registry that may have it.
    pub fn send(
        &self,
        blob: &Descriptor,
        what: What,
        file: &mut File,
        elsewhere: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let digest = Digest::try_from(blob.digest())?;
        if self.has_blob(digest)? {
            progress.event(Event::Exists { blob: digest, what });
            return Ok(());
        }
        progress.event(Event::Started { blob: digest, size: blob.size(), what });
        let mut number = 1;
        loop {
            let Some(upload) = self.begin_upload(digest, elsewhere)? else { break };
            let separator = if upload.contains('?') { '&' } else { '?' };
            let url = format!("{upload}{separator}digest={digest}");
            file.rewind()?;
            let result = self.send_body(&url, blob, file, progress);
            let asked = match &result {
                Ok(response) if response.status() == StatusCode::CREATED => break,
                Ok(response) if busy(response.status()) => retry_after(response),
                // The token expired during the upload, perhaps.
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    if let Some(challenge) = Challenge::of(response) {
                        self.authenticate(&challenge)?;
                    }
                    None
                }
                Ok(_) => return Err(refusal(result?)),
                Err(_) => None,
            };
            if number >= self.patience.attempts {
                return Err(result.map_or_else(|error| error, refusal));
            }
            progress.event(Event::Retrying { blob: digest, why: "the upload broke off" });
            std::thread::sleep(self.patience.pause_before(number, asked));
            number += 1;
        }
        progress.event(Event::Done { blob: digest, what });
        Ok(())
    }

    /// Asks where to send a blob; `None` if the registry could take it from another of its repositories.
    fn begin_upload(&self, digest: Digest, elsewhere: Option<&str>) -> Result<Option<String>> {
        let uploads = self.url("blobs/uploads/");
        let begin = |address: &str| self.ask(&Method::POST, address, &[("Content-Length", "0")]);
        let mut response = match elsewhere {
            Some(from) => begin(&format!("{uploads}?mount={digest}&from={from}"))?,
            None => begin(&uploads)?,
        };
        if elsewhere.is_some() {
            match response.status() {
                StatusCode::CREATED => return Ok(None),
                StatusCode::ACCEPTED => {}
                // We may not read there, or it is not there any more. To send it is always possible.
                _ => response = begin(&uploads)?,
            }
        }
        if response.status() != StatusCode::ACCEPTED {
            return Err(refusal(response));
        }
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let location = location.context("the registry does not say where to send a blob")?;
        // Some give a path only. An address on another host gets our blob, as the registry wishes, but no credentials.
        Ok(Some(if location.starts_with('/') { format!("{}{location}", self.base) } else { location.to_owned() }))
    }

    fn send_body(
        &self,
        url: &str,
        blob: &Descriptor,
        file: &mut File,
        progress: &dyn Progress,
    ) -> Result<Response<ureq::Body>> {
        let digest = Digest::try_from(blob.digest())?;
        let length = blob.size().to_string();
        let mut body = Watched { file: file.take(blob.size()), digest, done: 0, progress };
        let headers = [("Content-Type", "application/octet-stream"), ("Content-Length", length.as_str())];
        let same_host = url.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'));
        let authorization = if same_host { self.authorization() } else { None };
        self.once(&Method::PUT, url, &headers, SendBody::from_reader(&mut body), authorization)
    }

    /// Stores a manifest under a tag or its digest.
    pub fn put_manifest(&self, version: &str, bytes: &[u8], kind: &MediaType) -> Result<()> {
        let url = self.url(&format!("manifests/{version}"));
        let length = bytes.len().to_string();
        let headers = [("Content-Type", kind.as_ref()), ("Content-Length", length.as_str())];
        let response = self.retry(|| {
            let mut bytes = bytes;
            self.once(&Method::PUT, &url, &headers, SendBody::from_reader(&mut bytes), self.authorization())
        })?;
        if !matches!(response.status(), StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED) {
            return Err(refusal(response));
        }
        if let Some(said) = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok()) {
            let ours = Digest::of(bytes).to_string();
            ensure!(said == ours, "the registry stored the manifest as {said} instead of {ours}");
        }
        Ok(())
    }
}

/// A file whose reading somebody watches.
struct Watched<'a> {
    file: io::Take<&'a mut File>,
    digest: Digest,
    done: u64,
    progress: &'a dyn Progress,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done += read as u64;
        if read > 0 {
            self.progress.event(Event::Bytes { blob: self.digest, done: self.done });
        }
        Ok(read)
    }
}
