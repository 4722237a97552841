//! Requests that are wrong on purpose, each with the statuses of the answers it must get.

type Case = (String, Vec<u8>, Vec<u16>);

const HOST: &str = "Host: localhost\r\nConnection: close\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// All of them, those that take their time last.
pub fn all() -> Vec<Case> {
    let mut cases = quick();
    cases.extend(slow());
    cases
}

/// Those that are answered at once.
pub fn quick() -> Vec<Case> {
    [first_lines(), fields(), framing(), chunks(), large(), pipelined(), strangers(), bodies(), harmless()].concat()
}

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, statuses: impl Into<Vec<u16>>) -> Case {
    (name.into(), bytes.into(), statuses.into())
}

/// Cases of one kind: the text that differs, and the status.
fn each(kind: &str, wrap: impl Fn(&str) -> String, list: &[(&str, u16)]) -> Vec<Case> {
    list.iter().map(|(text, status)| case(format!("{kind}: {text:?}"), wrap(text), [*status])).collect()
}

fn first_lines() -> Vec<Case> {
    let list = [
        ("GET /", 400),
        ("GET / HTTP/1.1 x", 400),
        ("GET  / HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("GET\t/\tHTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET / HTTP/1", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/3", 505),
        ("GET / HTTP/1.10", 505),
        ("GET / HTTP/11", 505),
        ("GET / HTTP/-1.1", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET / RTSP/1.0", 400),
        ("GET x HTTP/1.1", 400),
        ("GET localhost/ HTTP/1.1", 400),
        ("GET ftp://localhost/ HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET /#fragment HTTP/1.1", 400),
        ("GET /\u{e4} HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET ?x HTTP/1.1", 400),
        ("G@T / HTTP/1.1", 400),
        ("G:T / HTTP/1.1", 400),
        ("(GET) / HTTP/1.1", 400),
        ("\u{feff}GET / HTTP/1.1", 400),
        ("CONNECT localhost:80 HTTP/1.1", 405),
        ("CONNECT / HTTP/1.1", 405),
        ("BREW / HTTP/1.1", 501),
        ("get / HTTP/1.1", 501),
        ("DELETE / HTTP/1.1", 405),
        ("TRACE / HTTP/1.1", 405),
        ("PUT /echo HTTP/1.1", 405),
        ("GET /nothing HTTP/1.1", 404),
        ("GET /../../etc/passwd HTTP/1.1", 404),
        ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", 404),
        ("GET //localhost/ HTTP/1.1", 404),
        ("GET /%00 HTTP/1.1", 404),
        ("GET /%zz HTTP/1.1", 404),
        ("GET /%ff%fe HTTP/1.1", 404),
        ("OPTIONS * HTTP/1.1", 404),
    ];
    let mut cases = each("first line", |line| format!("{line}\r\n{HOST}\r\n"), &list);
    for byte in [0_u8, 1, 8, 11, 12, 27, 127] {
        cases.push(case(format!("byte {byte} first"), [&[byte][..], b"GET / HTTP/1.1\r\n\r\n"].concat(), [400]));
        let within = [b"GET /".as_slice(), &[byte], b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat();
        cases.push(case(format!("byte {byte} in the address"), within, [400]));
    }
    cases.push(case("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), [400]));
    cases.push(case("an SSH greeting", "SSH-2.0-OpenSSH_9.2\r\n\r\n", [400]));
    cases.push(case("a line without its carriage return", "GET / HTTP/1.1\nHost: localhost\n\n", [400]));
    cases.push(case("a carriage return within", "GET / HTTP/1.1\rHost: localhost\r\n\r\n", [400]));
    cases.push(case("two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\n\r\n", [400]));
    cases.push(case("a bare line feed first", "\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n", [400]));
    cases
}

fn fields() -> Vec<Case> {
    let list = [
        ("no colon", 400),
        (": no name", 400),
        ("two words: x", 400),
        ("X : x", 400),
        ("X\t: x", 400),
        ("\tX: x", 400),
        (" X: x", 400),
        ("X: a\r\n b", 400),
        ("X: a\r\n\tb", 400),
        ("X\u{e4}: a", 400),
        ("X(): a", 400),
        ("X: a\0b", 400),
        ("X: a\u{1}b", 400),
        ("X: a\u{7f}b", 400),
        ("X: a\rb", 400),
        ("X: a\nb: c", 400),
        ("Host: localhost", 400),
        ("Host: other", 400),
        ("Expect: tea", 417),
        ("Expect: 100-continue, tea", 417),
    ];
    let mut cases = each("field", |field| format!("GET / HTTP/1.1\r\n{HOST}{field}\r\n\r\n"), &list);
    let hosts = [
        ("a/b", 400),
        ("a b", 400),
        ("a@localhost", 400),
        ("localhost#", 400),
        ("localhost?", 400),
        ("local\u{e4}", 400),
        ("\"localhost\"", 400),
        ("localhost\\", 400),
        ("<localhost>", 400),
        ("localhost, localhost", 400),
    ];
    cases.extend(each("host", |host| format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), &hosts));
    cases.push(case("no host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", [400]));
    cases
}

/// Where a body ends is said twice, or not plainly: the way to hide one request within another.
fn framing() -> Vec<Case> {
    let list = [
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 0\r\nContent-Length: 5", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: 5,6", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 5.0", 400),
        ("Content-Length: 5e0", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5h", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: \"5\"", 400),
        ("Content-Length: \u{665}", 400),
        ("Content-Length:", 400),
        ("Content-Length: 18446744073709551616", 400),
        ("Content-Length: 18446744073709551615", 400),
        ("Content-Length: 99999999999999999999999999", 400),
        ("Content-Length : 5", 400),
        ("Content-Length\t: 5", 400),
        (" Content-Length: 5", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: gzip", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, gzip", 501),
        ("Transfer-Encoding: chunked, chunked", 501),
        ("Transfer-Encoding: chunked,", 501),
        ("Transfer-Encoding: ,chunked", 501),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: chunkedx", 501),
        ("Transfer-Encoding: chunked;q=1", 501),
        ("Transfer-Encoding: \"chunked\"", 501),
        ("Transfer-Encoding:", 501),
        ("Transfer-Encoding: chunked\u{e4}", 501),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding\t: chunked", 400),
        (" Transfer-Encoding: chunked", 400),
        ("Transfer-Encoding: \u{b}chunked", 400),
        ("Transfer-Encoding: chunked\u{c}", 400),
        ("X: y\nTransfer-Encoding: chunked", 400),
        ("X: y\rTransfer-Encoding: chunked", 400),
        ("Transfer_Encoding: chunked\r\nTransfer-Encoding: x", 501),
    ];
    let wrap = |field: &str| format!("POST /echo HTTP/1.1\r\n{HOST}{field}\r\n\r\n0\r\n\r\n{SMUGGLED}");
    let mut cases = each("framing", wrap, &list);
    let old = format!("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    cases.push(case("chunks in HTTP/1.0", old, [400]));
    cases
}

fn chunks() -> Vec<Case> {
    let list = [
        ("\r\n", 400),
        ("3\nabc\r\n0\r\n\r\n", 400),
        ("3\r\nabc\n0\r\n\r\n", 400),
        ("3\r\nabc0\r\n\r\n", 400),
        ("3\r\nabcd\r\n0\r\n\r\n", 400),
        ("3\r\nab\r\n0\r\n\r\n", 400),
        ("3 \r\nabc\r\n0\r\n\r\n", 400),
        (" 3\r\nabc\r\n0\r\n\r\n", 400),
        ("+3\r\nabc\r\n0\r\n\r\n", 400),
        ("-3\r\nabc\r\n0\r\n\r\n", 400),
        ("0x3\r\nabc\r\n0\r\n\r\n", 400),
        ("3h\r\nabc\r\n0\r\n\r\n", 400),
        ("g\r\nabc\r\n0\r\n\r\n", 400),
        ("3,3\r\nabc\r\n0\r\n\r\n", 400),
        (";x\r\nabc\r\n0\r\n\r\n", 400),
        ("3;x\nabc\r\n0\r\n\r\n", 400),
        ("3;\0\r\nabc\r\n0\r\n\r\n", 400),
        ("3;\r\n\nabc\r\n0\r\n\r\n", 400),
        ("3\rabc\r\n0\r\n\r\n", 400),
        ("\u{ff13}\r\nabc\r\n0\r\n\r\n", 400),
        ("ffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400),
        ("10000000000000000\r\nabc\r\n0\r\n\r\n", 400),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", 400),
        ("3\r\nabc\r\n0\r\n\n", 400),
        ("3\r\nabc\r\n0\n\r\n", 400),
        ("3\r\nabc\r\n0\r\nX: y\n\r\n", 400),
        ("3\r\nabc\r\n0\r\nX: \0\r\n\r\n", 400),
        ("3\r\nabc\r\n0\r\nX: y\rz\r\n\r\n", 400),
    ];
    let wrap = |body: &str| format!("POST /echo HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}");
    let mut cases = each("chunks", wrap, &list);
    let long = |body: String| wrap(&body).into_bytes();
    cases.push(case("an endless extension", long(format!("3;{}", "x".repeat(10_000))), [400]));
    cases.push(case("endless trailers", long(format!("0\r\n{}", "a: b\r\n".repeat(2000))), [400]));
    cases.push(case("a long line of a trailer", long(format!("0\r\na: {}", "b".repeat(10_000))), [400]));
    cases
}

fn large() -> Vec<Case> {
    let with = |line: &str, fields: &str| format!("{line}\r\n{HOST}{fields}\r\n");
    let get = "GET / HTTP/1.1";
    let field = |length: usize| with(get, &format!("X: {}\r\n", "x".repeat(length)));
    vec![
        case("an address of 9 KiB", with(&format!("GET /{} HTTP/1.1", "a".repeat(9 << 10)), ""), [414]),
        case("an address of 1 MiB", with(&format!("GET /{} HTTP/1.1", "a".repeat(1 << 20)), ""), [414]),
        case("a query of 9 KiB", with(&format!("GET /?{} HTTP/1.1", "a".repeat(9 << 10)), ""), [414]),
        case("a method of 9 KiB", with(&format!("{} / HTTP/1.1", "A".repeat(9 << 10)), ""), [414]),
        case("a method of 33 letters", with(&format!("{} / HTTP/1.1", "A".repeat(33)), ""), [400]),
        case("a line without end", "A".repeat(1 << 20), [414]),
        case("a field of 17 KiB", field(17 << 10), [431]),
        case("a field of 1 MiB", field(1 << 20), [431]),
        case("a name of 17 KiB", with(get, &format!("{}: x\r\n", "x".repeat(17 << 10))), [431]),
        case("101 fields", with(get, &"a: b\r\n".repeat(99)), [431]),
        case("1000 fields", with(get, &"a: b\r\n".repeat(998)), [431]),
        case("5000 fields", with(get, &"a: b\r\n".repeat(5000)), [431]),
        case("fields without end", with(get, &"abcdefgh: b\r\n".repeat(100_000)), [431]),
        case("a body over the limit", with("POST /echo HTTP/1.1", "Content-Length: 65537\r\n"), [413]),
        case(
            "a body far over the limit",
            with("POST /echo HTTP/1.1", "Content-Length: 9223372036854775807\r\n"),
            [413],
        ),
        case(
            "a body over the limit that is sent",
            with("POST /echo HTTP/1.1", "Content-Length: 100000\r\n") + &"x".repeat(100_000),
            [413],
        ),
        case(
            "chunks over the limit",
            with("POST /echo HTTP/1.1", "Transfer-Encoding: chunked\r\n")
                + "4000\r\n"
                + &"x".repeat(0x4000)
                + "\r\n"
                + &format!("c001\r\n{}\r\n0\r\n\r\n", "x".repeat(0xc001)),
            [413],
        ),
        case("JSON over the limit", with("POST /json HTTP/1.1", "Content-Length: 33554433\r\n"), [413]),
    ]
}

fn pipelined() -> Vec<Case> {
    let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let bad = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: localhost\n\n", 400),
        ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        ("\0", 400),
        ("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (bad, status) in bad {
        cases.push(case(format!("after a good one: {bad:?}"), format!("{get}{bad}{SMUGGLED}"), [200, status]));
        cases.push(case(
            format!("after two good ones: {bad:?}"),
            format!("{get}{get}{bad}{SMUGGLED}"),
            [200, 200, status],
        ));
    }
    let post = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    cases.push(case("more than the length says", format!("{post}defg\r\n\r\n{SMUGGLED}"), [200, 400]));
    cases.push(case("garbage after a body", format!("{post}\r\n\r\n{SMUGGLED}"), [200, 400]));
    let chunked = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    cases.push(case("garbage after chunks", format!("{chunked}0\r\n\r\n{SMUGGLED}"), [200, 400]));
    let close = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    cases.push(case("after the last one", format!("{close}{SMUGGLED}"), [200]));
    let old = "GET / HTTP/1.0\r\n\r\n";
    cases.push(case("after the last one, HTTP/1.0", format!("{old}{SMUGGLED}"), [200]));
    cases
}

/// Web pages and names that are not ours.
fn strangers() -> Vec<Case> {
    let post =
        |fields: &str| format!("POST /echo HTTP/1.1\r\nConnection: close\r\n{fields}\r\nContent-Length: 3\r\n\r\nabc");
    let list = [
        ("Host: evil.example", 403),
        ("Host: evil.example:11434", 403),
        ("Host: localhost.evil.example", 403),
        ("Host: 8.8.8.8", 403),
        ("Host: localhost\r\nOrigin: http://evil.example", 403),
        ("Host: localhost\r\nOrigin: null", 403),
        ("Host: localhost\r\nOrigin:", 403),
        ("Host: localhost\r\nOrigin: http://localhost.evil", 403),
        ("Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example", 403),
        ("Host: localhost\r\nOrigin: http://evil.example\r\nContent-Type: text/plain", 403),
        ("Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
        ("Host: localhost\r\nOrigin: http://localhost:3000", 200),
        ("Host: 127.0.0.1:11434", 200),
        ("Host:", 200),
    ];
    let mut cases = each("stranger", post, &list);
    let preflight = "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    cases.push(case("the preflight of a stranger", preflight, [403]));
    cases.push(case("the preflight of a friend", preflight.replace("evil.example", "localhost:1"), [204]));
    let whole = "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    cases.push(case("a whole address of a stranger", whole, [403]));
    cases.push(case("a whole address of ours", whole.replace("evil.example", "localhost"), [200]));
    cases
}

fn bodies() -> Vec<Case> {
    let list = [
        ("", 400),
        (" ", 400),
        ("{", 400),
        ("}", 400),
        ("[]", 400),
        ("null", 400),
        ("1", 400),
        ("\"model\"", 400),
        ("{}", 400),
        ("{\"model\"}", 400),
        ("{\"model\":}", 400),
        ("{\"model\":1}", 400),
        ("{\"model\":null}", 400),
        ("{\"model\":[\"a\"]}", 400),
        ("{\"model\":\"a\",}", 400),
        ("{\"model\":\"a\"", 400),
        ("{'model':'a'}", 400),
        ("{\"model\":\"a\",\"stream\":\"yes\"}", 400),
        ("{\"model\":\"a\",\"stream\":0}", 400),
        ("{\"model\":\"\\ud800\"}", 400),
        ("{\"model\":\"a\nb\"}", 400),
        ("{\"model\":\"a\"} trailing", 200),
        ("{\"MODEL\":\"a\",\"Stream\":null}", 200),
        ("{\"model\":\"a\",\"other\":{\"x\":[1,2]}}", 200),
    ];
    let wrap = |body: &str| format!("POST /json HTTP/1.1\r\n{HOST}Content-Length: {}\r\n\r\n{body}", body.len());
    let mut cases = each("JSON", wrap, &list);
    cases.push(case("JSON that is deep", wrap(&"[".repeat(100_000)), [400]));
    cases.push(case("JSON objects that are deep", wrap(&"{\"a\":".repeat(100_000)), [400]));
    let broken =
        [wrap("").replace("Content-Length: 0", "Content-Length: 15").into_bytes(), b"{\"model\":\"a\xff\"}x".to_vec()];
    cases.push(case("JSON with bad UTF-8", broken.concat(), [200]));
    cases
}

/// What looks odd and is right.
fn harmless() -> Vec<Case> {
    let post = |fields: &str, body: &str| format!("POST /echo HTTP/1.1\r\n{HOST}{fields}\r\n{body}");
    vec![
        case("an empty line first", format!("\r\nGET / HTTP/1.1\r\n{HOST}\r\n"), [200]),
        case("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", [200]),
        case("a field that is not ASCII", format!("GET / HTTP/1.1\r\n{HOST}X: \u{e4}\u{2603}\r\n\r\n"), [200]),
        case(
            "a field in Latin-1",
            [format!("GET / HTTP/1.1\r\n{HOST}X: ").as_bytes(), b"\xe4\r\n\r\n"].concat(),
            [200],
        ),
        case("an empty field", format!("GET / HTTP/1.1\r\n{HOST}X:\r\n\r\n"), [200]),
        case("98 fields more", format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "a: b\r\n".repeat(98)), [200]),
        case("a body that nobody reads", format!("POST /ignore HTTP/1.1\r\n{HOST}Content-Length: 3\r\n\r\nabc"), [200]),
        case("a GET with a body", format!("GET / HTTP/1.1\r\n{HOST}Content-Length: 3\r\n\r\nabc"), [200]),
        case("no body at all", post("Content-Length: 0\r\n", ""), [200]),
        case("chunks", post("Transfer-Encoding: chunked\r\n", "3;x=y\r\nabc\r\n00\r\nX: y\r\n\r\n"), [200]),
        case(
            "chunks of a byte",
            post("Transfer-Encoding: Chunked\r\n", &("1\r\na\r\n".repeat(1000) + "0\r\n\r\n")),
            [200],
        ),
        case("a query with everything", format!("GET /?a=b&c&&=%00+%zz HTTP/1.1\r\n{HOST}\r\n"), [200]),
        case(
            "an upgrade that is not wanted",
            format!("GET / HTTP/1.1\r\n{HOST}Upgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"),
            [200],
        ),
        case("HEAD", format!("HEAD / HTTP/1.1\r\n{HOST}\r\n"), [200]),
    ]
}

/// What begins and does not go on.
fn slow() -> Vec<Case> {
    let heads =
        ["G", "GET ", "GET / HTTP/1.1", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n", "\r\nGET"];
    let mut cases: Vec<Case> = heads.map(|head| case(format!("no more than {head:?}"), head, [408])).into();
    let bodies = [
        ("Content-Length: 10\r\n", ""),
        ("Content-Length: 10\r\n", "123456789"),
        ("Transfer-Encoding: chunked\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "5"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nabc"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\nX: y\r\n"),
    ];
    for (field, body) in bodies {
        let text = format!("POST /echo HTTP/1.1\r\n{HOST}{field}\r\n{body}");
        cases.push(case(format!("no more than {field:?} {body:?}"), text, [408]));
    }
    cases
}
