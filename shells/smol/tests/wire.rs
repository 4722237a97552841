//! Hostile and careless clients against the server on loopback: each gets the right status, nobody else notices.

#[path = "wire/cases.rs"]
mod cases;
#[path = "wire/house.rs"]
mod house;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use house::{House, statuses};

#[test]
fn every_malformed_request_gets_its_status_and_the_next_one_is_answered() {
    let house = House::open();
    let cases = cases::all();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for (name, bytes, expected) in &cases {
        let found = statuses(&house.ask(bytes));
        if &found != expected {
            wrong.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
        assert_eq!(statuses(&house.get("/")), [200], "after {name}");
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(house.smuggled(), 0, "no request came in hidden within another");
    house.until_empty();
}

#[test]
fn no_memory_is_kept_of_what_was_refused() {
    let house = House::open();
    let cases = cases::quick();
    let round = || {
        for (_, bytes, _) in &cases {
            house.ask(bytes);
        }
        house.until_empty();
    };
    // The first rounds fill what is kept for good: buffers of threads, counters of routes.
    (0..3).for_each(|_| round());
    let before = resident();
    (0..10).for_each(|_| round());
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more after {} requests", 10 * cases.len());
}

/// Bytes of memory that this process holds now; 0 where the system does not tell.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[test]
fn a_client_that_drips_its_head_is_sent_away() {
    let house = House::open();
    for text in [
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
    ] {
        let mut stream = house.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        // A byte now and then, until we are told to go.
        loop {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&piece[..read]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    if answer.is_empty() && stream.write_all(b"a").is_err() {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        assert_eq!(statuses(&answer), [408], "{text}");
        assert_eq!(statuses(&house.get("/")), [200]);
    }
}

#[test]
fn many_slow_clients_do_not_keep_others_out() {
    let house = House::open();
    let mut slow: Vec<TcpStream> = (0..40).map(|_| house.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    }
    // More than may be served at once: those that are too slow make room.
    assert_eq!(statuses(&house.get("/")), [200]);
    for mut stream in slow {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(statuses(&answer), [408]);
    }
}

#[test]
fn a_client_that_leaves_ends_what_was_done_for_it() {
    let house = House::open();
    // While the handler is still silent, within a stream, with another request behind, and within its own body.
    for (request, after) in [
        ("GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\n", 0),
        ("GET /silent HTTP/1.1\r\nHost: localhost\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n", 0),
        ("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n", 1000),
        ("POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc", 0),
        ("POST /wait HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 0),
    ] {
        let mut stream = house.connect();
        stream.write_all(request.as_bytes()).unwrap();
        house.begun();
        let mut read = vec![0; after];
        stream.read_exact(&mut read).unwrap();
        drop(stream);
        house.dropped();
    }
    house.until_empty();
    assert_eq!(house.smuggled(), 0);
}

#[test]
fn a_reader_that_stops_reading_is_given_up() {
    let house = House::open();
    let mut stream = house.connect();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    house.begun();
    house.dropped();
    drop(stream);
}

#[test]
fn a_producer_that_panics_breaks_its_answer_off_and_nothing_else() {
    let house = House::open();
    let answer = house.get("/half");
    assert!(!answer.ends_with(b"0\r\n\r\n"), "the answer must not look whole");
    assert_eq!(statuses(&house.get("/panic")), [500]);
    assert_eq!(statuses(&house.get("/")), [200]);
}

#[test]
fn what_is_sent_when_the_server_ends_is_finished() {
    let mut house = House::open();
    let mut stream = house.connect();
    stream.write_all(b"GET /gate HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    house.begun();
    let stopping = house.stop();
    house.release();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(statuses(&answer), [200]);
    assert!(answer.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&answer));
    stopping.join().unwrap();
    assert!(TcpStream::connect(house.address()).is_err());
}

#[test]
fn bodies_of_any_length_pass_in_pieces() {
    let house = House::open();
    let mut stream = house.connect();
    let length = 64 << 20;
    write!(stream, "POST /count HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
        .unwrap();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        stream.write_all(&piece).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(&length.to_string()), "{answer}");
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let house = House::open();
    let mut stream = house.connect();
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
}

#[test]
fn requests_in_one_piece_are_answered_one_after_another() {
    let house = House::open();
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let post = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    let last = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let text = format!("{}{last}", format!("{get}{post}").repeat(100));
    assert_eq!(statuses(&house.ask(text.as_bytes())), [200; 201]);
}

#[test]
fn a_trace_and_a_name_come_back() {
    let house = House::open();
    let answer = house.ask(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine-7\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nConnection: close\r\n\r\n",
    );
    let text = String::from_utf8(answer).unwrap();
    assert!(text.contains("x-request-id: mine-7\r\n"), "{text}");
    assert!(text.contains("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{text}");
    assert!(!text.contains("00f067aa0ba902b7"), "our own span is named: {text}");
    let fresh = String::from_utf8(house.get("/")).unwrap();
    assert!(fresh.contains("traceparent: 00-") && !fresh.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{fresh}");
    house.until_empty();
    let log = house.log();
    assert!(log.contains("path=/ status=200"), "{log}");
    assert!(log.contains("id=mine-7 trace=4bf92f3577b34da6a3ce929d0e0e4736"), "{log}");
}

#[test]
fn bodies_may_come_compressed_and_bombs_do_not_go_off() {
    use std::io::Write;
    let house = House::open();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap()
    };
    let zstd = |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    let ask = |path: &str, coding: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        String::from_utf8_lossy(&house.ask(&[head.as_bytes(), body].concat())).into_owned()
    };
    for (coding, plain, bomb) in
        [("gzip", gzip(b"hello"), gzip(&vec![0; 100 << 20])), ("zstd", zstd(b"hello"), zstd(&vec![0; 100 << 20]))]
    {
        let answer = ask("/echo", coding, &plain);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert!(bomb.len() < 1 << 20, "{coding}: {}", bomb.len());
        assert!(ask("/json", coding, &bomb).starts_with("HTTP/1.1 413 "));
        assert!(ask("/echo", coding, b"hello").starts_with("HTTP/1.1 400 "));
        // What is taken in piece by piece is taken as it is.
        assert!(ask("/count", coding, &plain).starts_with("HTTP/1.1 415 "));
    }
    let answer = ask("/echo", "br", b"hello");
    assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains("accept-encoding: gzip, zstd\r\n"), "{answer}");
    assert!(ask("/echo", "identity", b"hello").ends_with("\r\n\r\nhello"));
    house.until_empty();
}

#[test]
fn it_speaks_tls_and_plain_talk_at_that_port_is_ended() {
    use futures_rustls::{
        TlsConnector,
        rustls::{
            ClientConfig, RootCertStore, crypto,
            pki_types::{CertificateDer, pem::PemObject},
        },
    };
    use smol::io::{AsyncReadExt, AsyncWriteExt};

    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let (certificate, key) = (data.join("tls-cert.pem"), data.join("tls-key.pem"));
    let tls = tutu::http::Tls::open(&certificate, &key).unwrap();
    let house = House::open_with(|listener| listener.with_tls(&tls));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let answer = smol::block_on(async {
        let stream = smol::net::TcpStream::connect(house.address()).await.unwrap();
        let connector = TlsConnector::from(std::sync::Arc::new(config));
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        // An end without the farewell of TLS would be an error here.
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    assert!(answer.ends_with("Ollama is running"), "{answer}");
    assert_eq!(statuses(&house.get("/")), [0; 0]);
    // A client that never shakes hands is sent away in the time for a head.
    assert_eq!(house.ask(b""), b"");
    house.until_empty();
}

#[test]
fn certificates_are_replaced_under_open_connections() {
    use futures_rustls::{
        TlsConnector,
        rustls::{
            ClientConfig, RootCertStore, crypto,
            pki_types::{CertificateDer, pem::PemObject},
        },
    };
    use smol::io::{AsyncReadExt, AsyncWriteExt};

    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let folder = tempfile::tempdir().unwrap();
    let place = |from: &str, to: &str| {
        std::fs::copy(data.join(from), folder.path().join(to)).unwrap();
        folder.path().join(to)
    };
    let tls = tutu::http::Tls::open(&place("tls-cert.pem", "chain.pem"), &place("tls-key.pem", "key.pem")).unwrap();
    let house = House::open_with(|listener| listener.with_tls(&tls));
    let connect = async |trusts: &str| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(data.join(trusts)).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = smol::net::TcpStream::connect(house.address()).await.unwrap();
        TlsConnector::from(std::sync::Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
    };
    smol::block_on(async {
        let mut old = connect("tls-cert.pem").await.unwrap();
        assert!(connect("tls-other-cert.pem").await.is_err());
        place("tls-other-cert.pem", "chain.pem");
        place("tls-other-key.pem", "key.pem");
        assert!(tls.has_changed());
        tls.reload().unwrap();
        assert!(connect("tls-cert.pem").await.is_err());
        let mut new = connect("tls-other-cert.pem").await.unwrap();
        for stream in [&mut old, &mut new] {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("Ollama is running"), "{answer}");
        }
    });
    house.until_empty();
}
