//! The state: one tenant, one registered app, its accounts and their mail.

use rsa::pkcs8::EncodePrivateKey;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine};
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::Error;
use crate::dns::{self, DnsRecord};
use crate::faults::Faults;

/// Newest messages kept per folder.
const FOLDER_LIMIT: usize = 500;

/// Holds what passes until a test lets it go on.
#[derive(Debug)]
pub struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { arrived: Semaphore::new(0), open: Semaphore::new(0) }
    }
}

impl Gate {
    pub(crate) async fn pass(&self) {
        self.arrived.add_permits(1);
        let _ = self.open.acquire().await;
    }

    /// Waits until something is held.
    pub async fn holds(&self) {
        if let Ok(one) = self.arrived.acquire().await {
            one.forget();
        }
    }

    /// Lets everything pass from now on.
    pub fn open(&self) {
        self.open.close();
    }
}

/// The registered app.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct App {
    /// Application (client) ID.
    pub client_id: Uuid,
    pub name: String,
    /// Secret ID, often pasted by mistake.
    pub secret_id: Uuid,
    pub secret_value: String,
    /// Registered redirect URIs of the Web platform.
    pub redirect_uris: Vec<String>,
    /// Whether an administrator consented for the organization.
    pub admin_consent: bool,
    /// Uploaded certificates (PEM).
    #[serde(default)]
    pub certificates: Vec<String>,
    #[serde(default)]
    pub federated: Vec<Federated>,
    /// New secrets that are not known everywhere yet: only the app's own request takes them.
    #[serde(default)]
    pub spreading_secrets: Vec<String>,
    /// Permissions of Microsoft Graph that an administrator consented to, such as `Mail.Send`.
    #[serde(default)]
    pub graph_scopes: Vec<String>,
}

/// A federated credential of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Federated {
    pub issuer: String,
    pub subject: String,
    pub audience: String,
}

/// A user, or a shared mailbox that can't sign in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Sign-in name (UPN).
    pub upn: String,
    /// Primary address.
    pub address: String,
    /// Further addresses of the mailbox.
    pub aliases: Vec<String>,
    /// Whether the `id_token` has an `email` claim.
    pub email_claim: bool,
    /// Display name.
    pub name: String,
    /// Password; `None` for a shared mailbox.
    pub password: Option<String>,
    /// Object ID.
    pub oid: Uuid,
    /// Other addresses it may send as.
    pub send_as: Vec<String>,
    /// Whether this user consented to the app.
    pub consented: bool,
    /// Folders by name.
    pub folders: BTreeMap<String, Folder>,
}

impl Account {
    fn owns(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        self.address.to_lowercase() == address || self.aliases.iter().any(|alias| alias.to_lowercase() == address)
    }

    /// Whether MAIL FROM and From may be this address.
    pub fn may_send_as(&self, address: &str) -> bool {
        self.owns(address) || self.send_as.iter().any(|other| other.eq_ignore_ascii_case(address))
    }
}

/// A folder of a mailbox.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Folder {
    /// UIDVALIDITY.
    pub validity: u32,
    /// UIDNEXT.
    pub next_uid: u32,
    /// Messages, oldest first.
    pub mails: Vec<Mail>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mail {
    pub uid: u32,
    /// Its id in the portal.
    pub id: Uuid,
    /// Seconds since the epoch.
    pub received_at: i64,
    /// IMAP flags, as written on the wire.
    pub flags: Vec<String>,
    /// The submitted bytes.
    #[serde(with = "base64_bytes")]
    pub raw: Vec<u8>,
}

mod base64_bytes {
    use super::{BASE64_STANDARD, Engine};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A refresh token and its grant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub upn: String,
    pub scopes: Vec<String>,
    pub revoked: bool,
}

/// An access token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Access {
    pub upn: String,
    pub scopes: Vec<String>,
    pub expires_at: i64,
}

/// A message that was not sent yet, or its trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub upn: String,
    pub mime: Vec<u8>,
    pub files: Vec<(String, String, Vec<u8>)>,
    pub sent: bool,
}

/// A file that arrives in parts.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub draft: String,
    pub name: String,
    pub content_type: String,
    pub size: usize,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct GraphState {
    pub(crate) drafts: HashMap<String, Draft>,
    pub(crate) uploads: HashMap<String, Upload>,
    pub(crate) open: HashMap<String, usize>,
    /// Most requests of one mailbox at one time.
    pub most_open: usize,
    /// Messages that were taken.
    pub sent: usize,
}

