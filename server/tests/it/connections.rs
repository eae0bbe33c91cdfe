//! Held connections: silent, slow, too many. They are closed and make room for others.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use server::http::connections::{self, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SOME: usize = 16 * 1024 * 1024;
const LARGE: usize = 1024 * 1024 * 1024;
static ANSWER_DROPPED: tokio::sync::Notify = tokio::sync::Notify::const_new();

/// A response body that reports when it is dropped.
struct Large(usize);

impl futures::Stream for Large {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0 += 65_536;
        Poll::Ready((self.0 <= LARGE).then(|| Ok(vec![0; 65_536].into())))
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        ANSWER_DROPPED.notify_one();
    }
}

/// Five bytes per second.
fn ticks() -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    futures::stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Some((Ok(Bytes::from_static(b".")), ()))
    })
}

async fn serve(limits: Limits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/body", post(async |body: Bytes| body.len().to_string()))
        .route("/some", get(async || vec![0_u8; SOME]))
        .route("/large", get(async || axum::body::Body::from_stream(Large(0))))
        .route("/events", get(async || axum::body::Body::from_stream(ticks())))
        .route("/slow", get(async || std::future::pending::<&str>().await));
    let token = stop.clone();
    let serving = tokio::spawn(async move { connections::serve(listener, router, limits, &token).await });
    (address, stop, serving)
}

fn short() -> Limits {
    Limits {
        connections: 50,
        per_address: 20,
        loopback_free: false,
        head: Duration::from_millis(400),
        pause: Duration::from_millis(400),
        grace: Duration::from_millis(800),
        standstill: Duration::from_millis(200),
        last_requests: Duration::from_secs(3),
        ..Limits::default()
    }
}

#[tokio::test]
async fn silence_and_trickles_end() {
    let (address, _stop, _) = serve(short()).await;
    for sent in [
        "",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: x\r\nX-More: ",
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.expect("it ends");
        assert!(begun.elapsed() < Duration::from_secs(6), "{sent:?}: {:?}", begun.elapsed());
    }
    // Occasional bytes don't extend the deadline forever.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    while stream.write_all(b"x").await.is_ok() && begun.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_address_does_not_take_every_connection_and_gives_its_places_back() {
    let (address, stop, serving) = serve(Limits { head: Duration::from_secs(60), ..short() }).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = [0; 15];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"HTTP/1.1 200 OK");
        held.push(stream);
    }
    let mut refused = TcpStream::connect(address).await.unwrap();
    let mut said = String::new();
    let _ = refused.read_to_string(&mut said).await;
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    held.clear();
    let begun = Instant::now();
    loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        if said.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the places did not come back");
    }
    // Held connections of any kind don't block shutdown.
    let mut held = Vec::new();
    for sent in [
        "",
        "GET / HT",
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        for _ in 0..4 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            held.push(stream);
        }
    }
    let begun = Instant::now();
    stop.cancel();
    serving.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// Idle loopback connections, such as a proxy's, are closed when others need room.
#[tokio::test]
async fn silence_from_this_machine_ends_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { head: Duration::from_millis(300), idle: Duration::from_secs(60), ..Limits::default() };
    let stop = CancellationToken::new();
    let app = Router::new().route("/", get(|| async { "here" }));
    let serving = stop.clone();
    tokio::spawn(async move { connections::serve(listener, app, limits, &serving).await });
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut buf = [0; 512];
    assert!(kept.read(&mut buf).await.unwrap() > 0);
    let ended = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut buf)).await.expect("it ends");
    assert_eq!(ended.unwrap_or(0), 0);
    // A connection that has sent a request may send another.
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut buf).await.unwrap() > 0);
    stop.cancel();
}

/// More silent connections than the default file limit (1,024), from many addresses: the next request is answered at once.
#[tokio::test]
async fn more_silence_than_a_process_has_files_by_default_keeps_nobody_out() {
    let room = connections::room_for_connections();
    assert!(room > 2_400, "{room}: this machine allows too few files for this test");
    let (address, stop, _) = serve(Limits { connections: room, head: Duration::from_secs(60), ..short() }).await;
    let mut held = Vec::new();
    for number in 0..1_050_u32 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let [_, _, third, fourth] = (number / 10).to_be_bytes();
        socket.bind(SocketAddr::from(([127, 1, third, fourth + 1], 0))).unwrap();
        held.push(socket.connect(address).await.unwrap());
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut said = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut said)).await;
    read.expect("it answers").unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    stop.cancel();
}

/// A client that reads nothing keeps its response for a limited time.
#[tokio::test]
async fn an_answer_that_nobody_reads_ends() {
    let limits = Limits { write: Duration::from_millis(500), ..short() };
    let (address, _stop, _) = serve(limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 64];
    stream.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    // Nothing is read meanwhile: buffered data arrives, then the end.
    let dropped = tokio::time::timeout(Duration::from_secs(10), ANSWER_DROPPED.notified()).await;
    dropped.expect("the server gave up");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("it ends");
    assert!(rest.len() < LARGE / 2, "{} bytes", rest.len());
}

/// A slow but reading client gets the whole response.
#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let (address, _stop, _) = serve(Limits { write: Duration::from_millis(500), ..short() }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /some HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut read, mut buf) = (0, vec![0; SOME / 20]);
    loop {
        match stream.read(&mut buf).await.unwrap() {
            0 => break,
            count => read += count,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(read > SOME, "{read}");
}

/// Slow headers time out on later requests and from proxies too; idle keep-alive doesn't.
#[tokio::test]
async fn a_head_that_trickles_ends_behind_a_first_request_too() {
    for loopback_free in [false, true] {
        let limits = Limits { loopback_free, idle: Duration::from_secs(60), ..short() };
        let (address, _stop, _) = serve(limits).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut buf = [0; 512];
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut buf).await.unwrap() > 0);
            if loopback_free {
                // Longer than the header timeout.
                tokio::time::sleep(Duration::from_millis(600)).await;
            }
        }
        let begun = Instant::now();
        let (mut read, mut write) = stream.into_split();
        let writing = tokio::spawn(async move {
            while write.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let ended = tokio::time::timeout(Duration::from_secs(10), read.read(&mut buf)).await.expect("it ends");
        assert!(ended.unwrap_or(0) == 0 || begun.elapsed() < Duration::from_secs(5), "free: {loopback_free}");
        assert!(begun.elapsed() < Duration::from_secs(5), "free: {loopback_free}: {:?}", begun.elapsed());
        writing.abort();
    }
}

/// A response sent bit by bit, such as an event stream, isn't idle and outlives the timeouts.
#[tokio::test]
async fn a_stream_of_events_is_not_idle() {
    let (address, _stop, _) = serve(short()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (begun, mut buf, mut read) = (Instant::now(), [0; 4_096], 0);
    while begun.elapsed() < Duration::from_secs(3) {
        let count =
            tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buf)).await.expect("it goes on").unwrap();
        assert!(count > 0, "it ended after {:?}", begun.elapsed());
        read += count;
    }
    assert!(read > 100);
}
