//! 20,000 malformed requests: each gets a response other than 500, and nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Browser, Database, World, alone, memory};
use futures::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reproducible pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

const TYPES: &[&str] = &[
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=\"",
    "multipart/form-data; boundary=\u{1}",
    "multipart/form-data;boundary=x;boundary=y",
    "multipart/form-data; boundary=\"x",
    "multipart/form-data; boundary=x\u{e9}",
    "multipart/mixed; boundary=x",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=utf-7",
    "application/json",
    "application/cbor",
    "text/plain",
    ";",
    "",
];

const PATHS: &[&str] = &[
    "/api/send_message",
    "/api/attach_files",
    "/api/sign_in",
    "/api/save_draft",
    "/api/act_on_mail",
    "/api/save_email_config",
    "/api/set_guide_step",
    "/api/run_checks",
    "/api/answer_message",
    "/api/nothing",
    "/api/",
    "/mail/message?uid=x",
    "/mail/message/attachment?mailbox=%00&number=-1",
    "/%ff",
    "/mail/inbox?folder=%ff&page=-1",
    "/mail/outbox/..%2f..%2fetc",
    "/web/home/emails/msexchangeonlineoauth?state=%00&code=%f0",
    "/pkg/..%2f..%2fmaster.key",
];

const BODIES: &[&str] = &[
    "",
    "--x\r\n",
    "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nx\r\n--x--",
    "--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"\0/../a\"\r\n\r\nx",
    "--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x\r\n\r\n--x--",
    "a=%&b[]=%zz",
    "email=%00%ff&password=%c0%80",
    "a[b][c][d][e][f][g][h]=1&a=2&a[]=3",
    "{\"",
    "{\"id\":[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]}",
    "\0\u{1}",
    "uids[]=99999999999999&uids[]=-1&uids[]=",
    "mailbox=00000000-0000-0000-0000-000000000000&validity=4294967296&action=delete",
];

/// Broken HTTP request heads.
const HEADS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "POST /api/sign_in HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "POST /api/sign_in HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    "POST /api/sign_in HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "GET /\u{1} HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET http://[::1 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET HOST HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET * HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: \r\n\r\n",
    "GET / HTTP/1.1\r\nHost: HOST\r\nHost: other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: demo.localhost:99999\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: HOST\r\nCookie: entrepost_session=\u{e9}; =;;=\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: HOST\r\nX: \0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : HOST\r\n\r\n",
    "GET / HTTP/9.9\r\nHost: HOST\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "BREW /mail/inbox HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "CONNECT far.example:443 HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "TRACE / HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "\u{16}\u{3}\u{1}\u{2}\0",
];

/// The response status; none if the connection was closed without one.
async fn raw(port: u16, bytes: Vec<u8>) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&bytes).await.ok()?;
    stream.shutdown().await.ok()?;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("it answers, or closes");
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
    panics
}

fn malformed(dice: &mut Dice, browser: &Browser, world: &World) -> (String, reqwest::RequestBuilder) {
    let (kind, path) = (dice.of(TYPES), dice.of(PATHS));
    let body = if dice.below(3) == 0 { dice.bytes(300) } else { dice.of(BODIES).as_bytes().to_vec() };
    let method = ["POST", "POST", "POST", "GET", "PUT", "DELETE"][dice.below(6)];
    let origin = world.url("demo", "");
    let mut request = browser
        .http
        .request(method.parse().unwrap(), world.url("demo", path))
        .header("origin", origin.trim_end_matches('/'))
        .header("accept", dice.of(&["text/html", "application/json", "*/*"]))
        .timeout(Duration::from_secs(20));
    if let Ok(value) = reqwest::header::HeaderValue::from_bytes(kind.as_bytes()) {
        request = request.header("content-type", value);
    }
    (format!("{method} {path} {kind:?} {body:?}"), request.body(body))
}

fn malformed_head(dice: &mut Dice, host: &str) -> Vec<u8> {
    let mut head = dice.of(HEADS).replace("HOST", host).into_bytes();
    if dice.below(3) == 0 {
        let at = dice.below(head.len());
        head[at] = u8::try_from(dice.below(256)).unwrap();
    }
    head
}

#[test]
fn malformed_requests_are_answered() {
    alone("malformed::each_is_answered", &[]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "malformed_requests_are_answered runs it in its own process: memory and panics are counted"]
async fn each_is_answered() {
    let database = Database::sqlite();
    let world = World::start(&database).await;
    let panics = count_panics();
    let (user, stranger) = (Browser::new(&world), Browser::new(&world));
    user.sign_in(&world, "demo", "user@demo.example").await;
    let host = format!("demo.localhost:{}", world.port);
    let (mut dice, mut warm) = (Dice(1), 0);
    for round in 0..200 {
        let requests: Vec<_> = (0..90)
            .map(|number| malformed(&mut dice, if number % 2 == 0 { &user } else { &stranger }, &world))
            .collect();
        let sent = stream::iter(requests).map(async |(what, request)| {
            let status = request.send().await.map(|answer| answer.status().as_u16());
            assert!(status.as_ref().is_ok_and(|status| *status < 500), "{status:?}: {what}");
        });
        sent.buffer_unordered(20).collect::<Vec<()>>().await;
        let heads: Vec<_> = (0..10).map(|_| malformed_head(&mut dice, &host)).collect();
        let sent = stream::iter(heads).map(async |head| {
            let status = raw(world.port, head.clone()).await;
            // Unsupported methods and versions may get 501 and 505.
            let fine = status.is_none_or(|status| status < 500 || [501, 505].contains(&status));
            assert!(fine, "{status:?}: {}", String::from_utf8_lossy(&head));
        });
        sent.buffer_unordered(10).collect::<Vec<()>>().await;
        if round == 60 {
            warm = memory();
        }
    }
    assert_eq!(panics.load(Ordering::Relaxed), 0, "nothing panicked");
    let grown = memory().saturating_sub(warm);
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes more than after the first 6,000");
    assert_eq!(stranger.get(&world.url("demo", "/login")).await.status(), 200, "it goes on");
}
