//! The relay of a world, and a client that says exactly what it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app::model::{DeviceForm, DeviceId, InstitutionId, LogPlace, RelayEvent};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use server::clock::Clock;
use server::relay::Relay;
use server::service::RelayBound;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::{Browser, Database, World};

/// A world with a relay; `user@demo.example` has a mailbox.
pub struct RelayWorld {
    pub world: World,
    pub bound: RelayBound,
    pub institution: InstitutionId,
    pub admin: Browser,
}

/// A device with its password.
#[derive(Debug, Clone)]
pub struct Given {
    pub id: DeviceId,
    pub login: String,
    pub password: String,
}

impl std::ops::Deref for RelayWorld {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl RelayWorld {
    pub async fn start(database: &Database) -> Self {
        Self::start_with(database, Clock::system(), &[]).await
    }

    pub async fn start_with(database: &Database, clock: Clock, more: &[(&'static str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(file("relay.pem"), made.cert.pem()).unwrap();
        std::fs::write(file("relay.key"), made.signing_key.serialize_pem()).unwrap();
        let any = "127.0.0.1:0".to_owned();
        let mut settings = vec![
            ("ENTREPOST_RELAY_LISTEN", any.clone()),
            ("ENTREPOST_RELAY_TLS_LISTEN", any.clone()),
            ("ENTREPOST_RELAY_PLAIN_LISTEN", any),
            ("ENTREPOST_RELAY_CERTIFICATE_FILE", file("relay.pem")),
            ("ENTREPOST_RELAY_KEY_FILE", file("relay.key")),
        ];
        settings.retain(|(name, _)| !more.iter().any(|(given, _)| given == name));
        settings.extend(more.iter().filter(|(_, value)| !value.is_empty()).cloned());
        let world = World::start_with(database, clock, &settings).await;
        let relay = Relay::bind(&world.services).await.unwrap().unwrap();
        let bound = relay.addresses();
        tokio::spawn(relay.run());
        let seat = world.seat("user@demo.example").await;
        let admin = Browser::new(&world);
        admin.sign_in(&world, "demo", "admin@demo.example").await;
        // The files are read at the start.
        drop(directory);
        Self { institution: seat.institution, world, bound, admin }
    }

    /// Adds a device as an administrator does. The fields replace those of an ordinary one.
    pub async fn device(&self, name: &str, more: &[(&str, &str)]) -> Given {
        let mut fields = vec![("name", name), ("kind", "device"), ("mailbox", "user@demo.example")];
        fields.retain(|(name, _)| !more.iter().any(|(given, _)| given == name));
        fields.extend_from_slice(more);
        let answer = self.admin.post(&self.url("demo", "/api/save_device"), &fields).await;
        let path = super::location(&answer);
        let page = super::without_bdi(&self.admin.get(&self.url("demo", &path)).await.text().await.unwrap());
        let said = page.split("<main").nth(1).unwrap_or_default();
        let id = path.rsplit('/').next().unwrap().parse().unwrap_or_else(|_| panic!("{path}: {said}"));
        let device = self.services.store.device(self.institution, id).await.unwrap().unwrap();
        let password = page.split("<code>").nth(1).and_then(|rest| rest.split("</code>").next()).unwrap_or_default();
        let password = if device.settings.by_address { "" } else { password };
        assert!(device.settings.by_address || password.len() == 20, "{page}");
        Given { id, login: format!("{}@demo", device.login), password: password.to_owned() }
    }

    /// A form of the device's page.
    pub async fn press(&self, device: &Given, action: &str, more: &[(&str, &str)]) {
        let id = device.id.to_string();
        let mut fields = vec![("device", id.as_str())];
        fields.extend_from_slice(more);
        self.admin.post(&self.url("demo", &format!("/api/{action}")), &fields).await;
    }

    pub async fn page(&self, device: &Given) -> String {
        let page = self.admin.get(&self.url("demo", &format!("/institution/programs/{}", device.id))).await;
        assert_eq!(page.status(), 200);
        super::without_bdi(&page.text().await.unwrap())
    }

    /// What the log says of a device, or of no one, the oldest first.
    pub async fn log(&self, device: Option<&Given>) -> Vec<RelayEvent> {
        let device = device.map(|device| device.id);
        let lines = self.services.store.relay_log(self.institution, device, LogPlace::NEWEST, 500).await.unwrap();
        lines.into_iter().rev().map(|line| line.event).collect()
    }

    /// Waits for an event.
    pub async fn logged(&self, device: Option<&Given>, is: impl Fn(&RelayEvent) -> bool) {
        self.until(async || self.log(device).await.iter().any(&is)).await;
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.bound.starttls.unwrap()).await
    }

    /// Secured by STARTTLS, and signed in.
    pub async fn signed_in(&self, device: &Given) -> Client {
        let mut client = self.client().await;
        client.start_tls().await;
        client.sign_in(&device.login, &device.password).await;
        client
    }

    /// Messages in an inbox of the sandbox.
    pub fn inbox(&self, address: &str) -> Vec<String> {
        let world = self.sandbox.world();
        let mails = world.mails().into_iter().filter(|(owner, folder, _)| owner == address && folder == "INBOX");
        mails.map(|(_, _, mail)| String::from_utf8_lossy(&mail.raw).into_owned()).collect()
    }

    /// Sends what is due.
    pub async fn deliver(&self) {
        while self.services.outbox.run_once().await.unwrap() > 0 {}
    }
}

/// An SMTP client that hides nothing.
pub struct Client {
    stream: Either<TcpStream, TlsStream<TcpStream>>,
    read: Vec<u8>,
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS that takes any certificate.
pub fn any_certificate() -> tokio_rustls::TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

impl Client {
    /// Connects, and takes the greeting.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::silent(address).await;
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// Connects without a word.
    pub async fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Either::Left(stream), read: Vec::new() }
    }

