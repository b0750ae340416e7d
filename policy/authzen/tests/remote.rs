//! A decision point that somebody else wrote, and everything that can go wrong with one.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use strongroom_authorizer::cases::{BUILT_IN, Case, Cases};
use strongroom_authorizer::{DecisionPoint, Facts, Reason, Request, Verdict, decide};
use strongroom_authzen::{Both, NAME, Place, Remote};
use strongroom_host::clock::{Clock, MachineClock};
use strongroom_host::sim::SimClock;
use strongroom_records::ids::Hash;

const LONGEST: Duration = Duration::from_secs(30);
const SECOND: i64 = 1_000_000_000;

/// Allows whatever passes the floor.
struct Always;

impl DecisionPoint for Always {
    fn digest(&self) -> Hash {
        Hash([7; 32])
    }

    fn evaluate(&self, _: &Request, _: &Facts) -> Verdict {
        Verdict { allow: true, policies: vec!["always".into()], failed: false }
    }
}

/// The one in Python.
struct Point {
    child: Child,
    said: BufReader<ChildStdout>,
    place: Place,
}

impl Point {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/point.py");
        let mut child = Command::new("python3").arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        said.read_line(&mut port).unwrap();
        let place = Place::parse(&format!("http://127.0.0.1:{}", port.trim())).unwrap();
        Self { child, said, place }
    }

    fn remote(&self) -> Remote {
        Remote::new(self.place.clone(), LONGEST, Arc::new(MachineClock::new()))
    }

    /// How often it was asked, once it has ended.
    fn asked(mut self) -> usize {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        said.lines().count()
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        // It may have been ended by `asked`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The times of cases are small; a decision point counts in seconds.
fn cases() -> Cases {
    let text = BUILT_IN.replace("999", "999000000000").replace("1000}", "1000000000000}");
    Cases::parse(&text.replace("1000,", "1000000000000,")).unwrap()
}

fn allowed() -> (Request, Facts) {
    let cases = Cases::parse(BUILT_IN).unwrap();
    let Case { request, facts, .. } = &cases.all()[0];
    (request.clone(), facts.clone())
}

/// The same suite that our own policies pass, and the same answers without the floor before it.
#[test]
fn a_point_of_somebody_elses_answers_the_built_in_cases() {
    let point = Point::start();
    let cases = cases();
    let remote = point.remote();
    assert_eq!(cases.run(&remote), []);
    for case in cases.all().iter().filter(|case| case.facts.activity.is_some()) {
        let by_floor = strongroom_authorizer::floor::refuse(&case.request, &case.facts);
        let verdict = remote.evaluate(&case.request, &case.facts);
        assert_eq!((verdict.allow, verdict.failed), (by_floor.is_none(), false), "{}", case.name);
    }
}

#[test]
fn it_narrows_what_our_own_policies_allow_and_never_widens() {
    let point = Point::start();
    let both = Both { own: Arc::new(Always), other: Arc::new(point.remote()) };
    let (request, facts) = allowed();
    let decision = decide(&both, request.clone(), &facts);
    assert_eq!(
        (decision.reason(), decision.policies()),
        (None, &["always".into(), NAME.into()][..])
    );
    assert_eq!(decision.policy_set(), Always.digest());
    let wider = Both { own: Arc::new(Never), other: Arc::new(Always) };
    assert_eq!(decide(&wider, request, &facts).reason(), Some(Reason::PolicyRefuses));
}

struct Never;

impl DecisionPoint for Never {
    fn digest(&self) -> Hash {
        Hash::NONE
    }

    fn evaluate(&self, _: &Request, _: &Facts) -> Verdict {
        Verdict::default()
    }
}

#[test]
fn an_answer_counts_for_the_same_question_only_and_not_beyond_its_time_or_the_consents_end() {
    let point = Point::start();
    let remote = point.remote();
    let (mut request, mut facts) = allowed();
    let asked = |request: &Request, facts: &Facts| assert!(remote.evaluate(request, facts).allow);
    for _ in 0..5 {
        asked(&request, &facts);
    }
    request.now += LONGEST.as_nanos() as i64 - 1;
    asked(&request, &facts);
    request.now += 1;
    asked(&request, &facts);
    // Whatever changes is another question.
    facts.consent.as_mut().unwrap().until = Some(request.now + 5 * SECOND);
    asked(&request, &facts);
    request.now += 4 * SECOND;
    asked(&request, &facts);
    request.now += SECOND;
    assert!(!remote.evaluate(&request, &facts).allow, "the consent is over");
    assert_eq!(point.asked(), 4);
}

/// A lease ends by the clock that counts from boot: what was said before the time was corrected is not said again after it.
#[test]
fn an_answer_does_not_outlive_its_time_where_the_wall_clock_goes_back() {
    let point = Point::start();
    let clock = Arc::new(SimClock::new(0));
    let remote = Remote::new(point.place.clone(), LONGEST, Arc::clone(&clock) as Arc<dyn Clock>);
    let (mut request, mut facts) = allowed();
    let asked = |request: &Request, facts: &Facts| assert!(remote.evaluate(request, facts).allow);
    asked(&request, &facts);
    clock.advance(LONGEST - Duration::from_nanos(1));
    request.now -= 600 * SECOND;
    asked(&request, &facts);
    clock.advance(Duration::from_nanos(1));
    asked(&request, &facts);
    // Nor the end of the consent, as it was when the question was asked.
    facts.consent.as_mut().unwrap().until = Some(request.now + 5 * SECOND);
    asked(&request, &facts);
    clock.advance(Duration::from_secs(5));
    request.now -= 600 * SECOND;
    asked(&request, &facts);
    assert_eq!(point.asked(), 4);
}

/// Everything that is no clear yes denies, within the deadline, and leaves no answer behind.
#[test]
fn whatever_is_no_clear_yes_denies() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    let bodies = [
        "",
        "yes",
        "true",
        "{}",
        "[]",
        r#"{"decision": "true"}"#,
        r#"{"decision": 1}"#,
        r#"{"decision": null}"#,
        r#"{"decision": true, "extra": 1}"#,
        r#"{"decision": tru"#,
        r#"{"Decision": true}"#,
    ];
    let mut answers: Vec<String> = bodies.iter().map(|body| format!("{ok}{body}")).collect();
    let yes = r#"{"decision": true}"#;
    for status in ["201 Created", "204 No Content", "302 Found", "401 No", "404 None", "500 Oh"] {
        answers.push(format!(
            "HTTP/1.1 {status}\r\nLocation: /\r\nContent-Type: application/json\r\n\r\n{yes}"
        ));
    }
    answers.push(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{yes}"));
    answers.push(format!("{}{yes}", ok.replace("\r\n\r\n", "\r\nContent-Length: 999\r\n\r\n")));
    answers.push(String::new());
    let (request, facts) = allowed();
    for answer in answers {
        let (place, server) = once(answer.clone());
        let remote = Remote::new(place, LONGEST, Arc::new(MachineClock::new()));
        let decision = decide(&remote, request.clone(), &facts);
        assert_eq!(decision.reason(), Some(Reason::PolicyFailed), "{answer}");
        server.join().unwrap();
    }
    // The control: the same way of answering, and a yes.
    let (place, server) = once(format!("{ok}{yes}"));
    let remote = Remote::new(place, LONGEST, Arc::new(MachineClock::new()));
    assert_eq!(decide(&remote, request, &facts).reason(), None);
    server.join().unwrap();
}

/// Answers one request with these bytes.
fn once(answer: String) -> (Place, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let server = std::thread::spawn(move || {
        let (mut line, _) = listener.accept().unwrap();
        let mut some = [0; 8192];
        let _ = line.read(&mut some).unwrap();
        let _ = line.write_all(answer.as_bytes());
        let _ = line.shutdown(Shutdown::Both);
    });
    (place, server)
}

#[test]
fn one_that_is_silent_denies_in_time_and_is_left_alone_for_a_moment() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let clock = Arc::new(MachineClock::new());
    let remote = Remote::new(place, LONGEST, Arc::clone(&clock) as Arc<dyn Clock>);
    let (request, facts) = allowed();
    let began = clock.elapsed();
    assert!(remote.evaluate(&request, &facts).failed);
    assert!(clock.elapsed() - began >= Duration::from_millis(450), "it was waited for");
    for _ in 0..1000 {
        assert!(remote.evaluate(&request, &facts).failed);
    }
    // One connection waits to be accepted, or few where a second has passed; not a thousand.
    listener.set_nonblocking(true).unwrap();
    let asked = std::iter::from_fn(|| listener.accept().ok()).count();
    assert!((1..20).contains(&asked), "{asked}");
}

#[test]
fn one_that_is_not_there_denies() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    for place in [place, Place::parse("unix:/nowhere/at/all").unwrap()] {
        let remote = Remote::new(place, LONGEST, Arc::new(MachineClock::new()));
        let (request, facts) = allowed();
        assert!(remote.evaluate(&request, &facts).failed);
    }
}

/// One that takes nobody in any more, its queue full: whoever connects would wait in the kernel for as long as it stands.
#[test]
fn one_on_a_socket_of_this_machine_that_stands_still_denies_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("point");
    let standing = net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    net::bind(&standing, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    net::listen(&standing, 0).unwrap();
    let first = UnixStream::connect(&path).unwrap();
    let place = Place::parse(&format!("unix:{}", path.display())).unwrap();
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let remote = Remote::new(place, LONGEST, Arc::new(MachineClock::new()));
        let (request, facts) = allowed();
        said.send(remote.evaluate(&request, &facts).failed)
    });
    assert_eq!(heard.recv_timeout(Duration::from_secs(20)), Ok(true), "it is waited for too long");
    drop(first);
}
