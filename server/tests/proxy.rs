//! A proxy before the server that gets something wrong: `entrepost doctor` says what.

mod common;

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use common::{Database, World};
use server::clock::Clock;

/// What the proxy does, and whom it asks.
#[derive(Clone, Default)]
struct Proxy {
    upstream: Arc<Mutex<u16>>,
    fault: Arc<Mutex<&'static str>>,
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let (port, fault) = (*proxy.upstream.lock().unwrap(), *proxy.fault.lock().unwrap());
    let (head, body) = request.into_parts();
    let mut headers = head.headers;
    match fault {
        "host" => drop(headers.insert(header::HOST, format!("127.0.0.1:{port}").parse().unwrap())),
        "origin" => drop((headers.remove(header::ORIGIN), headers.remove("sec-fetch-site"))),
        _ => {}
    }
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let answer =
        client.request(head.method, format!("http://127.0.0.1:{port}{}", head.uri)).headers(headers).body(body).send();
    let answer = answer.await.unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    let mut response = response.body(Body::from(answer.bytes().await.unwrap())).unwrap();
    let headers = response.headers_mut();
    headers.remove(header::TRANSFER_ENCODING);
    let fixed = |text: &'static str| HeaderValue::from_static(text);
    match fault {
        "referrer" => drop(headers.insert(header::REFERRER_POLICY, fixed("no-referrer"))),
        "second referrer" => drop(headers.append(header::REFERRER_POLICY, fixed("no-referrer"))),
        "policy" => drop(headers.append(header::CONTENT_SECURITY_POLICY, fixed("default-src 'self'"))),
        "no policy" => drop(headers.remove(header::CONTENT_SECURITY_POLICY)),
        "cache" => drop(headers.insert(header::CACHE_CONTROL, fixed("public, max-age=60"))),
        _ => {}
    }
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_a_proxy_gets_wrong() {
    let proxy = Proxy::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let app = Router::new().fallback(forward).with_state(proxy.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let database = Database::sqlite();
    let own = [("ENTREPOST_PUBLIC_URL", address.clone()), ("ENTREPOST_DEFAULT_INSTITUTION", "demo".to_owned())];
    let world = World::start_with(&database, Clock::system(), &own).await;
    *proxy.upstream.lock().unwrap() = world.port;
    let doctor = async || {
        let (settings, directory) = (world.settings.clone(), world.directory.path().to_owned());
        let run = tokio::task::spawn_blocking(move || {
            Command::new(env!("CARGO_BIN_EXE_entrepost"))
                .arg("doctor")
                .current_dir(directory)
                .env_clear()
                .envs(settings)
                .output()
                .unwrap()
        });
        String::from_utf8(run.await.unwrap().stdout).unwrap()
    };
    let said = doctor().await;
    assert!(said.contains(&format!("ok    {address} leads here")), "{said}");
    for (fault, words) in [
        ("host", "the proxy does not hand on the Host header"),
        ("origin", "it changes the Origin header, or takes it away"),
        ("referrer", "it sets a Referrer-Policy of its own"),
        ("second referrer", "it sets a Referrer-Policy of its own"),
        ("policy", "it sets a Content-Security-Policy beside ours"),
        ("no policy", "takes our headers away"),
        ("cache", "it changes Cache-Control"),
    ] {
        *proxy.fault.lock().unwrap() = fault;
        let said = doctor().await;
        let line = said.lines().find(|line| line.contains(words));
        assert!(line.is_some_and(|line| line.starts_with("FAIL")), "{fault}: {said}");
    }
    *proxy.upstream.lock().unwrap() = 1;
}
