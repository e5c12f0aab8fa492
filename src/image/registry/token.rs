//! The token dance: how a registry that does not take passwords sends us to the one who does.
//!
//! A first request is answered 401 with `WWW-Authenticate: Bearer realm="https://auth…",service="…"`. We ask the realm
//! for a token, with our password if we have one and the scope we need (`repository:NAME:pull`), and show the token to
//! the registry until it expires, when the dance begins anew. `Basic` is simpler: the password itself, every time.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::Agent;
use ureq::http::{Response, StatusCode};

use super::http::{explain, refusal};
use crate::image::auth::Credentials;
use crate::image::digest::read_at_most;

/// What a registry answers to who does not say who he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    Basic,
}

impl Challenge {
    /// From the headers of a 401; Bearer is preferred.
    pub(super) fn of<T>(response: &Response<T>) -> Option<Self> {
        let headers = response.headers().get_all("www-authenticate");
        let mut found: Vec<Self> = headers.iter().filter_map(|value| Self::parse(value.to_str().ok()?)).collect();
        found.sort_by_key(|challenge| *challenge == Self::Basic);
        found.into_iter().next()
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        let mut rest = rest.trim_start();
        while let Some((key, value)) = rest.split_once('=') {
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => value.split_once(',').unwrap_or((value, "")),
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                "scope" => scope = Some(value.to_owned()),
                _ => {}
            }
            rest = after.trim_start_matches([',', ' ']);
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }
}

/// The value of an `Authorization` header that answers a challenge; `None` if we have nothing to say.
pub(super) fn answer(
    agent: &Agent,
    base: &str,
    challenge: &Challenge,
    credentials: Option<&Credentials>,
    scopes: &[String],
) -> Result<Option<String>> {
    match (challenge, credentials) {
        (Challenge::Basic, Some(Credentials::Password { user, password })) => Ok(Some(basic(user, password))),
        (Challenge::Basic, _) => Ok(None),
        (Challenge::Bearer { realm, service, scope: wanted }, _) => {
            // Somebody between us and a registry with TLS must not be able to ask for the password in the open.
            let downgrade = base.starts_with("https:") && !realm.starts_with("https:");
            ensure!(
                !downgrade || credentials.is_none(),
                "the registry asks for the password over plain HTTP ({realm})"
            );
            let scopes = if scopes.is_empty() { wanted.as_slice() } else { scopes };
            let token = fetch(agent, realm, service.as_deref(), scopes, credentials);
            token.map(|token| Some(format!("Bearer {token}")))
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

fn fetch(
    agent: &Agent,
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
    credentials: Option<&Credentials>,
) -> Result<String> {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    fields.extend(service.map(|service| ("service", service)));
    // OAuth's form has one field for all scopes, the older query one for each.
    let together = scopes.join(" ");
    let apart = scopes.iter().map(|scope| ("scope", scope.as_str()));
    let response = match credentials {
        Some(Credentials::Identity(token)) => {
            fields.push(("scope", &together));
            fields.extend([("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "podling")]);
            agent.post(realm).send_form(fields)
        }
        Some(Credentials::Password { user, password }) => {
            fields.extend(apart.chain([("account", user.as_str())]));
            agent.get(realm).query_pairs(fields).header("Authorization", basic(user, password)).call()
        }
        None => agent.get(realm).query_pairs(fields.into_iter().chain(apart)).call(),
    };
    let response = response.map_err(explain).with_context(|| format!("asking {realm} for a token"))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED if credentials.is_some() => bail!("invalid username/password"),
        _ => return Err(refusal(response)).with_context(|| format!("asking {realm} for a token")),
    }
    let body = read_at_most(response.into_body().into_reader(), 1 << 20, "the token")?;
    let answer: serde_json::Value = serde_json::from_slice(&body).context("the token is not JSON")?;
    let token = answer["token"].as_str().or(answer["access_token"].as_str()).filter(|token| !token.is_empty());
    let token = token.context("the answer holds no token")?;
    ensure!(token.bytes().all(|b| b.is_ascii_graphic()), "the token is garbage");
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
            scope: Some("a:b:pull,push".into()),
        };
        assert_eq!(Challenge::parse(text), Some(expected));
        let bare = Challenge::Bearer { realm: "http://x".into(), service: None, scope: None };
        assert_eq!(Challenge::parse("bearer realm=http://x"), Some(bare));
        assert_eq!(Challenge::parse("Basic realm=\"Registry\""), Some(Challenge::Basic));
        for bad in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"unterminated"] {
            assert_eq!(Challenge::parse(bad), None, "{bad}");
        }
    }
}
