//! Test harness: a sandbox, a fresh database, the real router on a real socket.
#![allow(dead_code, unused_imports, reason = "every journey uses a part of it")]

mod browser;
mod database;
pub mod dovecot;
pub mod program;
mod queue;
pub mod relay;

pub use browser::{Browser, complete, connects_with_a_password, location, session_cookie};
pub use database::Database;
pub use queue::{claim_one, delivery_of, record_of_one};

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use app::model::{
    AttemptKind, ClientId, EmailAddress, InstitutionId, MailboxId, MailboxState, Provider, RegistrationId, Role,
    TenantId, UserId,
};
use sandbox::Sandbox;
use server::clock::Clock;
use server::config::{Config, Source};
use server::service::{AddPerson, Services};
use server::store::{EmailSettings, InstitutionRow, MailboxKey, NewMailbox, Registration, Slot, Tx};
use server::vault::Secret;

pub const PASSWORD: &str = "demo demo demo";

/// Runs an ignored test of this program as a child process, optionally through another program.
pub fn alone(test: &str, under: &[&str]) {
    let this = std::env::current_exe().unwrap();
    let mut command = match under {
        [] => std::process::Command::new(this),
        [program, arguments @ ..] => {
            let mut command = std::process::Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    let run = command.args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

/// Resident memory of this process, in bytes.
pub fn memory() -> u64 {
    memory_of(std::process::id())
}

/// Resident memory of a process, in bytes.
pub fn memory_of(pid: u32) -> u64 {
    let statistics = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statistics.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Captured log output.
#[derive(Clone, Default)]
pub struct Captured(pub Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// Number of lines that contain a text.
    pub fn count(&self, what: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(what).count()
    }

    /// Captures this thread's log: complete in a single-threaded test.
    pub fn of_this_thread(level: &str) -> (Self, tracing::subscriber::DefaultGuard) {
        let captured = Self::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter(server::logging::filter(level).unwrap())
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (captured, guard)
    }
}

/// The page without bidi isolation elements.
pub fn without_bdi(page: &str) -> String {
    without_comments(page).replace("<bdi>", "").replace("</bdi>", "")
}

/// The page without the comments that tell texts apart.
pub fn without_comments(page: &str) -> String {
    page.replace("<!>", "")
}

/// TLS for `localhost`, and its certificate as PEM.
pub fn tls_for_localhost() -> (tokio_rustls::TlsAcceptor, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.try_into().unwrap())
        .unwrap();
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), made.cert.pem())
}

/// A running Entrepost and its sandbox.
pub struct World {
    pub sandbox: Sandbox,
    pub services: Arc<Services>,
    pub clock: Clock,
    pub port: u16,
    pub directory: tempfile::TempDir,
    pub settings: Vec<(&'static str, String)>,
}

impl World {
    pub async fn start(database: &Database) -> Self {
        Self::start_with(database, Clock::system(), &[]).await
    }

    /// With a test clock and changed settings.
    pub async fn start_with(database: &Database, clock: Clock, more: &[(&'static str, String)]) -> Self {
        let sandbox = Sandbox::start(sandbox::Config::ephemeral()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        // Beside the sandbox's own, those that a test needs.
        let others = more.iter().filter(|(name, _)| *name == "ENTREPOST_EXTRA_CA_FILE");
        let others: String = others.map(|(_, path)| std::fs::read_to_string(path).unwrap()).collect();
        std::fs::write(&ca, format!("{}\n{others}", sandbox.ca_pem())).unwrap();
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut settings = vec![
            ("ENTREPOST_PUBLIC_URL", format!("http://{{institution}}.localhost:{port}")),
            ("ENTREPOST_DATABASE_URL", database.url.clone()),
            ("ENTREPOST_MASTER_KEY_FILE", directory.path().join("master.key").display().to_string()),
            ("ENTREPOST_MICROSOFT_AUTHORITY", sandbox.authority().to_owned()),
            ("ENTREPOST_MICROSOFT_SMTP", format!("localhost:{}", sandbox.smtp_addr().port())),
            ("ENTREPOST_MICROSOFT_IMAP", format!("localhost:{}", sandbox.imap_addr().port())),
            ("ENTREPOST_MICROSOFT_GRAPH", sandbox.graph().to_owned()),
            ("ENTREPOST_SYSTEM_SMTP_URL", format!("smtp://localhost:{}", sandbox.relay_addr().port())),
            ("ENTREPOST_EXTRA_CA_FILE", ca.display().to_string()),
            ("ENTREPOST_DNS_SERVERS", sandbox.dns_addr().to_string()),
        ];
        let more = more.iter().filter(|(name, _)| *name != "ENTREPOST_EXTRA_CA_FILE");
        settings.retain(|(name, _)| !more.clone().any(|(given, _)| given == name));
        settings.extend(more.cloned());
        let source = Source::of(&settings);
        let services = server::wiring::build(Config::read(&source).unwrap(), clock.clone()).await.unwrap();
        for slug in ["demo", "second"] {
            let row =
                InstitutionRow { id: InstitutionId(clock.uuid()), slug: slug.into(), name: format!("{slug} school") };
            let mut tx = services.store.begin().await.unwrap();
            services.store.add_institution(&mut tx, &row, clock.now()).await.unwrap();
            tx.commit().await.unwrap();
            for (address, role) in [("admin@demo.example", Role::Administrator), ("user@demo.example", Role::User)] {
                let address = EmailAddress::parse(address).unwrap();
                let person = AddPerson {
                    institution: row.id,
                    address: &address,
                    name: "",
                    role,
                    password: Some(PASSWORD),
                    announce: None,
                };
                services.add_person(&person).await.unwrap();
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
        Self { sandbox, services, clock, port, directory, settings }
    }

    /// Creates a `demo` user with a sandbox mailbox, and connects it.
    pub async fn newcomer(&self, address: &str) -> Seat {
        let institution = self.services.store.institution_by_slug("demo").await.unwrap().unwrap().id;
        let parsed = EmailAddress::parse(address).unwrap();
        let person = AddPerson {
            institution,
            address: &parsed,
            name: "",
            role: Role::User,
            password: Some(PASSWORD),
            announce: None,
        };
        self.services.add_person(&person).await.unwrap();
        self.sandbox.world().add_account(address, address);
        self.seat(address).await
    }

    /// Another replica: services on the same database and key, without HTTP.
    pub async fn replica(&self) -> Arc<Services> {
        self.replica_at(self.clock.clone()).await
    }

    /// One whose clock is another.
    pub async fn replica_at(&self, clock: Clock) -> Arc<Services> {
        let config = Config::read(&Source::of(&self.settings)).unwrap();
        server::wiring::build(config, clock).await.unwrap()
    }

    /// Number of refresh requests to the token endpoint.
    pub fn refreshes(&self) -> u64 {
        self.sandbox.world().token_requests.get("refresh_token").copied().unwrap_or_default()
    }

    /// A `demo` user with a connected mailbox, stored directly.
    pub async fn seat(&self, address: &str) -> Seat {
        let (store, clock) = (&self.services.store, &self.clock);
        let institution = store.institution_by_slug("demo").await.unwrap().unwrap().id;
        let user = store.user_by_address(institution, address).await.unwrap().unwrap().id;
        let (grant, oid) = {
            let mut world = self.sandbox.world();
            let oid = world.account_by_sign_in(address).unwrap().oid;
            (world.grant(address, &self.services.config.clouds.own().hosts.scopes), oid)
        };
        let mut tx = store.begin().await.unwrap();
        let registration = self.put_app(&mut tx, institution).await;
        let new = NewMailbox {
            id: MailboxId(clock.uuid()),
            user,
            kind: AttemptKind::Personal,
            address: address.to_owned(),
            sign_in_name: address.to_owned(),
            subject: format!("{oid}@{}", registration.tenant_id),
            app: registration.app(),
            refresh_token_sealed: String::new(),
            next_test_at: clock.now().plus_ms(3_600_000),
        };
        let mailbox = store.put_mailbox(&mut tx, institution, &new, clock.now()).await.unwrap().unwrap();
        let sealed =
            self.services.vault.seal(&server::access_tokens::grant_place(mailbox), &Secret::new(grant)).unwrap();
        store.replace_grant(&mut tx, MailboxKey { institution, id: mailbox }, &sealed).await.unwrap();
        tx.commit().await.unwrap();
        store
            .set_mailbox_state(
                MailboxKey { institution, id: mailbox },
                MailboxState::Connected,
                None,
                None,
                clock.now(),
            )
            .await
            .unwrap();
        self.services.tokens.forget(mailbox);
        Seat { institution, user, mailbox }
    }

    /// Institution `second` uses the same app of the same tenant as `demo`.
    pub async fn second_has_the_same_app(&self) {
        let store = &self.services.store;
        let institution = store.institution_by_slug("second").await.unwrap().unwrap().id;
        let mut tx = store.begin().await.unwrap();
        self.put_app(&mut tx, institution).await;
        tx.commit().await.unwrap();
    }

    /// Uses the sandbox's app for an institution, verified.
    async fn put_app(&self, tx: &mut Tx, institution: InstitutionId) -> Registration {
        let (store, now) = (&self.services.store, self.clock.now());
        let settings = EmailSettings { provider: Provider::ExchangeOnline, ..EmailSettings::default() };
        store.put_email_settings(tx, institution, &settings, now).await.unwrap();
        let AppValues { client_id, tenant_id, secret } = self.app_values();
        let (client, tenant) = (ClientId(client_id.parse().unwrap()), TenantId(tenant_id.parse().unwrap()));
        let mut registration = Registration::new(RegistrationId(self.clock.uuid()), client, tenant, now);
        registration.verified_at = Some(now);
        let place = server::app_credentials::secret_place(&registration);
        registration.secret_sealed = self.services.vault.seal(&place, &Secret::new(secret)).unwrap();
        store.put_registration(tx, institution, Slot::Current, &registration, now).await.unwrap();
        registration
    }

    /// What an administrator pastes, as the sandbox accepts it now.
    pub fn app_values(&self) -> AppValues {
        let world = self.sandbox.world();
        AppValues {
            client_id: world.app.client_id.to_string(),
            tenant_id: world.tenant_id.to_string(),
            secret: world.app.secret_value.clone(),
        }
    }

    /// Number of messages in an inbox of the sandbox.
    pub fn arrived(&self, mailbox: &str) -> usize {
        let world = self.sandbox.world();
        world.mails().into_iter().filter(|(address, folder, _)| address == mailbox && folder == "INBOX").count()
    }

    /// Waits for a condition.
    pub async fn until(&self, is_so: impl AsyncFn() -> bool) {
        self.until_longer(std::time::Duration::from_secs(60), is_so).await;
    }

    /// The same with a given timeout.
    pub async fn until_longer(&self, limit: std::time::Duration, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(limit, waiting).await.expect("it never became so");
    }

    pub fn url(&self, slug: &str, path: &str) -> String {
        format!("http://{slug}.localhost:{}{path}", self.port)
    }
}

/// The three values of an app registration.
pub struct AppValues {
    pub client_id: String,
    pub tenant_id: String,
    pub secret: String,
}

impl AppValues {
    /// The fields of the form that saves them.
    pub fn fields(&self) -> [(&'static str, &str); 5] {
        [
            ("provider", "exchange_online"),
            ("client_id", &self.client_id),
            ("tenant_id", &self.tenant_id),
            ("client_secret", &self.secret),
            ("custom_from", "no"),
        ]
    }
}

/// A user with a connected mailbox.
#[derive(Clone, Copy)]
pub struct Seat {
    pub institution: InstitutionId,
    pub user: UserId,
    pub mailbox: MailboxId,
}

impl Seat {
    pub fn key(&self) -> MailboxKey {
        MailboxKey { institution: self.institution, id: self.mailbox }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.services.stop.cancel();
    }
}