    pub async fn connect_tls(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = any_certificate().connect(name, stream).await.unwrap();
        let mut client = Self { stream: Either::Right(stream), read: Vec::new() };
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// For a server that may be gone.
    pub async fn try_connect_tls(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = any_certificate().connect(name, stream).await.ok()?;
        let mut client = Self { stream: Either::Right(stream), read: Vec::new() };
        client.reply().await.starts_with("220 ").then_some(client)
    }

    pub async fn try_say(&mut self, line: &str) -> String {
        self.try_say_bytes(format!("{line}\r\n").as_bytes()).await
    }

    pub async fn try_say_bytes(&mut self, bytes: &[u8]) -> String {
        self.try_write(bytes).await;
        self.reply().await
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The server may close in between.
    pub async fn try_write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// A reply of one or more lines; what came before the connection closed, if it does.
    pub async fn reply(&mut self) -> String {
        let read = async {
            loop {
                let text = String::from_utf8_lossy(&self.read).into_owned();
                let mut end = 0;
                for line in text.split_inclusive("\r\n") {
                    end += line.len();
                    if line.ends_with("\r\n") && line.as_bytes().get(3) != Some(&b'-') {
                        self.read.drain(..end);
                        return text[..end].trim_end().to_owned();
                    }
                }
                match self.stream.read_buf(&mut self.read).await {
                    Ok(0) | Err(_) => return String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned(),
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("a reply")
    }

    pub async fn say(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// Says a line, and expects the beginning of its reply.
    pub async fn expect(&mut self, line: &str, reply: &str) {
        let said = self.say(line).await;
        assert!(said.starts_with(reply), "{line:?}: {said:?}, not {reply:?}");
    }

    pub async fn start_tls(&mut self) {
        self.expect("EHLO scanner", "250").await;
        self.expect("STARTTLS", "220").await;
        self.secure().await;
        self.expect("EHLO scanner", "250").await;
    }

    /// The handshake alone.
    pub async fn secure(&mut self) {
        let spare = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let placeholder = TcpStream::connect(spare.local_addr().unwrap()).await.unwrap();
        let Either::Left(tcp) = std::mem::replace(&mut self.stream, Either::Left(placeholder)) else {
            panic!("secured already")
        };
        let name = ServerName::try_from("localhost").unwrap();
        self.stream = Either::Right(any_certificate().connect(name, tcp).await.unwrap());
    }

    pub async fn sign_in(&mut self, user_name: &str, password: &str) {
        self.expect(&format!("AUTH PLAIN {}", plain(user_name, password)), "235").await;
    }

    /// Sends a message, and returns the answer to its end.
    pub async fn send(&mut self, to: &[&str], content: &str) -> String {
        self.expect("MAIL FROM:<scanner@old.example>", "250").await;
        for to in to {
            self.expect(&format!("RCPT TO:<{to}>"), "250").await;
        }
        self.expect("DATA", "354").await;
        self.write(content.as_bytes()).await;
        self.write(b"\r\n.\r\n").await;
        self.reply().await
    }

    /// Goes without a word, as after a cable was pulled.
    pub fn reset(self) {
        let tcp = match self.stream {
            Either::Left(tcp) => tcp,
            Either::Right(tls) => tls.into_inner().0,
        };
        tcp.set_zero_linger().unwrap();
    }

    /// Whether the server closed.
    pub async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), self.stream.read_to_end(&mut rest)).await;
        matches!(read, Ok(Ok(_) | Err(_)))
    }
}

/// The message of AUTH PLAIN.
pub fn plain(user_name: &str, password: &str) -> String {
    base64(&format!("\0{user_name}\0{password}"))
}

pub fn base64(text: &str) -> String {
    use ::base64::prelude::{BASE64_STANDARD, Engine};
    BASE64_STANDARD.encode(text)
}

/// A form, for a device that is stored without the page.
pub fn form(name: &str, mailbox: &str) -> DeviceForm {
    DeviceForm { name: name.into(), mailbox: mailbox.into(), ..DeviceForm::default() }
}
