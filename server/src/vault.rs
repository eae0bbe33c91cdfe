//! Seals secrets for the store: XChaCha20-Poly1305, bound to table, row and column, with a key id.
//!
//! A sealed value is `v1.KEY_ID.BASE64(nonce ‖ ciphertext)`. It does not open in another row or column.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, Engine};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::clock::Clock;

/// A secret in memory. `Debug` shows nothing; the bytes are zeroed on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The secret itself, to send or seal it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The place of a sealed value: associated data of the encryption.
#[derive(Debug, Clone)]
pub struct Place {
    table: &'static str,
    column: &'static str,
    row: String,
}

impl Place {
    pub fn new(table: &'static str, column: &'static str, row: impl fmt::Display) -> Self {
        Self { table, column, row: row.to_string() }
    }

    fn bytes(&self) -> Vec<u8> {
        format!("entrepost\0{}\0{}\0{}", self.table, self.column, self.row).into_bytes()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{0}")]
    Key(String),
    /// The value is not sealed, was changed, or was sealed for another place.
    #[error("a stored secret cannot be decrypted (it was changed, or moved)")]
    Broken,
    /// Sealed with an unknown key.
    #[error("a stored secret was encrypted with the key {0}, which is not the given key")]
    UnknownKey(String),
}

#[derive(ZeroizeOnDrop)]
struct Key {
    #[zeroize(skip)]
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl Key {
    fn parse(text: &str) -> Result<Self, VaultError> {
        let wrong = || VaultError::Key("the master key is not 32 bytes in base64".into());
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(text.trim()).map_err(|_| wrong())?);
        let bytes: [u8; 32] = decoded.as_slice().try_into().map_err(|_| wrong())?;
        let digest = Sha256::digest([b"entrepost key id".as_slice(), &bytes].concat());
        let id = digest.iter().take(4).fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        Ok(Self { id, bytes: Zeroizing::new(bytes) })
    }
}

/// The keys: the first seals, all open.
pub struct Vault {
    keys: Vec<Key>,
    clock: Clock,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key", &self.key_id()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Parses keys: one per line in base64, the current one first.
    pub fn from_text(text: &str, clock: Clock) -> Result<Self, VaultError> {
        let keys =
            text.lines().filter(|line| !line.trim().is_empty()).map(Key::parse).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(VaultError::Key("the master key is empty".into()));
        }
        Ok(Self { keys, clock })
    }

    /// Reads the key file; creates it with mode 0600 if it is absent and `may_create`.
    pub fn from_file(path: &Path, may_create: bool, clock: Clock) -> Result<Self, VaultError> {
        let failed =
            |what: &str, error: &dyn fmt::Display| VaultError::Key(format!("{what} {}: {error}", path.display()));
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                refuse_if_shared(path)?;
                Self::from_text(&text, clock).map_err(|error| failed("the master key file", &error))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_create => {
                let mut bytes = Zeroizing::new([0; 32]);
                clock.fill(bytes.as_mut_slice());
                let text = Zeroizing::new(BASE64_STANDARD.encode(bytes.as_slice()) + "\n");
                write_private(path, &text).map_err(|error| failed("cannot make the master key file", &error))?;
                Self::from_text(&text, clock)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(VaultError::Key(format!(
                "the master key file {} is missing, but the database already holds encrypted secrets. Restore the file, or set ENTREPOST_MASTER_KEY_FILE to where it is.",
                path.display()
            ))),
            Err(error) => Err(failed("cannot read the master key file", &error)),
        }
    }

