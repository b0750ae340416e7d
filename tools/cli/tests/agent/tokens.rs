//! Who is let in, to what, and who is told so early.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{kind, place};
use crate::common::agent::{Running, token};

#[test]
fn a_token_opens_one_application_in_one_role_and_nothing_else() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let mail = token(&place, "mail", "shop", "--activity newsletter");
    let audit = token(&place, "audit", "shop", "--auditor");
    let other = token(&place, "other", "clinic", "");
    let old = token(&place, "old", "shop", "--until 2001-01-01");
    let agent = Running::start(&place, "");
    let asked = |token: &str, app: &str, method: &str, path: &str| {
        kind(&agent.client(token, app).send(method, path, None, b""))
    };
    let denied = (403, "denied".to_owned());
    assert_eq!(asked(&web, "shop", "GET", "subjects").0, 200);
    assert_eq!(asked("sr_00", "shop", "GET", "subjects").0, 401);
    assert_eq!(asked(&old, "shop", "GET", "subjects").0, 401);
    for (token, app, method, path) in [
        (&other, "shop", "GET", "subjects"),
        (&web, "clinic", "GET", "subjects"),
        (&web, "nothing", "GET", "subjects"),
        (&web, "shop", "GET", "audit"),
        (&web, "shop", "GET", "jobs/newsletter/subjects"),
        (&mail, "shop", "GET", "subjects"),
        (&mail, "shop", "POST", "rotate"),
        (&mail, "shop", "GET", "jobs/research/subjects"),
        (&audit, "shop", "GET", "subjects"),
    ] {
        assert_eq!(asked(token, app, method, path), denied, "{method} {path}");
    }
    assert_eq!(asked(&audit, "shop", "GET", "audit").0, 200);
    assert_eq!(asked(&web, "shop", "DELETE", "subjects").0, 405);
    assert_eq!(asked(&web, "shop", "GET", "subjekte").0, 404);
    let nobody = format!("subjects/{}", "00".repeat(16));
    assert_eq!(asked(&web, "shop", "GET", &nobody), (404, "not_found".to_owned()));
    assert_eq!(asked(&web, "shop", "GET", "subjects/nobody"), (400, "invalid".to_owned()));
    // A token ends with its line, while the agent runs.
    let mut remove = place.command("token remove web --tokens");
    place.said(remove.arg(place.path("tokens.json")).output().unwrap()).expect_done();
    assert_eq!(asked(&web, "shop", "GET", "subjects").0, 401);
    use std::os::unix::fs::PermissionsExt;
    let socket = fs::metadata(place.path("agent.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(agent.stop(), 0);
    assert!(!place.path("agent.sock").exists());
}

/// Sends bytes to an address of the machine and reads the line of the status.
fn status_of(address: &str, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Whoever is refused at once may be closed before all of it is sent.
    let _ = stream.write_all(bytes.as_bytes());
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    line
}

#[test]
fn who_has_no_token_is_told_so_before_a_body_is_taken() {
    let place = place();
    let audit = token(&place, "audit", "shop", "--auditor");
    let agent = Running::start(&place, "--listen 127.0.0.1:0");
    let address = agent.said["address"].as_str().unwrap();
    let long = |token: &str, method: &str, path: &str| {
        let head =
            format!("{method} /v1/apps/shop/{path} HTTP/1.1\r\nContent-Length: 94371840\r\n");
        status_of(address, &format!("{head}Authorization: Bearer {token}\r\n\r\n"))
    };
    assert_eq!(long("sr_00", "POST", "subjects"), "HTTP/1.1 401 Unauthorized\r\n");
    assert_eq!(long(&audit, "POST", "subjects"), "HTTP/1.1 403 Forbidden\r\n");
    assert_eq!(long(&audit, "POST", "audit/verify"), "HTTP/1.1 413 Content Too Large\r\n");
    assert_eq!(long(&audit, "POST", "nothing"), "HTTP/1.1 404 Not Found\r\n");
}

#[test]
fn strangers_who_say_nothing_keep_nobody_out_who_has_a_token() {
    let place = place();
    let web = token(&place, "web", "shop", "");
    let agent = Running::start(&place, "--listen 127.0.0.1:0");
    let address = agent.said["address"].as_str().unwrap();
    let asked =
        format!("GET /v1/apps/shop/subjects HTTP/1.1\r\nAuthorization: Bearer {web}\r\n\r\n");
    let mut known = BufReader::new(TcpStream::connect(address).unwrap());
    let mut ask = || {
        known.get_mut().write_all(asked.as_bytes()).unwrap();
        let (mut line, mut len) = (String::new(), 0);
        known.read_line(&mut line).unwrap();
        let status = line.clone();
        while line != "\r\n" {
            line.clear();
            known.read_line(&mut line).unwrap();
            if let Some(text) = line.strip_prefix("Content-Length: ") {
                len = text.trim_end().parse().unwrap();
            }
        }
        known.read_exact(&mut vec![0; len]).unwrap();
        status
    };
    assert_eq!(ask(), "HTTP/1.1 200 OK\r\n");
    let idle: Vec<TcpStream> = (0..160).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Let in one after the other: once this one has an answer, whichever, all before it were looked at.
    assert!(status_of(address, &asked).starts_with("HTTP/1.1 "));
    assert_eq!(agent.client(&web, "shop").get("subjects")["total"], 0);
    assert_eq!(ask(), "HTTP/1.1 200 OK\r\n");
    drop(idle);
}
