//! Test harness: a sandbox, a fresh database, the real router on a real socket.
#![allow(dead_code, reason = "every journey uses a part of it")]

pub mod dovecot;
pub mod program;
pub mod relay;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use app::model::{
    AttemptKind, ClientId, DeliveryId, EmailAddress, InstitutionId, MailboxId, MailboxState, Provider, RecipientKind,
    RegistrationId, Role, TenantId, Timestamp, UserId,
};
use sandbox::Sandbox;
use server::clock::Clock;
use server::config::{Config, Source, Throttle};
use server::message::addresses::Named;
use server::message::build::Written;
use server::outbox::{QueuedBody, body_place};
use server::service::{AddPerson, Services};
use server::store::{
    Author, Claim, ClaimRequest, Delivery, EmailSettings, InstitutionRow, MailboxKey, NewDelivery, NewMailbox,
    OutcomeRecord, Record, Registration, SendQueue, Slot, Store, Tx,
};
use server::vault::Secret;
use sqlx::Connection;

pub const PASSWORD: &str = "demo demo demo";

/// A database, deleted on drop.
pub struct Database {
    pub url: String,
    _directory: tempfile::TempDir,
}

impl Database {
    pub fn sqlite() -> Self {
        Self::sqlite_in(&std::env::temp_dir())
    }

    pub fn sqlite_in(place: &std::path::Path) -> Self {
        let directory = tempfile::tempdir_in(place).unwrap();
        Self { url: format!("sqlite://{}/entrepost.db", directory.path().display()), _directory: directory }
    }

    /// A new database on the server that `make rust-tests` starts.
    pub async fn postgres() -> Self {
        let server = std::env::var("ENTREPOST_TEST_POSTGRES")
            .expect("ENTREPOST_TEST_POSTGRES names the PostgreSQL server of the tests; `make rust-tests` starts one and sets it");
        Self::postgres_at(&server).await
    }

