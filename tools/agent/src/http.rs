//! HTTP/1.1 as far as a local API needs it: requests with a length, answers with a length or in chunks, connections that stay.
//!
//! Refused rather than guessed: chunked bodies, more than one length, anything longer than its limit.

use std::io::{self, Read, Write};

use serde_json::{Value, json};
use strongroom_crypto::hash::sha256;
use strongroom_crypto::wipe::{Wiped, wipe};

/// LIMIT: bytes of a request's head.
const HEAD_LEN_MAX: usize = 16 << 10;
/// LIMIT: header lines.
const HEADER_COUNT_MAX: usize = 64;
/// LIMIT: bytes of a body that are read past when its request is refused; with more the connection ends.
const SKIP_LEN_MAX: usize = 64 << 10;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path without the query, still with its percent signs.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    /// The token it came with.
    pub token: Option<String>,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Whether the connection stays.
    pub keeps: bool,
    /// Whether its answer may come in chunks.
    pub takes_chunks: bool,
    /// Whether it waits to be told to send its body.
    pub waits: bool,
    /// Length of its body, which is read apart.
    pub body_len: usize,
}

impl Request {
    /// SHA-256 of all that it asks for.
    pub fn hash(&self, body: &[u8]) -> [u8; 32] {
        let (path, query) = (self.path.as_bytes(), self.query.as_bytes());
        sha256(&[path, &[0], query, &[0], body].concat())
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Type of the body.
    pub kind: &'static str,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Something in JSON.
    pub fn json(status: u16, value: &Value) -> Self {
        Self { status, kind: "application/json", body: format!("{value}\n").into_bytes() }
    }

    /// Bytes as they are.
    pub fn bytes(kind: &'static str, body: Vec<u8>) -> Self {
        Self { status: 200, kind, body }
    }

    /// A refusal.
    pub fn refused(status: u16, kind: &str, message: &str) -> Self {
        Self::json(status, &json!({"error": {"kind": kind, "message": message}}))
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn write(&self, to: &mut dyn Write, keeps: bool) -> io::Result<()> {
        let len = format!("Content-Length: {}", self.body.len());
        write_head(to, (self.status, self.kind), &len, keeps)?;
        to.write_all(&self.body)?;
        to.flush()
    }
}

fn write_head(
    to: &mut dyn Write,
    (status, kind): (u16, &str),
    len: &str,
    keeps: bool,
) -> io::Result<()> {
    let reason = reason(status);
    let connection = if keeps { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n{len}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: {connection}\r\n\r\n",
    );
    to.write_all(head.as_bytes())
}

/// Begins an answer whose length nobody knows yet. It goes on with [`chunk`] and ends with [`end_chunks`].
///
/// # Errors
/// Those of the connection.
pub fn begin_chunks(to: &mut dyn Write, kind: &str, keeps: bool) -> io::Result<()> {
    write_head(to, (200, kind), "Transfer-Encoding: chunked", keeps)
}

/// Some bytes of it.
///
/// # Errors
/// Those of the connection.
pub fn chunk(to: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    // One without bytes would be the last.
    if !bytes.is_empty() {
        to.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        to.write_all(bytes)?;
        to.write_all(b"\r\n")?;
    }
    to.flush()
}

/// Its end.
///
/// # Errors
/// Those of the connection.
pub fn end_chunks(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(b"0\r\n\r\n")?;
    to.flush()
}

/// What reading a request ends with.
#[derive(Debug)]
pub enum Read1 {
    /// A request.
    Request(Box<Request>),
    /// The other side is done.
    End,
    /// A request that is refused; the connection ends after the answer.
    Refused(Answer),
}

/// Reads the head of the next request of a connection. `left` has what was read beyond what came before.
///
/// # Errors
/// Those of the connection.
pub fn read<S: Read + Write>(stream: &mut S, left: &mut Vec<u8>) -> io::Result<Read1> {
    loop {
        match head(left) {
            Ok(Some((request, head_len))) => {
                left.drain(..head_len);
                return Ok(Read1::Request(Box::new(request)));
            }
            Ok(None) if left.len() >= HEAD_LEN_MAX => {
                return Ok(Read1::Refused(Answer::refused(431, "invalid", "the head is too long")));
            }
            Ok(None) => {}
            Err(answer) => return Ok(Read1::Refused(answer)),
        }
        if !more(stream, left)? {
            return Ok(Read1::End);
        }
    }
}

/// Reads the body of a request, whose length somebody has looked at before.
///
/// # Errors
/// Those of the connection; `UnexpectedEof` where it ends before the body does.
pub fn read_body<S: Read + Write>(
    stream: &mut S,
    left: &mut Vec<u8>,
    request: &Request,
) -> io::Result<Wiped> {
    if request.waits && left.len() < request.body_len {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Wiped::zeroed(request.body_len);
    let (begun, rest) = body.split_at_mut(request.body_len.min(left.len()));
    begun.copy_from_slice(&left[..begun.len()]);
    // What the next request brings stays.
    wipe(&mut left[..begun.len()]);
    left.drain(..begun.len());
    stream.read_exact(rest)?;
    Ok(body)
}

/// Reads past the body of a request that is refused. False where the connection had better end.
///
/// # Errors
/// As [`read_body`].
pub fn skip_body<S: Read + Write>(
    stream: &mut S,
    left: &mut Vec<u8>,
    request: &Request,
) -> io::Result<bool> {
    if request.waits || request.body_len > SKIP_LEN_MAX {
        return Ok(false);
    }
    read_body(stream, left, request).map(|_| true)
}

fn more(stream: &mut impl Read, left: &mut Vec<u8>) -> io::Result<bool> {
    let mut some = [0; 16 << 10];
    let len = stream.read(&mut some)?;
    left.extend_from_slice(&some[..len]);
    Ok(len > 0)
}

/// A request without its body, and the length of its head.
fn head(bytes: &[u8]) -> Result<Option<(Request, usize)>, Answer> {
    let bad = |message| Answer::refused(400, "invalid", message);
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_len = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(bad("not a request of HTTP/1.1")),
    };
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        keeps: parsed.version == Some(1),
        takes_chunks: parsed.version == Some(1),
        ..Request::default()
    };
    let mut body_len = None;
    for header in parsed.headers.iter() {
        let text = || std::str::from_utf8(header.value).map(str::trim);
        let text = text().map_err(|_| bad("a header is no text"))?;
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let len: usize = text.parse().map_err(|_| bad("the length is no number"))?;
                if body_len.replace(len).is_some_and(|other| other != len) {
                    return Err(bad("two lengths"));
                }
            }
            "transfer-encoding" => {
                return Err(Answer::refused(411, "invalid", "send the body with its length"));
            }
            "connection" => request.keeps &= !text.eq_ignore_ascii_case("close"),
            "expect" => request.waits = text.eq_ignore_ascii_case("100-continue"),
            "authorization" => {
                request.token = text.strip_prefix("Bearer ").map(|token| token.trim().to_owned());
            }
            "idempotency-key" => request.key = Some(text.to_owned()),
            _ => {}
        }
    }
    request.body_len = body_len.unwrap_or(0);
    Ok(Some((request, head_len)))
}