/// A pending request to the authorize endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Authorization {
    pub redirect_uri: String,
    pub state: String,
    pub nonce: String,
    pub scopes: Vec<String>,
    pub challenge: String,
    pub login_hint: String,
    /// The account that signed in.
    pub upn: Option<String>,
}

/// An authorization code.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub authorization: Authorization,
    pub upn: String,
    pub used: bool,
    pub expires_at: i64,
    /// The PKCE verifier it was redeemed with.
    pub verifier: String,
}

/// The whole state.
#[derive(Debug, Serialize, Deserialize)]
pub struct World {
    /// Directory (tenant) ID.
    pub tenant_id: Uuid,
    /// A domain verified in the tenant.
    pub tenant_domain: String,
    pub app: App,
    /// All accounts.
    pub accounts: Vec<Account>,
    /// Mail to addresses outside the tenant.
    pub outside: Folder,
    /// The switches.
    pub faults: Faults,
    /// DNS records by name, lower case without a final dot.
    #[serde(default = "demo_dns")]
    pub dns: BTreeMap<String, Vec<DnsRecord>>,
    /// Requests to the token endpoint, by grant type; read by tests.
    pub token_requests: BTreeMap<String, u64>,
    pub(crate) key_pem: String,
    pub(crate) grants: HashMap<String, Grant>,
    pub(crate) access: HashMap<String, Access>,
    #[serde(skip)]
    pub(crate) authorizations: HashMap<String, Authorization>,
    #[serde(skip)]
    pub(crate) codes: HashMap<String, Code>,
    /// Signed-in account by browser.
    #[serde(skip)]
    pub(crate) browsers: HashMap<String, Vec<String>>,
    /// By UPN: open SMTP sessions, highest concurrency, total.
    #[serde(skip)]
    pub smtp_sessions: HashMap<String, (usize, usize, usize)>,
    /// By UPN: open IMAP sessions, highest concurrency.
    #[serde(skip)]
    pub imap_sessions: HashMap<String, (usize, usize)>,
    /// SELECT commands, successful or not; read by tests.
    #[serde(skip)]
    pub imap_selects: u64,
    /// Incremented to end all IMAP sessions.
    #[serde(skip)]
    pub(crate) imap_generation: u64,
    /// SMTP closes a session that is idle for so many milliseconds; 0: never.
    #[serde(skip)]
    pub smtp_idle_ms: u64,
    /// Claims of id_tokens in place of the true ones.
    #[serde(skip)]
    pub claims: BTreeMap<String, String>,
    /// SMTP holds the reply to DATA.
    #[serde(skip)]
    pub data_gate: Option<Arc<Gate>>,
    /// Messages a mailbox may submit in a minute.
    #[serde(default = "messages_per_minute")]
    pub messages_per_minute: usize,
    /// Recent submissions by mailbox (seconds), for the limit per minute.
    #[serde(skip)]
    pub(crate) submissions: HashMap<String, Vec<i64>>,
    /// Recipients by mailbox and day (days since the epoch), for the limit of 10,000.
    #[serde(skip)]
    pub sent_today: HashMap<String, (i64, usize)>,
    /// Mailboxes whose authenticated SMTP is switched off.
    #[serde(default)]
    pub smtp_auth_off: std::collections::BTreeSet<String>,
    /// What Microsoft Graph holds and counts.
    #[serde(skip)]
    pub graph: GraphState,
    /// Where SMTP says that connections come from.
    #[serde(skip)]
    pub seen_from: Option<std::net::IpAddr>,
    /// How far the clock that checks assertions is ahead, in seconds: follows a test's.
    #[serde(skip)]
    pub clock_ahead: i64,
    #[serde(skip)]
    pub(crate) dirty: bool,
}

fn demo_dns() -> BTreeMap<String, Vec<DnsRecord>> {
    dns::healthy("demo.example").into_iter().collect()
}