    /// A new database on a server.
    pub async fn postgres_at(server: &str) -> Self {
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

/// The session cookie of a new sign-in at `demo`, for raw requests.
pub async fn session_cookie(world: &World, address: &str) -> String {
    let fields = [("email", address), ("password", PASSWORD)];
    let answer = Browser::new(world).post(&world.url("demo", "/api/sign_in"), &fields).await;
    let given = answer.headers().get_all("set-cookie").into_iter().map(|value| value.to_str().unwrap());
    let mut cookies = given.filter_map(|value| value.split(';').next());
    cookies.find(|cookie| cookie.starts_with("entrepost_session")).unwrap().to_owned()
}

/// Claims the oldest due delivery of a queue.
pub async fn claim_one(
    store: &Store,
    queue: &SendQueue,
    owner: uuid::Uuid,
    until: Timestamp,
    limits: Throttle,
    now: Timestamp,
) -> Claim {
    let connection = Clock::system().uuid();
    let request = ClaimRequest { queue: queue.clone(), owner, connection, until, limits, now, most: 1 };
    store.claim_deliveries(request).await.unwrap()
}

/// Records the outcome of a delivery to one recipient. `false`: the lease was lost.
pub async fn record_of_one(
    store: &Store,
    institution: InstitutionId,
    delivery: DeliveryId,
    owner: uuid::Uuid,
    record: &Record,
    now: Timestamp,
) -> bool {
    let outcome = OutcomeRecord { institution, delivery, owner, record: record.clone(), pending: 1, now };
    store.record_outcome(outcome).await.unwrap()
}

/// The delivery of a claim of one.
pub fn delivery_of(claim: Claim) -> Delivery {
    let Claim::Deliveries { mut deliveries, .. } = claim else { panic!("nothing was due: {claim:?}") };
    assert_eq!(deliveries.len(), 1);
    deliveries.remove(0).delivery
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

/// Hands Microsoft's answer over; returns the next page.
pub async fn complete(browser: &Browser, world: &World, slug: &str, back: &str) -> String {
    let mut back = back.to_owned();
    loop {
        let parsed = url::Url::parse(&back).unwrap();
        let mut fields: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
        fields.push(("plain".into(), "1".into()));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let next = location(&browser.post(&world.url(slug, "/api/complete_sign_in"), &fields).await);
        if next.starts_with('/') {
            return next;
        }
        // The mailbox is asked for once the person is known: Microsoft answers without a page.
        back = location(&browser.get(&next).await);
        assert!(back.contains("state="), "{next}");
    }
}

/// Connects the person's own mailbox with a password session; returns the page of the attempt once it is finished.
pub async fn connects_with_a_password(world: &World, address: &str) -> String {
    let browser = Browser::new(world);
    browser.sign_in(world, "demo", address).await;
    let fields = [("email", address)];
    let authorize = location(&browser.post(&world.url("demo", "/api/configure_and_test"), &fields).await);
    let back = browser.at_microsoft(world, &authorize, address).await;
    let attempt = complete(&browser, world, "demo", &back).await;
    let page = async || browser.get(&world.url("demo", &attempt)).await.text().await.unwrap();
    world.until(async || page().await.contains("data-stage=\"finished\"")).await;
    page().await
}

/// The page without bidi isolation elements.
pub fn without_bdi(page: &str) -> String {
    page.replace("<bdi>", "").replace("</bdi>", "")
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
        let (client, tenant, secret, grant, oid) = {
            let mut world = self.sandbox.world();
            let oid = world.account_by_sign_in(address).unwrap().oid;
            let grant = world.grant(address, &self.services.config.clouds.own().hosts.scopes);
            (world.app.client_id, world.tenant_id, world.app.secret_value.clone(), grant, oid)
        };
        let mut tx = store.begin().await.unwrap();
        let settings = EmailSettings { provider: Provider::ExchangeOnline, ..EmailSettings::default() };
        store.put_email_settings(&mut tx, institution, &settings, clock.now()).await.unwrap();
        let id = RegistrationId(clock.uuid());
        let mut registration = Registration::new(id, ClientId(client), TenantId(tenant), clock.now());
        registration.verified_at = Some(clock.now());
        let place = server::app_credentials::secret_place(&registration);
        registration.secret_sealed = self.services.vault.seal(&place, &Secret::new(secret)).unwrap();
        store.put_registration(&mut tx, institution, Slot::Current, &registration, clock.now()).await.unwrap();
        let new = NewMailbox {
            id: MailboxId(clock.uuid()),
            user,
            kind: AttemptKind::Personal,
            address: address.to_owned(),
            sign_in_name: address.to_owned(),
            subject: format!("{oid}@{tenant}"),
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
        let (store, clock) = (&self.services.store, &self.clock);
        let institution = store.institution_by_slug("second").await.unwrap().unwrap().id;
        let (client, tenant, secret) = {
            let world = self.sandbox.world();
            (world.app.client_id, world.tenant_id, world.app.secret_value.clone())
        };
        let mut tx = store.begin().await.unwrap();
        let settings = EmailSettings { provider: Provider::ExchangeOnline, ..EmailSettings::default() };
        store.put_email_settings(&mut tx, institution, &settings, clock.now()).await.unwrap();
        let id = RegistrationId(clock.uuid());
        let mut registration = Registration::new(id, ClientId(client), TenantId(tenant), clock.now());
        registration.verified_at = Some(clock.now());
        let place = server::app_credentials::secret_place(&registration);
        registration.secret_sealed = self.services.vault.seal(&place, &Secret::new(secret)).unwrap();
        store.put_registration(&mut tx, institution, Slot::Current, &registration, clock.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Queues messages as the seat's user.
    pub async fn queue(&self, seat: &Seat, count: usize, to: &str, at: Timestamp) {
        let mut tx = self.services.store.begin().await.unwrap();
        for number in 0..count {
            let to = [(RecipientKind::To, to.to_owned())];
            self.queue_one(&mut tx, seat, &format!("Message {number}"), &to, at).await;
        }
        tx.commit().await.unwrap();
    }

    /// Queues one message.
    pub async fn queue_one(
        &self,
        tx: &mut Tx,
        seat: &Seat,
        subject: &str,
        recipients: &[(RecipientKind, String)],
        at: Timestamp,
    ) -> DeliveryId {
        let clock = &self.clock;
        let from = self.services.store.mailbox(seat.key()).await.unwrap().unwrap().address;
        let from = EmailAddress::parse(&from).unwrap();
        let to: Vec<Named> = recipients
            .iter()
            .map(|(_, address)| Named { name: None, address: EmailAddress::parse(address).unwrap() })
            .collect();
        let message_id = format!("<{}@demo.example>", clock.uuid());
        let written = Written {
            from: &from,
            to: &to,
            cc: &[],
            subject,
            text: "Text",
            at,
            message_id: &message_id,
            references: &[],
            files: Vec::new(),
        };
        let body = QueuedBody::of(written.build().unwrap());
        let new = NewDelivery {
            author: Author::Person(seat.user),
            message_id,
            from: from.to_string(),
            subject: subject.to_owned(),
            recipients: recipients.to_vec(),
            ..self.sealed(&body)
        };
        let queue = SendQueue::of_mailbox(seat.key());
        assert!(self.services.store.enqueue(tx, &queue, &new, at).await.unwrap());
        new.id
    }

    /// Queues a notification of the seat's institution to `admin@demo.example`.
    pub async fn queue_notification(&self, seat: &Seat) {
        self.queue_notification_at(seat, self.clock.now()).await;
    }

    /// One that is due later.
    pub async fn queue_notification_at(&self, seat: &Seat, at: Timestamp) {
        let to = "admin@demo.example".to_owned();
        let new = NewDelivery {
            subject: "News".into(),
            recipients: vec![(RecipientKind::To, to.clone())],
            ..self.sealed(&QueuedBody::Notification { to, text: "Something happened.".into() })
        };
        let mut tx = self.services.store.begin().await.unwrap();
        let queue = SendQueue::of_notifications(seat.institution);
        assert!(self.services.store.enqueue(&mut tx, &queue, &new, at).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// Makes the seat's mailbox the notification mailbox too.
    pub async fn notifications_leave_through(&self, seat: &Seat) {
        let (store, now) = (&self.services.store, self.clock.now());
        let settings = EmailSettings {
            provider: Provider::ExchangeOnline,
            custom_from: true,
            custom_from_address: "user@demo.example".into(),
            ..EmailSettings::default()
        };
        let mut tx = store.begin().await.unwrap();
        store.put_email_settings(&mut tx, seat.institution, &settings, now).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        store.set_notification_mailbox(&mut tx, seat.institution, Some(seat.mailbox)).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Number of messages in an inbox of the sandbox.
    pub fn arrived(&self, mailbox: &str) -> usize {
        let world = self.sandbox.world();
        world.mails().into_iter().filter(|(address, folder, _)| address == mailbox && folder == "INBOX").count()
    }

    /// A delivery with a body only.
    fn sealed(&self, body: &QueuedBody) -> NewDelivery {
        let id = DeliveryId(self.clock.uuid());
        let body = Secret::new(serde_json::to_string(body).unwrap());
        NewDelivery {
            id,
            author: Author::Entrepost,
            idempotency_key: id.to_string(),
            message_id: format!("<{id}@demo.example>"),
            from: String::new(),
            subject: String::new(),
            body_sealed: self.services.vault.seal(&body_place(id), &body).unwrap(),
            form_sealed: String::new(),
            recipients: Vec::new(),
        }
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

/// A user with a connected mailbox.
#[derive(Clone, Copy)]
pub struct Seat {
    pub institution: InstitutionId,
    pub user: UserId,
    pub mailbox: MailboxId,
}

impl Seat {
    pub fn key(&self) -> server::store::MailboxKey {
        server::store::MailboxKey { institution: self.institution, id: self.mailbox }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.services.stop.cancel();
    }
}

/// An HTTP client with cookies and forms; it doesn't follow redirects by itself.
pub struct Browser {
    pub http: reqwest::Client,
}

impl Browser {
    pub fn new(world: &World) -> Self {
        Self::at(world.port)
    }

    /// A client for a port.
    pub fn at(port: u16) -> Self {
        // `*.localhost` resolves to loopback in browsers; here it's configured.
        let address = SocketAddr::from(([127, 0, 0, 1], port));
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

    /// Posts a same-origin form.
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

    /// Posts a multipart form.
    pub async fn post_parts(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        files: &[(&str, &str, &[u8])],
    ) -> reqwest::Response {
        let origin = url::Url::parse(url).unwrap().origin().ascii_serialization();
        let mut form = reqwest::multipart::Form::new();
        for (name, value) in fields {
            form = form.text((*name).to_owned(), (*value).to_owned());
        }
        for (name, kind, bytes) in files {
            let part = reqwest::multipart::Part::bytes(bytes.to_vec()).file_name((*name).to_owned());
            form = form.part("files", part.mime_str(kind).unwrap());
        }
        self.http.post(url).header("accept", "text/html").header("origin", origin).multipart(form).send().await.unwrap()
    }

    pub async fn sign_in(&self, world: &World, slug: &str, address: &str) {
        let answer = self.post(&world.url(slug, "/api/sign_in"), &[("email", address), ("password", PASSWORD)]).await;
        assert_eq!(location(&answer), "/", "{address} signs in");
    }

    /// Signs in at the sandbox; returns the redirect URL.
    pub async fn at_microsoft(&self, world: &World, authorize: &str, name: &str) -> String {
        let page = self.get(authorize).await.text().await.unwrap();
        let between = |page: &str, from: &str| page.split(from).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let authorization = between(&page, "name=\"authorization\" value=\"");
        let tenant = world.sandbox.world().tenant_id;
        let base = url::Url::parse(authorize).unwrap().origin().ascii_serialization();
        let fields = [("authorization", authorization.as_str()), ("username", name), ("password", "sandbox")];
        let answer = self.post(&format!("{base}/{tenant}/login"), &fields).await;
        let to = location(&answer);
        if !to.is_empty() {
            return to;
        }
        let answer = self
            .post(
                &format!("{base}/{tenant}/consent"),
                &[("authorization", authorization.as_str()), ("answer", "accept")],
            )
            .await;
        location(&answer)
    }
}

/// Target of a redirect, or of a page that forwards to the authority.
pub fn location(answer: &reqwest::Response) -> String {
    let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let forwards = || Some(header("refresh")?.strip_prefix("0;url=")?.to_owned());
    header("location").or_else(forwards).unwrap_or_default()
}