    /// Inserts a new key before the others in the file; it seals from now on.
    pub fn rotate_file(path: &Path, clock: Clock) -> Result<Self, VaultError> {
        let failed = |error: &dyn fmt::Display| VaultError::Key(format!("{}: {error}", path.display()));
        let old = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| failed(&error))?);
        refuse_if_shared(path)?;
        let mut bytes = Zeroizing::new([0; 32]);
        clock.fill(bytes.as_mut_slice());
        let text = Zeroizing::new(format!("{}\n{}", BASE64_STANDARD.encode(bytes.as_slice()), old.as_str()));
        let vault = Self::from_text(&text, clock)?;
        let new = PathBuf::from(format!("{}.new", path.display()));
        let _ = std::fs::remove_file(&new);
        write_private(&new, &text).map_err(|error| failed(&error))?;
        std::fs::rename(&new, path).map_err(|error| failed(&error))?;
        sync_directory(path).map_err(|error| failed(&error))?;
        Ok(vault)
    }

    pub fn key_id(&self) -> &str {
        self.keys.first().map_or("", |key| key.id.as_str())
    }

    /// Seals a secret for its place.
    pub fn seal(&self, place: &Place, secret: &Secret) -> Result<String, VaultError> {
        let key = self.keys.first().ok_or(VaultError::Broken)?;
        let mut nonce = [0; 24];
        self.clock.fill(&mut nonce);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &place.bytes() };
        let cipher = XChaCha20Poly1305::new(key.bytes.as_slice().into());
        let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| VaultError::Broken)?;
        Ok(format!("v1.{}.{}", key.id, BASE64_STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Opens a value sealed for this place.
    pub fn open(&self, place: &Place, sealed: &str) -> Result<Secret, VaultError> {
        let mut parts = sealed.splitn(3, '.');
        let (Some("v1"), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VaultError::Broken);
        };
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| VaultError::UnknownKey(id.to_owned()))?;
        let bytes = BASE64_STANDARD_NO_PAD.decode(data).map_err(|_| VaultError::Broken)?;
        let (nonce, sealed) = bytes.split_at_checked(24).ok_or(VaultError::Broken)?;
        let cipher = XChaCha20Poly1305::new(key.bytes.as_slice().into());
        let opened = cipher
            .decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: &place.bytes() })
            .map_err(|_| VaultError::Broken)?;
        String::from_utf8(opened).map(Secret).map_err(|_| VaultError::Broken)
    }
}

#[cfg(unix)]
fn refuse_if_shared(path: &Path) -> Result<(), VaultError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_err(|error| VaultError::Key(error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let text = format!(
            "the master key file {0} can be read by others (mode {1:o}). Run: chmod 600 {0}",
            path.display(),
            mode & 0o777
        );
        return Err(VaultError::Key(text));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_shared(_: &Path) -> Result<(), VaultError> {
    Ok(())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    sync_directory(path)
}

/// A new name is durable only once its directory is synced; without the key no sealed value opens.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { std::fs::File::open(parent)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::from_text(&BASE64_STANDARD.encode([byte; 32]), Clock::system()).unwrap()
    }

    #[test]
    fn opens_only_where_it_was_sealed() {
        let (vault, place) = (vault(1), Place::new("mailboxes", "refresh_token_sealed", "a"));
        let sealed = vault.seal(&place, &Secret::new("refresh".into())).unwrap();
        assert!(!sealed.contains("refresh"));
        assert_eq!(vault.open(&place, &sealed).unwrap().expose(), "refresh");
        for other in [
            Place::new("mailboxes", "refresh_token_sealed", "b"),
            Place::new("mailboxes", "other", "a"),
            Place::new("attempts", "refresh_token_sealed", "a"),
        ] {
            assert!(matches!(vault.open(&other, &sealed), Err(VaultError::Broken)));
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let (vault, place) = (vault(1), Place::new("t", "c", "r"));
        let sealed = vault.seal(&place, &Secret::new("x".into())).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed == sealed || vault.open(&place, &changed).is_err(), "{at}");
        }
        assert!(vault.open(&place, "").is_err());
        assert!(vault.open(&place, "v1.x").is_err());
    }

    #[test]
    fn another_key_does_not_open() {
        let place = Place::new("t", "c", "r");
        let sealed = vault(1).seal(&place, &Secret::new("x".into())).unwrap();
        assert!(matches!(vault(2).open(&place, &sealed), Err(VaultError::UnknownKey(_))));
    }

    #[test]
    fn nothing_shows_a_secret() {
        let secret = Secret::new("hunter2".into());
        assert!(!format!("{secret:?} {:?}", vault(1)).contains("hunter2"));
    }

    #[cfg(unix)]
    #[test]
    fn the_key_file_is_private_or_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        assert!(Vault::from_file(&path, false, Clock::system()).unwrap_err().to_string().contains("missing"));
        let made = Vault::from_file(&path, true, Clock::system()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Vault::from_file(&path, false, Clock::system()).unwrap().key_id(), made.key_id());

        let place = Place::new("t", "c", "r");
        let sealed = made.seal(&place, &Secret::new("x".into())).unwrap();
        let rotated = Vault::rotate_file(&path, Clock::system()).unwrap();
        assert_ne!(rotated.key_id(), made.key_id());
        assert_eq!(rotated.open(&place, &sealed).unwrap().expose(), "x");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Vault::from_file(&path, false, Clock::system()).unwrap_err().to_string().contains("chmod 600"));
    }
}
