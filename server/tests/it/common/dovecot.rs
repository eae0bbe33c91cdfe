//! Dovecot as a process of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use server::clock::Clock;

use super::World;

/// Dovecot's greeting.
pub const HOSTNAME: &str = "dovecot.demo.example";

/// A configured Dovecot in its own directory, not started: the sandbox needs its ports and CA first, and its configuration needs
/// the sandbox's ports.
pub struct Dovecot {
    program: PathBuf,
    directory: tempfile::TempDir,
    pub ca: PathBuf,
    pub imap: u16,
    pub submission: u16,
    running: Option<Child>,
}

impl Dovecot {
    pub fn prepare() -> Self {
        let (program, directory) = (program("dovecot"), tempfile::tempdir().unwrap());
        // Its processes run as other users.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let free: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
        let port = |at: usize| free[at].local_addr().unwrap().port();
        let (imap, submission) = (port(0), port(1));
        let ca = directory.path().join("ca.pem");
        let made = Self { program, directory, ca, imap, submission, running: None };
        made.make_certificate();
        made
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Makes the Maildir of an account.
    pub fn add(&self, account: &str) {
        let maildir = self.maildir(account);
        let folders = ["tmp", "new", "cur"].map(|folder| maildir.join(folder));
        for path in [self.directory.path().join(account), maildir].into_iter().chain(folders) {
            fs::create_dir(&path).unwrap();
            give(&path);
        }
    }

    pub fn maildir(&self, account: &str) -> PathBuf {
        self.directory.path().join(account).join("Maildir")
    }

    fn make_certificate(&self) {
        let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "CA of a test");
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate().unwrap();
        fs::write(&self.ca, ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(ca, ca_key);
        let mut server = CertificateParams::new(vec!["localhost".into()]).unwrap();
        server.use_authority_key_identifier_extension = true;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        fs::write(self.path("certificate.pem"), server.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }

    /// Starts it and waits for both ports.
    pub async fn start(&mut self, world: &World) {
        let tenant = world.sandbox.world().tenant_id;
        let introspection = format!(
            "introspection_mode = post\n\
             introspection_url = {}/{tenant}/oauth2/introspect\n\
             username_attribute = username\nactive_attribute = active\nactive_value = true\n",
            world.sandbox.authority()
        );
        fs::write(self.path("oauth2.conf"), introspection).unwrap();
        fs::write(self.path("dovecot.conf"), self.settings(world.sandbox.relay_addr().port())).unwrap();
        let (out, config) = (fs::File::create(self.path("out")).unwrap(), self.path("dovecot.conf"));
        let mut command = Command::new(&self.program);
        command.args(["-F", "-c", &config]).stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        self.running = Some(command.spawn().unwrap());
        for port in [self.imap, self.submission] {
            let mut tries = 0;
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tries += 1;
                let ended = self.running.as_mut().and_then(|child| child.try_wait().unwrap());
                assert!(
                    ended.is_none() && tries < 500,
                    "Dovecot does not listen ({ended:?}). It needs dovecot-imapd and dovecot-submissiond.\n{}",
                    self.said()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn settings(&self, relay: u16) -> String {
        let Account { uid, gid, .. } = Account::of_mail();
        let (imap, submission) = (self.imap, self.submission);
        let (run, log, home, oauth2) = (self.path("run"), self.path("log"), self.path("%u"), self.path("oauth2.conf"));
        let (certificate, key) = (self.path("certificate.pem"), self.path("key.pem"));
        // No guessing protection: failures are reported without delay.
        // Without root it can't change user or root directory.
        let (alone, chroot) = match Account::own() {
            Account { uid: 0, .. } => (String::new(), ""),
            Account { name, group, .. } => (
                format!(
                    "default_internal_user = {name}\ndefault_internal_group = {group}\ndefault_login_user = {name}\n"
                ),
                "chroot =",
            ),
        };
        format!(
            "\
base_dir = {run}
log_path = {log}
auth_verbose = yes
auth_failure_delay = 0
hostname = {HOSTNAME}
protocols = imap submission
listen = 127.0.0.1
{alone}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}

auth_mechanisms = xoauth2
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {oauth2}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}
}}

namespace inbox {{
  inbox = yes
  mailbox Sent {{
    auto = create
    special_use = \\Sent
  }}
  mailbox Trash {{
    auto = create
    special_use = \\Trash
  }}
  mailbox Junk {{
    auto = create
    special_use = \\Junk
  }}
  mailbox Drafts {{
    auto = create
    special_use = \\Drafts
  }}
}}

submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
submission_relay_trusted = no

service anvil {{
  {chroot}
  client_limit = 8192
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 8192
}}
service imap {{
  process_limit = 4096
}}
service imap-login {{
  {chroot}
  service_count = 0
  client_limit = 4096
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {imap}
    ssl = yes
  }}
}}
service submission-login {{
  {chroot}
  inet_listener submission {{
    port = {submission}
  }}
  inet_listener submissions {{
    port = 0
  }}
}}
"
        )
    }

    /// Its log, for failure messages.
    pub fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap_or_default();
        read("out") + &read("log")
    }

    /// IMAP sessions that are signed in.
    pub fn sessions(&self) -> usize {
        let who =
            Command::new(program("doveadm")).args(["-c", &self.path("dovecot.conf"), "who", "-1"]).output().unwrap();
        String::from_utf8_lossy(&who.stdout)
            .lines()
            .filter(|line| line.split_whitespace().nth(1) == Some("imap"))
            .count()
    }

    /// Delivers to the Maildir as a delivery agent does: atomically, with LF line ends.
    pub fn deliver(&self, account: &str, raw: &str) {
        let name = format!("{}.localhost", Clock::system().uuid());
        let (written, arrived) =
            (self.maildir(account).join("tmp").join(&name), self.maildir(account).join("new").join(&name));
        fs::write(&written, raw.replace("\r\n", "\n")).unwrap();
        give(&written);
        fs::rename(written, arrived).unwrap();
    }

    /// File names of seen messages that contain a text. The name contains the flags.
    pub fn files(&self, account: &str, folder: &str, holding: &str) -> Vec<String> {
        let Ok(found) = fs::read_dir(self.maildir(account).join(folder).join("cur")) else { return Vec::new() };
        let found = found.map(|entry| entry.unwrap());
        // The file may be moved after the directory was listed.
        let holds = |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(holding));
        found.filter(|entry| holds(entry.path())).map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() && self.running.is_some() {
            eprintln!("What Dovecot said:\n{}", self.said());
        }
        if let Some(mut child) = self.running.take() {
            // SIGTERM ends its child processes too.
            let stop = Command::new(program("doveadm")).args(["-c", &self.path("dovecot.conf"), "stop"]).status();
            if !stop.is_ok_and(|status| status.success()) {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}

/// A program of the Dovecot packages; sbin is often not on PATH.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(PathBuf::from));
    places.map(|place| place.join(name)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "`{name}` is missing: this test runs a real mail server. \
             On Debian: apt-get install dovecot-imapd dovecot-submissiond (`make setup` does that)"
        )
    })
}

