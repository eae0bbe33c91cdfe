//! Argon2id, off the async threads and bounded: each hash takes 19 MiB for a moment.

use std::sync::Arc;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::clock::Clock;

/// Shortest password (NIST SP 800-63B asks for 8 at least; length is what helps).
pub const MIN_LENGTH: usize = 12;
/// Longest password in octets: hashing is no way to make the server work.
pub const MAX_LENGTH: usize = 512;

/// Hashes and checks passwords.
pub struct Passwords {
    turns: Arc<Semaphore>,
    clock: Clock,
    /// Checked against when there is no account, so that both take as long.
    decoy: String,
}

fn argon2() -> Argon2<'static> {
    // OWASP's minimum for argon2id: 19 MiB, two passes, one lane.
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 2, 1, None).unwrap_or_default())
}

impl Passwords {
    /// As many at once as there are processors.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let turns = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let decoy = hash(&clock, "a password that nobody has").unwrap_or_default();
        Self { turns: Arc::new(Semaphore::new(turns)), clock, decoy }
    }

    /// Hashes a password.
    ///
    /// # Errors
    /// A text for the log.
    pub async fn hash(&self, password: &str) -> Result<String, String> {
        let (password, clock) = (Zeroizing::new(password.to_owned()), self.clock.clone());
        self.run(move || hash(&clock, &password)).await?
    }

    /// Whether a password fits. Without a hash it takes as long and says no.
    ///
    /// # Errors
    /// A text for the log.
    pub async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool, String> {
        let real = hash.is_some();
        let (password, hash) = (Zeroizing::new(password.to_owned()), hash.unwrap_or_else(|| self.decoy.clone()));
        let fits = self
            .run(move || {
                PasswordHash::new(&hash)
                    .map(|parsed| argon2().verify_password(password.as_bytes(), &parsed).is_ok())
                    .map_err(|error| error.to_string())
            })
            .await??;
        Ok(fits && real)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|error| error.to_string())?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
        .map_err(|error| error.to_string())
    }
}

fn hash(clock: &Clock, password: &str) -> Result<String, String> {
    let mut salt = [0; 16];
    clock.fill(&mut salt);
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    argon2().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}
