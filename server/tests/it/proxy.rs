//! Misconfigured reverse proxies, as `entrepost doctor` reports them.

use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::common::{Browser, Captured, Database, World};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use server::clock::Clock;

/// The proxy's fault and its upstream.
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

/// Proxy and host problems are logged for the operator, rate limited.
#[tokio::test]
async fn what_is_warned_of_is_warned_of_once() {
    for (settings, header, words) in [
        (vec![], "x-forwarded-for", "a proxy sends x-forwarded-for, which is ignored"),
        (vec![], "forwarded", "a proxy sends forwarded, which is ignored"),
        (
            vec![("ENTREPOST_CLIENT_ADDRESS_HEADER", "x-forwarded-for".to_owned())],
            "x-forwarded-for",
            "x-forwarded-for (ENTREPOST_CLIENT_ADDRESS_HEADER) is missing or has no address",
        ),
        (
            vec![("ENTREPOST_CLIENT_ADDRESS_HEADER", "x-real-ip".to_owned())],
            "x-forwarded-for",
            "x-real-ip (ENTREPOST_CLIENT_ADDRESS_HEADER) is missing or has no address",
        ),
    ] {
        let (logged, _guard) = Captured::of_this_thread("info");
        let database = Database::sqlite();
        let world = World::start_with(&database, Clock::system(), &settings).await;
        let browser = Browser::new(&world);
        for _ in 0..5 {
            let asked = browser.http.get(world.url("demo", "/login")).header(header, "unknown");
            assert_eq!(asked.send().await.unwrap().status().as_u16(), 200);
        }
        assert_eq!(logged.count(words), 1, "{header}");
    }
    let (logged, _guard) = Captured::of_this_thread("info");
    let database = Database::sqlite();
    let clock = Clock::manual(Clock::system().now());
    let world = World::start_with(&database, clock.clone(), &[]).await;
    for minute in 1..=3 {
        for number in 0..5 {
            let asked = reqwest::Client::new().get(format!("http://127.0.0.1:{}/", world.port));
            let answer = asked.header("host", format!("mail{number}.school.example")).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 404);
        }
        assert_eq!(logged.count("there is no institution. Known: http://demo.localhost"), minute, "once a minute");
        clock.advance_ms(60_000);
    }
    assert_eq!(logged.count("the host “mail0.school.example”"), 3);
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
        ("host", "the proxy doesn't pass on the browser's Host header"),
        ("origin", "it changes or removes the Origin header"),
        ("referrer", "it sets a Referrer-Policy of its own"),
        ("second referrer", "it sets a Referrer-Policy of its own"),
        ("policy", "it adds its own Content-Security-Policy"),
        ("no policy", "removes our headers"),
        ("cache", "it changes Cache-Control"),
    ] {
        *proxy.fault.lock().unwrap() = fault;
        let said = doctor().await;
        let line = said.lines().find(|line| line.contains(words));
        assert!(line.is_some_and(|line| line.starts_with("FAIL")), "{fault}: {said}");
    }
    *proxy.upstream.lock().unwrap() = 1;
}