/// An account of this machine.
struct Account {
    name: String,
    group: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account that runs the test.
    fn own() -> Self {
        let own = fs::metadata("/proc/self").unwrap();
        let named = |file: &str, id: u32| {
            let lines = fs::read_to_string(file).unwrap();
            let fields = lines.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let found = fields.into_iter().find(|fields| fields.get(2) == Some(&id.to_string().as_str()));
            found.unwrap_or_else(|| panic!("{id} has no name in {file}, and Dovecot wants one"))[0].to_owned()
        };
        let (uid, gid) = (own.uid(), own.gid());
        Self { name: named("/etc/passwd", uid), group: named("/etc/group", gid), uid, gid }
    }

    /// Owner of the mail: Dovecot refuses root.
    fn of_mail() -> Self {
        let own = Self::own();
        if own.uid != 0 {
            return own;
        }
        let lines = fs::read_to_string("/etc/passwd").unwrap();
        let mut fields = lines.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let mail = fields.find(|fields| fields[0] == "mail").expect("every Debian has a user called mail");
        Self { name: "mail".into(), group: "mail".into(), uid: mail[2].parse().unwrap(), gid: mail[3].parse().unwrap() }
    }
}

/// Gives a path to the mail's owner.
fn give(path: &Path) {
    let mail = Account::of_mail();
    chown(path, Some(mail.uid), Some(mail.gid)).unwrap();
}
