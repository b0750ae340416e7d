//! Signing in to Swift: Keystone v3, or the older v1.
//!
//! ```text
//! v3   OS_AUTH_URL with OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET, or OS_USERNAME, OS_PASSWORD,
//!      OS_PROJECT_NAME (and OS_USER_DOMAIN_NAME, OS_PROJECT_DOMAIN_NAME, else `Default`); OS_REGION_NAME chooses
//! v1   ST_AUTH, ST_USER, ST_KEY
//! ```

use ::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};

use super::http::{Http, Request};
use crate::meter::Meter;
use crate::transport::{Fault, FaultKind};

/// What Swift gave us.
pub(super) struct Signed {
    /// Where the account's containers are, without a slash at the end.
    pub(super) storage_url: String,
    /// What every request carries.
    pub(super) token: String,
}

/// How to sign in. Not to be printed.
pub(super) enum SignIn {
    V1 { url: String, user: String, key: String },
    V3 { url: String, body: Value, region: Option<String> },
}

impl SignIn {
    /// Reads the variables.
    pub(super) fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let missing = |name: &str| {
            Fault::new(FaultKind::Denied, format!("no credentials for Swift: `{name}` is not set"))
        };
        let need = |name: &str| variable(name).ok_or_else(|| missing(name));
        if let Some(url) = variable("OS_AUTH_URL") {
            let url = format!("{}/auth/tokens", url.trim_end_matches('/'));
            let region = variable("OS_REGION_NAME");
            return Ok(Self::V3 { url, body: v3_body(variable, &need)?, region });
        }
        let url = variable("ST_AUTH").ok_or_else(|| missing("OS_AUTH_URL` or `ST_AUTH"))?;
        Ok(Self::V1 { url, user: need("ST_USER")?, key: need("ST_KEY")? })
    }

    /// Asks for a token.
    pub(super) async fn sign_in(&self, http: &Http) -> Result<Signed, Fault> {
        match self {
            Self::V1 { url, user, key } => {
                let headers = vec![("x-auth-user", user.clone()), ("x-auth-key", key.clone())];
                let (method, body) = (Method::GET, Bytes::new());
                let request = Request { method, url: url.clone(), headers, body };
                let answer = http.send(request, Meter::unread()).await?.checked()?;
                let text = |name| answer.header(name).map(str::to_owned);
                signed(text("x-storage-url"), text("x-auth-token"))
            }
            Self::V3 { url, body, region } => {
                let headers = vec![("content-type", "application/json".to_owned())];
                let (method, body) = (Method::POST, Bytes::from(body.to_string()));
                let request = Request { method, url: url.clone(), headers, body };
                let answer = http.send(request, Meter::unread()).await?.checked()?;
                let catalog: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let url = endpoint(&catalog, region.as_deref());
                signed(url, answer.header("x-subject-token").map(str::to_owned))
            }
        }
    }
}

fn signed(url: Option<String>, token: Option<String>) -> Result<Signed, Fault> {
    let missing =
        || Fault::new(FaultKind::Denied, "signing in to Swift gave no token or no place to store");
    let storage_url = url.ok_or_else(missing)?.trim_end_matches('/').to_owned();
    Ok(Signed { storage_url, token: token.ok_or_else(missing)? })
}

fn v3_body(
    variable: &dyn Fn(&str) -> Option<String>,
    need: &dyn Fn(&str) -> Result<String, Fault>,
) -> Result<Value, Fault> {
    if let Some(id) = variable("OS_APPLICATION_CREDENTIAL_ID") {
        let secret = need("OS_APPLICATION_CREDENTIAL_SECRET")?;
        let credential = json!({"id": id, "secret": secret});
        let identity =
            json!({"methods": ["application_credential"], "application_credential": credential});
        return Ok(json!({"auth": {"identity": identity}}));
    }
    let domain = |name| json!({"name": variable(name).unwrap_or_else(|| "Default".to_owned())});
    let user = json!({
        "name": need("OS_USERNAME")?,
        "password": need("OS_PASSWORD")?,
        "domain": domain("OS_USER_DOMAIN_NAME"),
    });
    let project = json!({
        "name": need("OS_PROJECT_NAME")?,
        "domain": domain("OS_PROJECT_DOMAIN_NAME"),
    });
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    Ok(json!({"auth": {"identity": identity, "scope": {"project": project}}}))
}

/// The public place of the object store in a catalogue.
fn endpoint(answer: &Value, region: Option<&str>) -> Option<String> {
    let services = answer.get("token")?.get("catalog")?.as_array()?;
    let is = |value: &Value, name: &str, wanted: &str| {
        value.get(name).and_then(Value::as_str) == Some(wanted)
    };
    let service = services.iter().find(|service| is(service, "type", "object-store"))?;
    let fits = |place: &&Value| {
        is(place, "interface", "public") && region.is_none_or(|region| is(place, "region", region))
    };
    let place = service.get("endpoints")?.as_array()?.iter().find(fits)?;
    Some(place.get("url")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<SignIn, Fault> {
        SignIn::from_variables(&|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_say_how_to_sign_in() {
        assert!(matches!(
            read(&[("ST_AUTH", "http://h/auth"), ("ST_USER", "u"), ("ST_KEY", "k")]),
            Ok(SignIn::V1 { url, .. }) if url == "http://h/auth"
        ));
        let set = [
            ("OS_AUTH_URL", "https://h/v3/"),
            ("OS_USERNAME", "alice"),
            ("OS_PASSWORD", "secret"),
            ("OS_PROJECT_NAME", "team"),
        ];
        let Ok(SignIn::V3 { url, body, .. }) = read(&set) else { panic!("not v3") };
        assert_eq!(url, "https://h/v3/auth/tokens");
        assert_eq!(body["auth"]["scope"]["project"]["domain"]["name"], "Default");
        assert_eq!(body["auth"]["identity"]["password"]["user"]["name"], "alice");
        assert_eq!(
            read(&set[..3]).err().unwrap().text,
            "no credentials for Swift: `OS_PROJECT_NAME` is not set"
        );
        assert_eq!(read(&[]).err().unwrap().kind, FaultKind::Denied);
    }

    #[test]
    fn the_catalogue_names_the_public_place_of_the_region() {
        let place = |region: &str, interface: &str, url: &str| json!({"region": region, "interface": interface, "url": url});
        let places = json!([
            place("one", "internal", "http://in"),
            place("one", "public", "http://one"),
            place("two", "public", "http://two"),
        ]);
        let services = json!([{"type": "identity"}, {"type": "object-store", "endpoints": places}]);
        let answer = json!({"token": {"catalog": services}});
        assert_eq!(endpoint(&answer, None).as_deref(), Some("http://one"));
        assert_eq!(endpoint(&answer, Some("two")).as_deref(), Some("http://two"));
        assert_eq!(endpoint(&answer, Some("three")), None);
    }
}
