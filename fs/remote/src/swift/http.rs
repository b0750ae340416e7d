//! The little HTTP that Swift needs: one request, one answer in memory.

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

use crate::meter::{Meter, Metered};
use crate::transport::{ANSWER_LEN_MAX, Fault, FaultKind};

/// LIMIT: a connection that is not there by then will not come.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A client with kept connections; TLS by rustls with the certificates of this machine (or of `SSL_CERT_FILE`).
pub(super) struct Http(Client<HttpsConnector<HttpConnector>, Metered<Full<Bytes>>>);

/// What is asked.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer, unless it is a refusal.
    pub(super) fn checked(self) -> Result<Self, Fault> {
        if self.status.is_success() {
            return Ok(self);
        }
        let mut fault = Fault::of_status(self.status.as_u16(), None);
        let seconds = self.header("retry-after").and_then(|text| text.parse().ok());
        fault.wait = seconds.map(Duration::from_secs);
        Err(fault)
    }
}

impl Http {
    /// Reads the machine's certificates.
    pub(super) fn new() -> Result<Self, Fault> {
        let missing = |_| Fault::new(FaultKind::Unsupported, "this machine has no certificates");
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_LIMIT));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(missing)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends, and takes the whole answer; both count as they move.
    pub(super) async fn send(&self, request: Request, meter: Meter) -> Result<Answer, Fault> {
        let wrong = || Fault::new(FaultKind::Invalid, "the request could not be made");
        let uri: Uri = request.url.parse().map_err(|_| wrong())?;
        let mut built = http::Request::builder().method(request.method).uri(uri);
        for (name, value) in request.headers {
            built = built.header(name, value);
        }
        // Said even when it is nothing: else an empty body has no length at all, and is refused.
        built = built.header(http::header::CONTENT_LENGTH, request.body.len());
        let built = built
            .body(Metered::new(Full::new(request.body), meter.clone()))
            .map_err(|_| wrong())?;
        let no_connection = |_| Fault::new(FaultKind::Broken, "no connection");
        let answer = self.0.request(built).await.map_err(no_connection)?;
        let (head, body) = answer.into_parts();
        let limit = usize::try_from(ANSWER_LEN_MAX).unwrap_or(usize::MAX);
        let body = Limited::new(Metered::new(body, meter), limit).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => Fault::too_long(),
            false => Fault::new(FaultKind::Broken, "the answer was cut off"),
        })?;
        let body = body.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// Escapes all but letters, digits, `-._~` and slashes.
pub(super) fn escape(path: &str) -> String {
    path.split('/').map(escape_all).collect::<Vec<_>>().join("/")
}

/// Escapes slashes as well.
pub(super) fn escape_all(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_letter_is_escaped() {
        assert_eq!(escape("a b/ü?c"), "a%20b/%C3%BC%3Fc");
        assert_eq!(escape_all("a/b"), "a%2Fb");
    }
}
