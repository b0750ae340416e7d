//! OpenStack Swift by its own interface.
//!
//! Where to sign in comes from the variables that its tools use: see [`auth`]. A token that ran out is replaced and the
//! request asked once more. Swift keeps `If-None-Match: *` among requests one after the other, not in a race: one
//! device may write ([`crate::probe`]).

mod auth;
mod http;

use std::ops::Range;
use std::sync::Arc;

use ::http::{Method, StatusCode};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::address::SwiftAddress;
use crate::meter::Meter;
use crate::transport::{Condition, Entry, Fault, FaultKind, Got, Page, Tag, Transport, Trip};
use auth::{SignIn, Signed};
use http::{Answer, Http, Request};

/// A prefix of a container.
pub(crate) struct Swift {
    http: Http,
    sign_in: SignIn,
    /// None before the first request.
    signed: Mutex<Option<Arc<Signed>>>,
    container: String,
    /// Empty, or ends with `/`.
    prefix: String,
}

impl Swift {
    /// Finds out how to sign in. No request to the server yet.
    ///
    /// # Errors
    /// `Denied` when nothing says how.
    pub(crate) fn new(address: &SwiftAddress) -> Result<Self, Fault> {
        let http = Http::new()?;
        let sign_in = SignIn::from_variables(&|name| std::env::var(name).ok())?;
        let signed = Mutex::default();
        let prefix = match address.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let container = address.container.clone();
        Ok(Self { http, sign_in, signed, container, prefix })
    }

    /// Signs in and looks for the container.
    ///
    /// # Errors
    /// `Denied` when that is refused; `Invalid` when there is no such container.
    pub(crate) async fn require_container(&self) -> Result<(), Fault> {
        match self.ask(Method::HEAD, "", &[], Bytes::new(), Meter::unread()).await {
            Err(fault) if fault.kind == FaultKind::NotFound => {
                Err(Fault::new(FaultKind::Invalid, "there is no such container"))
            }
            result => result.map(drop),
        }
    }

    fn object(&self, path: &str) -> String {
        format!("/{}", http::escape(&format!("{}{path}", self.prefix)))
    }

    /// One request below the container; with a new token once more if the old one is refused.
    async fn ask(
        &self,
        method: Method,
        below: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
        meter: Meter,
    ) -> Result<Answer, Fault> {
        let signed = self.signed.lock().clone();
        if let Some(signed) = signed {
            let answer =
                self.send(&signed, &method, below, headers, body.clone(), meter.clone()).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return answer.checked();
            }
        }
        let signed = Arc::new(self.sign_in.sign_in(&self.http).await?);
        *self.signed.lock() = Some(signed.clone());
        self.send(&signed, &method, below, headers, body, meter).await?.checked()
    }

    /// One request about an object without a body either way.
    async fn ask_briefly(&self, method: Method, path: &str) -> Result<Answer, Fault> {
        self.ask(method, &self.object(path), &[], Bytes::new(), Meter::unread()).await
    }

    async fn send(
        &self,
        signed: &Signed,
        method: &Method,
        below: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
        meter: Meter,
    ) -> Result<Answer, Fault> {
        let url = format!("{}/{}{below}", signed.storage_url, http::escape(&self.container));
        let mut headers = headers.to_vec();
        headers.push(("x-auth-token", signed.token.clone()));
        self.http.send(Request { method: method.clone(), url, headers, body }, meter).await
    }
}

impl Transport for Swift {
    fn get<'a>(&'a self, path: &'a str, range: Option<Range<u64>>, meter: Meter) -> Trip<'a, Got> {
        Box::pin(async move {
            let headers = match &range {
                Some(range) => vec![("range", format!("bytes={}-{}", range.start, range.end - 1))],
                None => Vec::new(),
            };
            let path = self.object(path);
            let answer = self.ask(Method::GET, &path, &headers, Bytes::new(), meter).await;
            let bytes = match (answer, range) {
                // The range begins behind the end: there is nothing of it.
                (Err(fault), Some(_)) if fault.status == Some(416) => Bytes::new(),
                (Ok(answer), Some(range)) if answer.status != StatusCode::PARTIAL_CONTENT => {
                    crate::transport::slice(&answer.body, &range)
                }
                (answer, _) => answer?.body,
            };
            // It has tags, and takes puts whatever tag they name.
            Ok(Got { bytes, tag: None })
        })
    }

    fn put<'a>(
        &'a self,
        path: &'a str,
        bytes: Bytes,
        condition: Condition,
        meter: Meter,
    ) -> Trip<'a, Option<Tag>> {
        Box::pin(async move {
            let headers = match condition {
                Condition::Absent => vec![("if-none-match", "*".to_owned())],
                Condition::Replace | Condition::Over(_) => Vec::new(),
            };
            self.ask(Method::PUT, &self.object(path), &headers, bytes, meter).await.map(|_| None)
        })
    }

    fn len<'a>(&'a self, path: &'a str) -> Trip<'a, u64> {
        Box::pin(async move {
            let answer = self.ask_briefly(Method::HEAD, path).await?;
            let len = answer.header("content-length").and_then(|text| text.parse().ok());
            len.ok_or_else(|| Fault::new(FaultKind::Broken, "the server told no length"))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        count_max: usize,
        meter: Meter,
    ) -> Trip<'a, Page> {
        Box::pin(async move {
            let whole = |path: &str| http::escape_all(&format!("{}{path}", self.prefix));
            let marker = after.map(|path| format!("&marker={}", whole(path))).unwrap_or_default();
            let query = format!("?format=json&limit={count_max}&prefix={}{marker}", whole(prefix));
            let answer = self.ask(Method::GET, &query, &[], Bytes::new(), meter).await?;
            let entries = parse_listing(&answer.body, &self.prefix)
                .ok_or_else(|| Fault::new(FaultKind::Broken, "the listing makes no sense"))?;
            let has_more = entries.len() >= count_max;
            Ok(Page { entries, has_more })
        })
    }

    fn delete<'a>(&'a self, path: &'a str) -> Trip<'a, ()> {
        Box::pin(async move {
            match self.ask_briefly(Method::DELETE, path).await {
                Err(fault) if fault.kind == FaultKind::NotFound => Ok(()),
                result => result.map(drop),
            }
        })
    }
}

/// `[{"name": …, "bytes": …}, …]`
fn parse_listing(body: &[u8], prefix: &str) -> Option<Vec<Entry>> {
    // An empty container may answer with nothing at all.
    if body.is_empty() {
        return Some(Vec::new());
    }
    let lines: serde_json::Value = serde_json::from_slice(body).ok()?;
    let entry = |line: &serde_json::Value| {
        let path = line.get("name")?.as_str()?.strip_prefix(prefix)?.to_owned();
        Some(Entry { path, len: line.get("bytes")?.as_u64()? })
    };
    Some(lines.as_array()?.iter().filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_parsed_below_its_prefix() {
        let body = br#"[{"name":"p/log/01","bytes":7,"hash":"x"},{"name":"other","bytes":1}]"#;
        let entries = parse_listing(body, "p/").unwrap();
        assert_eq!(entries, [Entry { path: "log/01".to_owned(), len: 7 }]);
        assert_eq!(parse_listing(b"", "p/"), Some(Vec::new()));
        assert_eq!(parse_listing(b"<html>", "p/"), None);
    }
}
