//! One request over HTTP/1.1 to a place on this machine, with a deadline for all of it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use strongroom_host::clock::Clock;

/// LIMIT: bytes of an answer.
const ANSWER_LEN_MAX: usize = 64 << 10;
const HEADER_COUNT_MAX: usize = 64;
const PATH: &str = "/access/v1/evaluation";

/// Where a decision point listens: `http://127.0.0.1:PORT`, `http://[::1]:PORT` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    text: String,
    address: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// Reads one; none for anything that is not on this machine.
    pub fn parse(text: &str) -> Option<Self> {
        let address = match text.strip_prefix("unix:") {
            Some(path) => {
                Address::Unix(Some(PathBuf::from(path)).filter(|path| path.is_absolute())?)
            }
            None => {
                let address = text.strip_prefix("http://")?.trim_end_matches('/');
                let address: SocketAddr = address.parse().ok()?;
                let is_here = match address.ip() {
                    IpAddr::V4(ip) => ip.is_loopback(),
                    IpAddr::V6(ip) => ip.is_loopback(),
                };
                Address::Tcp(Some(address).filter(|_| is_here)?)
            }
        };
        Some(Self { text: text.to_owned(), address })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A connection, its deadline set anew before every call.
trait Line: Read + Write {
    fn limit(&self, time: Duration) -> std::io::Result<()>;
}

impl Line for TcpStream {
    fn limit(&self, time: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl Line for UnixStream {
    fn limit(&self, time: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

/// Posts a question; the body of an answer with status 200, none for anything else or too late.
pub(crate) fn post(
    place: &Place,
    body: &str,
    deadline: Duration,
    clock: &dyn Clock,
) -> Option<Vec<u8>> {
    let end = clock.elapsed() + deadline;
    let left = || Some(end.saturating_sub(clock.elapsed())).filter(|left| !left.is_zero());
    let mut line: Box<dyn Line> = match &place.address {
        Address::Tcp(address) => Box::new(TcpStream::connect_timeout(address, left()?).ok()?),
        Address::Unix(path) => Box::new(connect(path, left()?).ok()?),
    };
    let host = match &place.address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    line.limit(left()?).ok()?;
    line.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
    let mut answer = Vec::new();
    let mut some = [0; 4096];
    loop {
        if let Some(whole) = whole(&answer) {
            return whole.ok();
        }
        line.limit(left()?).ok()?;
        match line.read(&mut some).ok()? {
            0 => return ended(&answer),
            len => answer.extend_from_slice(&some[..len]),
        }
        if answer.len() > ANSWER_LEN_MAX {
            return None;
        }
    }
}

/// Connects to a socket. Where whoever listens takes nobody in, the kernel would wait for room without end: it waits for as
/// long as it may to write.
fn connect(path: &Path, time: Duration) -> std::io::Result<UnixStream> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(time))?;
    net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// What is no answer.
struct Bad;

/// How long a body is.
enum Length {
    Known(usize),
    Chunks,
    UntilEnd,
}

/// The body, if all of it is there; an error as soon as it is no answer to be used.
fn whole(answer: &[u8]) -> Option<Result<Vec<u8>, Bad>> {
    let (length, body) = match head(answer) {
        Ok(head) => head?,
        Err(bad) => return Some(Err(bad)),
    };
    match length {
        Length::Known(len) if body.len() < len => None,
        Length::Known(len) if body.len() == len => Some(Ok(body.to_vec())),
        Length::Known(_) => Some(Err(Bad)),
        Length::Chunks => chunks(body),
        Length::UntilEnd => None,
    }
}

/// The body of an answer that ended with its connection: one that said how long it is has said otherwise.
fn ended(answer: &[u8]) -> Option<Vec<u8>> {
    match head(answer) {
        Ok(Some((Length::UntilEnd, body))) => Some(body.to_vec()),
        _ => None,
    }
}

fn head(answer: &[u8]) -> Result<Option<(Length, &[u8])>, Bad> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(answer).map_err(|_| Bad)? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(Bad);
    }
    let of = |name: &str| {
        let mut found = response.headers.iter().filter(|own| own.name.eq_ignore_ascii_case(name));
        (found.next().map(|own| own.value), found.next().is_some())
    };
    let text = |value: &[u8]| std::str::from_utf8(value).map(|text| text.trim().to_owned());
    let kind = of("content-type").0.map(text).transpose().map_err(|_| Bad)?.unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Bad);
    }
    let length = match (of("content-length"), of("transfer-encoding")) {
        ((None, _), (None, _)) => Length::UntilEnd,
        ((Some(len), false), (None, _)) => {
            let len = text(len).map_err(|_| Bad)?.parse().map_err(|_| Bad)?;
            if len > ANSWER_LEN_MAX {
                return Err(Bad);
            }
            Length::Known(len)
        }
        ((None, _), (Some(way), false)) if way.eq_ignore_ascii_case(b"chunked") => Length::Chunks,
        _ => return Err(Bad),
    };
    Ok(Some((length, &answer[len..])))
}

/// A body in chunks, without trailers.
fn chunks(mut rest: &[u8]) -> Option<Result<Vec<u8>, Bad>> {
    let mut body = Vec::new();
    loop {
        let (start, len) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return None,
            Err(_) => return Some(Err(Bad)),
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(ANSWER_LEN_MAX + 1);
        if body.len() + len > ANSWER_LEN_MAX {
            return Some(Err(Bad));
        }
        let chunk = rest[start..].get(..len)?;
        let end = rest[start + len..].get(..2)?;
        if end != b"\r\n" {
            return Some(Err(Bad));
        }
        if len == 0 {
            let is_all = rest.len() == start + 2;
            return Some(if is_all { Ok(body) } else { Err(Bad) });
        }
        body.extend_from_slice(chunk);
        rest = &rest[start + len + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_point_is_on_this_machine() {
        for good in ["http://127.0.0.1:8080", "http://[::1]:1/", "unix:/run/point.sock"] {
            assert_eq!(Place::parse(good).unwrap().as_str(), good);
        }
        for bad in
            ["http://10.0.0.1:80", "https://127.0.0.1:1", "http://localhost:1", "unix:run", ""]
        {
            assert!(Place::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn answers_come_whole_in_pieces_or_not_at_all() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let known = format!("{head}Content-Length: 2\r\n\r\n{{}}");
        let chunked =
            format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n1\r\n}}\r\n0\r\n\r\n");
        for text in [&known, &chunked] {
            for len in 0..text.len() {
                assert!(whole(&text.as_bytes()[..len]).is_none(), "{len}");
                assert!(ended(&text.as_bytes()[..len]).is_none(), "{len}");
            }
            assert_eq!(whole(text.as_bytes()).unwrap().ok().unwrap(), b"{}");
            let more = format!("{text}x");
            assert!(whole(more.as_bytes()).unwrap().is_err());
        }
        let open = format!("{head}\r\n{{}}");
        assert!(whole(open.as_bytes()).is_none());
        assert_eq!(ended(open.as_bytes()).unwrap(), b"{}");
        for bad in [
            "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "nonsense\r\n\r\n",
        ] {
            assert!(whole(bad.as_bytes()).unwrap().is_err(), "{bad}");
        }
        let two = format!("{head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}");
        assert!(whole(two.as_bytes()).unwrap().is_err());
    }
}