/// Exchange Online's limit.
fn messages_per_minute() -> usize {
    30
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// A random name.
pub(crate) fn random(prefix: &str) -> String {
    let bytes: [u8; 32] = rand::rng().random();
    format!("{prefix}{}", base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// A secret as Entra makes them.
fn new_secret() -> String {
    format!("{}~{}", &random("")[..3], &random("")[..34])
}

impl App {
    pub(crate) fn renew_secret(&mut self) {
        (self.secret_id, self.secret_value) = (Uuid::new_v4(), new_secret());
    }
}

impl World {
    /// A healthy tenant with the demo's accounts. An empty `key_pem` generates a signing key.
    pub(crate) fn seeded(key_pem: String) -> Result<Self, Error> {
        let key_pem = if key_pem.is_empty() { make_key().map_err(Error::Keys)? } else { key_pem };
        let account = |upn: &str, address: &str, name: &str| Account {
            upn: upn.into(),
            address: address.into(),
            aliases: Vec::new(),
            email_claim: true,
            name: name.into(),
            password: Some("sandbox".into()),
            oid: Uuid::new_v4(),
            send_as: Vec::new(),
            consented: false,
            folders: ["INBOX", "Drafts", "Sent Items", "Junk Email", "Deleted Items", "Projects"]
                .into_iter()
                .map(|name| (name.to_owned(), Folder { validity: 1, next_uid: 1, mails: Vec::new() }))
                .collect(),
        };
        let mut admin = account("admin@demo.example", "admin@demo.example", "Demo Administrator");
        admin.send_as = vec!["noreply@demo.example".into()];
        let mut office = account("office.manager@demo.example", "office.manager@demo.example", "Office Manager");
        office.aliases = vec!["secretary@demo.example".into()];
        let mut noreply = account("noreply@demo.example", "noreply@demo.example", "No reply (shared mailbox)");
        noreply.password = None;
        Ok(Self {
            tenant_id: Uuid::new_v4(),
            tenant_domain: "demo.example".into(),
            app: App {
                client_id: Uuid::new_v4(),
                name: "Entrepost email".into(),
                secret_id: Uuid::new_v4(),
                secret_value: new_secret(),
                redirect_uris: Vec::new(),
                admin_consent: false,
                certificates: Vec::new(),
                federated: Vec::new(),
                spreading_secrets: Vec::new(),
                graph_scopes: Vec::new(),
            },
            accounts: vec![
                admin,
                account("user@demo.example", "user@demo.example", "Demo User"),
                // Schools often have sign-in names that differ from the address.
                account("t.teacher@demo-school.example", "teacher@demo.example", "Demo Teacher"),
                office,
                account("other@demo.example", "other@demo.example", "Other Person"),
                noreply,
            ],
            dns: demo_dns(),
            outside: Folder { validity: 1, next_uid: 1, mails: Vec::new() },
            faults: Faults::default(),
            token_requests: BTreeMap::new(),
            key_pem,
            grants: HashMap::new(),
            access: HashMap::new(),
            authorizations: HashMap::new(),
            codes: HashMap::new(),
            browsers: HashMap::new(),
            smtp_sessions: HashMap::new(),
            smtp_idle_ms: 0,
            claims: BTreeMap::new(),
            data_gate: None,
            imap_sessions: HashMap::new(),
            imap_selects: 0,
            imap_generation: 0,
            messages_per_minute: messages_per_minute(),
            submissions: HashMap::new(),
            sent_today: HashMap::new(),
            smtp_auth_off: std::collections::BTreeSet::new(),
            graph: GraphState::default(),
            seen_from: None,
            clock_ahead: 0,
            dirty: true,
        })
    }

    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("sandbox.json");
        let io = |source| Error::Io { what: format!("reading {}", path.display()), source };
        std::fs::create_dir_all(directory).map_err(io)?;
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::State { path: path.clone(), reason: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::seeded(String::new()),
            Err(error) => Err(io(error)),
        }
    }

    /// Writes to a temporary file, then renames: a crash keeps the old state.
    pub(crate) fn save_if_changed(&mut self, directory: &Path) -> std::io::Result<()> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        let (path, new) = (directory.join("sandbox.json"), directory.join("sandbox.json.new"));
        std::fs::write(&new, serde_json::to_vec(self).map_err(std::io::Error::other)?)?;
        std::fs::rename(new, path)
    }

    /// Requests saving the state.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// Registers a redirect URI, once.
    pub fn add_redirect_uri(&mut self, uri: &str) {
        if !self.app.redirect_uris.iter().any(|known| known == uri) {
            self.app.redirect_uris.push(uri.to_owned());
            self.dirty = true;
        }
    }

    /// A refresh token as a sign-in with these scopes returns.
    pub fn grant(&mut self, upn: &str, scopes: &str) -> String {
        let token = random("refresh.");
        let scopes = scopes.split(' ').map(ToOwned::to_owned).collect();
        self.grants.insert(token.clone(), Grant { upn: upn.to_owned(), scopes, revoked: false });
        self.dirty = true;
        token
    }

    /// Adds a user with a mailbox.
    pub fn add_account(&mut self, address: &str, name: &str) {
        let Some(like) = self.accounts.iter().find(|account| account.password.is_some()) else { return };
        let mut new = like.clone();
        new.folders.values_mut().for_each(|folder| folder.mails.clear());
        (new.upn, new.address, new.name) = (address.to_owned(), address.to_owned(), name.to_owned());
        (new.oid, new.aliases, new.send_as) = (Uuid::new_v4(), Vec::new(), Vec::new());
        self.accounts.push(new);
        self.dirty = true;
    }

    /// Revokes all grants.
    pub fn revoke_all(&mut self) {
        self.grants.values_mut().for_each(|grant| grant.revoked = true);
        self.dirty = true;
    }

    /// Finds an account by sign-in name (or address, as Entra does).
    pub fn account_by_sign_in(&self, name: &str) -> Option<&Account> {
        let name = name.trim().to_lowercase();
        self.accounts
            .iter()
            .find(|account| account.upn.to_lowercase() == name || account.address.to_lowercase() == name)
    }

    /// Finds an account by mailbox address.
    pub fn account_by_address(&self, address: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.owns(address))
    }

    pub(crate) fn account_mut(&mut self, upn: &str) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.upn.eq_ignore_ascii_case(upn))
    }

    /// Whether an address is in the tenant's domain.
    pub(crate) fn is_local(&self, address: &str) -> bool {
        address.rsplit_once('@').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(&self.tenant_domain))
    }

    /// Delivers to a folder of the address's mailbox; external mail is only listed in the portal.
    pub fn deliver(&mut self, address: &str, folder: &str, raw: &[u8]) {
        self.dirty = true;
        let name = folder;
        let upn = self.account_by_address(address).map(|account| account.upn.clone());
        let folder = match upn.and_then(|upn| self.account_mut(&upn)) {
            Some(account) => account.folders.entry(folder.to_owned()).or_insert(Folder {
                validity: 1,
                next_uid: 1,
                mails: Vec::new(),
            }),
            None => &mut self.outside,
        };
        folder.add(raw);
        // Copies of sent mail aren't unread.
        if name == "Sent Items"
            && let Some(mail) = folder.mails.last_mut()
        {
            mail.flags.push("\\Seen".into());
        }
    }

    /// Expires all access tokens.
    pub fn expire_tokens(&mut self) {
        self.access.clear();
        self.dirty = true;
    }

    /// Ends all IMAP sessions, as expired tokens do.
    pub fn end_imap_sessions(&mut self) {
        self.imap_generation += 1;
    }

    /// Recreates a mailbox's folders: new UIDVALIDITY and UIDs.
    pub fn renumber(&mut self, address: &str) {
        self.dirty = true;
        let upn = self.account_by_address(address).map(|account| account.upn.clone());
        let Some(account) = upn.and_then(|upn| self.account_mut(&upn)) else { return };
        for folder in account.folders.values_mut() {
            folder.validity += 1;
            for (mail, uid) in folder.mails.iter_mut().zip(1001..) {
                mail.uid = uid;
            }
            folder.next_uid = folder.mails.last().map_or(1001, |mail| mail.uid + 1);
        }
    }

    /// All messages with mailbox and folder, newest first.
    pub fn mails(&self) -> Vec<(String, String, &Mail)> {
        let inside = self.accounts.iter().flat_map(|account| {
            account.folders.iter().flat_map(|(name, folder)| {
                folder.mails.iter().map(|mail| (account.address.clone(), name.clone(), mail))
            })
        });
        let outside = self.outside.mails.iter().map(|mail| ("(outside)".to_owned(), "INBOX".to_owned(), mail));
        let mut all: Vec<_> = inside.chain(outside).collect();
        all.sort_by_key(|(_, _, mail)| std::cmp::Reverse(mail.received_at));
        all
    }
}

impl Folder {
    fn add(&mut self, raw: &[u8]) {
        let uid = self.next_uid;
        self.next_uid += 1;
        self.mails.push(Mail { uid, id: Uuid::new_v4(), received_at: now(), flags: Vec::new(), raw: raw.to_vec() });
        if self.mails.len() > FOLDER_LIMIT {
            self.mails.remove(0);
        }
    }
}

impl World {
    /// All known tokens and codes, which must not be found elsewhere.
    pub fn every_token(&self) -> Vec<String> {
        let proofs = self.codes.values().flat_map(|code| [&code.verifier, &code.authorization.nonce]);
        let tokens = self.grants.keys().chain(self.access.keys()).chain(self.codes.keys());
        tokens.chain(proofs).filter(|text| !text.is_empty()).cloned().collect()
    }
}

fn make_key() -> Result<String, String> {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).map_err(|error| error.to_string())?;
    key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).map(|pem| pem.to_string()).map_err(|error| error.to_string())
}