/// The parts of a path, percent signs taken out; none if they spell no text.
pub fn parts(path: &str) -> Option<Vec<String>> {
    path.split('/').filter(|part| !part.is_empty()).map(decoded).collect()
}

/// A value of the query.
pub fn query(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(own, _)| *own == name).and_then(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        423 => "Locked",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that has these bytes to say, a few at a time.
    struct Wire {
        said: io::Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Wire {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = out.len().min(7);
            self.said.read(&mut out[..len])
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wire(text: &str) -> Wire {
        Wire { said: io::Cursor::new(text.as_bytes().to_vec()), heard: Vec::new() }
    }

    #[test]
    fn requests_on_one_connection_are_read_one_after_the_other() {
        let mut wire = wire(
            "PUT /v1/a%20b?x=1%2F2 HTTP/1.1\r\nAuthorization: Bearer abc\r\nIdempotency-Key: k\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n\r\nhelloGET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        let mut left = Vec::new();
        let Read1::Request(first) = read(&mut wire, &mut left).unwrap() else { panic!() };
        assert!(wire.heard.is_empty(), "whoever may send a body is told so");
        let body = read_body(&mut wire, &mut left, &first).unwrap();
        assert_eq!((first.method.as_str(), &*body), ("PUT", &b"hello"[..]));
        assert_eq!(parts(&first.path).unwrap(), ["v1", "a b"]);
        assert_eq!(query(&first.query, "x").as_deref(), Some("1/2"));
        assert_eq!((first.token.as_deref(), first.key.as_deref()), (Some("abc"), Some("k")));
        assert!(first.keeps);
        assert_eq!(wire.heard, b"HTTP/1.1 100 Continue\r\n\r\n");
        let Read1::Request(second) = read(&mut wire, &mut left).unwrap() else { panic!() };
        assert_eq!((second.method.as_str(), second.keeps), ("GET", false));
        assert!(matches!(read(&mut wire, &mut left).unwrap(), Read1::End));
    }

    #[test]
    fn a_short_body_of_a_refused_request_is_read_past() {
        let mut wire =
            wire("PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n");
        let mut left = Vec::new();
        let Read1::Request(first) = read(&mut wire, &mut left).unwrap() else { panic!() };
        assert!(skip_body(&mut wire, &mut left, &first).unwrap());
        let Read1::Request(mut second) = read(&mut wire, &mut left).unwrap() else { panic!() };
        assert_eq!(second.method, "GET");
        second.body_len = SKIP_LEN_MAX + 1;
        assert!(!skip_body(&mut wire, &mut left, &second).unwrap());
        second.body_len = 1;
        let ended = read_body(&mut wire, &mut left, &second).err().unwrap();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_LEN_MAX));
        for (text, status) in [
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
            ("PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
            ("PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            ("hello\r\n\r\n", 400),
            (&long, 431),
        ] {
            let Read1::Refused(answer) = read(&mut wire(text), &mut Vec::new()).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(answer.status, status, "{text}");
        }
    }
}
