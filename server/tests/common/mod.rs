//! One harness: a sandbox, a fresh database, the real router on a real socket.
#![allow(dead_code, reason = "every journey uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;

use app::model::{EmailAddress, InstitutionId, Role};
use sandbox::Sandbox;
use server::clock::Clock;
use server::config::{Config, Source};
use server::service::{AddPerson, Services};
use server::store::InstitutionRow;
use sqlx::Connection;

pub const PASSWORD: &str = "demo demo demo";

/// A database of its own, gone with the value.
pub struct Database {
    pub url: String,
    _directory: tempfile::TempDir,
}

impl Database {
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite://{}/entrepost.db", directory.path().display()), _directory: directory }
    }

    /// A new database on the server that `make rust-tests` starts.
    pub async fn postgres() -> Self {
        let server = std::env::var("ENTREPOST_TEST_POSTGRES")
            .expect("ENTREPOST_TEST_POSTGRES names the PostgreSQL server of the tests; `make rust-tests` starts one and sets it");
        sqlx::any::install_default_drivers();
        let name = format!("test_{}", Clock::system().uuid().simple());
        let mut admin = sqlx::AnyConnection::connect(&format!("{server}/postgres")).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
        Self { url: format!("{server}/{name}"), _directory: tempfile::tempdir().unwrap() }
    }

    pub async fn both() -> Vec<Self> {
        vec![Self::sqlite(), Self::postgres().await]
    }
}

/// Entrepost and its sandbox, running.
pub struct World {
    pub sandbox: Sandbox,
    pub services: Arc<Services>,
    pub clock: Clock,
    pub port: u16,
    pub directory: tempfile::TempDir,
}

impl World {
    pub async fn start(database: &Database) -> Self {
        let sandbox = Sandbox::start(sandbox::Config::ephemeral()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, sandbox.ca_pem()).unwrap();
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let source = Source::of(&[
            ("ENTREPOST_PUBLIC_URL", format!("http://{{institution}}.localhost:{port}")),
            ("ENTREPOST_DATABASE_URL", database.url.clone()),
            ("ENTREPOST_MASTER_KEY_FILE", directory.path().join("master.key").display().to_string()),
            ("ENTREPOST_MICROSOFT_AUTHORITY", sandbox.authority().to_owned()),
            ("ENTREPOST_MICROSOFT_SMTP", format!("localhost:{}", sandbox.smtp_addr().port())),
            ("ENTREPOST_MICROSOFT_IMAP", format!("localhost:{}", sandbox.imap_addr().port())),
            ("ENTREPOST_SYSTEM_SMTP_URL", format!("smtp://localhost:{}", sandbox.relay_addr().port())),
            ("ENTREPOST_EXTRA_CA_FILE", ca.display().to_string()),
        ]);
        let clock = Clock::system();
        let services = server::wiring::build(Config::read(&source).unwrap(), clock.clone()).await.unwrap();
        for slug in ["demo", "second"] {
            let row =
                InstitutionRow { id: InstitutionId(clock.uuid()), slug: slug.into(), name: format!("{slug} school") };
            let mut tx = services.store.begin().await.unwrap();
            services.store.add_institution(&mut tx, &row, clock.now()).await.unwrap();
            tx.commit().await.unwrap();
            for (address, role) in [("admin@demo.example", Role::Administrator), ("user@demo.example", Role::User)] {
                let address = EmailAddress::parse(address).unwrap();
                let person = AddPerson { institution: row.id, address: &address, role, password: Some(PASSWORD) };
                services.add_person(&person).await.unwrap().unwrap();
            }
            sandbox.world().add_redirect_uri(&services.redirect_uri(&services.config.public_url.of(slug)));
        }
        std::fs::create_dir_all(directory.path().join("site/pkg")).unwrap();
        let site = leptos::config::LeptosOptions::builder()
            .output_name("entrepost")
            .site_root(directory.path().join("site").display().to_string())
            .build();
        let router = server::http::router(Arc::clone(&services), site);
        let serving = Arc::clone(&services);
        tokio::spawn(async move { server::http::serve(listener, router, &serving).await });
        Self { sandbox, services, clock, port, directory }
    }

    pub fn url(&self, slug: &str, path: &str) -> String {
        format!("http://{slug}.localhost:{}{path}", self.port)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.services.stop.cancel();
    }
}

/// A browser without JavaScript: cookies, forms, redirects that are followed one by one.
pub struct Browser {
    pub http: reqwest::Client,
}

impl Browser {
    pub fn new(world: &World) -> Self {
        // `*.localhost` resolves to loopback in browsers; here it is said explicitly.
        let address = SocketAddr::from(([127, 0, 0, 1], world.port));
        let http = reqwest::Client::builder()
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .resolve("demo.localhost", address)
            .resolve("second.localhost", address)
            .resolve("nobody.localhost", address)
            .build()
            .unwrap();
        Self { http }
    }

    pub async fn get(&self, url: &str) -> reqwest::Response {
        self.http.get(url).header("accept", "text/html").send().await.unwrap()
    }

    /// Posts a form as a page of the same origin does.
    pub async fn post(&self, url: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let origin = url::Url::parse(url).unwrap().origin().ascii_serialization();
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.http
            .post(url)
            .header("accept", "text/html")
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    pub async fn sign_in(&self, world: &World, slug: &str, address: &str) {
        let answer = self.post(&world.url(slug, "/api/sign_in"), &[("email", address), ("password", PASSWORD)]).await;
        assert_eq!(location(&answer), "/", "{address} signs in");
    }
}

pub fn location(answer: &reqwest::Response) -> String {
    answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}
