//! An agent that runs for a test, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use super::Place;

/// A running agent; dropping it ends it.
pub struct Running {
    child: Child,
    socket: PathBuf,
    /// What it said, as JSON.
    pub said: Value,
    _out: BufReader<ChildStdout>,
}

/// A connection with a token.
pub struct Client {
    stream: BufReader<UnixStream>,
    token: String,
    app: String,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

impl Running {
    /// Starts one and waits until it answers.
    pub fn start(place: &Place, options: &str) -> Self {
        let socket = place.path("agent.sock");
        let mut command = place.command(&format!("agent STORE --passphrase-file PASS {options}"));
        command.arg("--json").arg("--socket").arg(&socket);
        command.arg("--tokens").arg(place.path("tokens.json"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).expect("an agent that answers");
        Self { child, socket, said, _out: out }
    }

    /// A connection for whoever has a token.
    pub fn client(&self, token: &str, app: &str) -> Client {
        let stream = BufReader::new(UnixStream::connect(&self.socket).unwrap());
        Client { stream, token: token.to_owned(), app: app.to_owned() }
    }

    /// Kills it, as a machine that dies would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits; its exit code.
    pub fn stop(mut self) -> i32 {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token, made by the command.
pub fn token(place: &Place, name: &str, app: &str, role: &str) -> String {
    let mut command = place.command(&format!("token create {name} --app {app} {role} --tokens"));
    let output = command.arg(place.path("tokens.json")).output().unwrap();
    place.said(output).expect_done().trim_end().to_owned()
}

impl Client {
    /// Asks with a key and a body.
    pub fn send(&mut self, method: &str, path: &str, key: Option<&str>, body: &[u8]) -> Reply {
        let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} /v1/apps/{}/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n{key}\
             Content-Length: {}\r\n\r\n",
            self.app,
            self.token,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_default().parse().expect("a status");
        let mut len = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => len = Some(value.parse().unwrap()),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; len.unwrap_or(0)];
        match len {
            Some(_) => self.stream.read_exact(&mut body).unwrap(),
            None => self.read_chunks(&mut body),
        }
        Reply { status, body }
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let len = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let mut chunk = vec![0; len + 2];
            self.stream.read_exact(&mut chunk).unwrap();
            body.extend_from_slice(&chunk[..len]);
            if len == 0 {
                return;
            }
        }
    }

    /// Asks with a JSON body; must be done.
    #[track_caller]
    pub fn done(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let reply = self.send(method, path, None, &bytes);
        let json: Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(reply.status < 300, "{method} {path}: {} {json}", reply.status);
        json
    }

    /// Reads something; must be there.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Value {
        self.done("GET", path, &Value::Null)
    }

    /// Reads bytes; none if refused.
    pub fn bytes(&mut self, path: &str) -> Option<Vec<u8>> {
        let reply = self.send("GET", path, None, &[]);
        (reply.status == 200).then_some(reply.body)
    }
}
