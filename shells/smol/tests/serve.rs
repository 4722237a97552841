//! The server itself, on loopback: what it answers to real sockets.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

/// `tutu serve` in a home of its own.
struct Server {
    child: Child,
    address: SocketAddr,
    key: String,
    home: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::with(&[], &["key", "list"])
    }

    /// With these flags, after this command.
    fn with(flags: &[&str], before: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a folder for a home");
        let out = Command::new(env!("CARGO_BIN_EXE_tutu")).args(before).env("TUTU_HOME", home.path()).output();
        let key = String::from_utf8(out.expect("the program starts").stdout).expect("a key is text").trim().to_owned();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tutu"))
            .args(["serve", "--port", "0"])
            .args(flags)
            .env("TUTU_HOME", home.path())
            .env("OLLAMA_MODELS", home.path().join("none"))
            .env("HF_HUB_CACHE", home.path().join("none"))
            .env_remove("OLLAMA_HOST")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("listening on http://").expect("it says where it listens");
        Self { child, address: address.parse().expect("an address"), key, home }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exit code and what went to standard error.
fn fails(home: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_tutu")).args(args).env("TUTU_HOME", home).output().expect("it starts");
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn others_need_a_key_unless_anyone_may_use_it() {
    let home = tempfile::tempdir().expect("a folder for a home");
    let (code, error) = fails(home.path(), &["serve", "--host", "0.0.0.0:0"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("tutu key add") && error.contains("--anyone-may-use-it"), "{error}");

    let server = Server::with(&["--need-keys"], &["key", "add", "phone", "--scope", "read"]);
    let ask = |method: &str, path: &str, key: &str| {
        server.ask(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: Bearer {key}\r\n\r\n"))
    };
    assert!(ask("GET", "/api/version", "x").starts_with("HTTP/1.1 200 "));
    assert!(ask("GET", "/api/tags", "x").starts_with("HTTP/1.1 401 "));
    assert!(ask("GET", "/api/tags", &server.key).starts_with("HTTP/1.1 200 "));
    assert!(ask("POST", "/api/chat", &server.key).starts_with("HTTP/1.1 403 "));
}

#[cfg(unix)]
#[test]
fn commands_of_the_home_find_it_by_a_socket_and_there_is_one_a_home() {
    let server = Server::start();
    let mut stream = std::os::unix::net::UnixStream::connect(server.home.path().join("tutu.sock")).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: tutu\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with("Ollama is running"), "{answer}");
    let (code, error) = fails(server.home.path(), &["serve", "--port", "0"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("runs already"), "{error}");
}

#[test]
fn it_says_that_it_runs_and_which_version_it_is() {
    let server = Server::start();
    let answer = server.get("/");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nOllama is running"), "{answer}");
    assert!(server.get("/api/version").ends_with(concat!("{\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}")));
    let head = server.ask("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(server.get("/nothing").starts_with("HTTP/1.1 404 "));
    assert!(server.ask("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 405 "));
}
