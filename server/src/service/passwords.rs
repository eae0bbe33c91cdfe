//! Argon2id, off the async threads and bounded: each hash takes 19 MiB for a moment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::clock::Clock;

/// Shortest password (NIST SP 800-63B asks for 8 at least; length is what helps).
pub const MIN_LENGTH: usize = 12;
/// Longest password in octets: hashing is no way to make the server work.
pub const MAX_LENGTH: usize = 512;

/// Hashes that are waited for at one time: some seconds of work.
const QUEUE: usize = 256;
/// Of those, from one network: the people of a school sign in at the same hour.
const SHARE: usize = 96;

/// Hashes and checks passwords.
pub struct Passwords {
    turns: Arc<Semaphore>,
    queue: Arc<Mutex<Queue>>,
    clock: Clock,
    /// Checked against when there is no account, so that both take as long.
    decoy: String,
}

fn argon2() -> Argon2<'static> {
    // OWASP's minimum for argon2id: 19 MiB, two passes, one lane.
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 2, 1, None).unwrap_or_default())
}

/// The queue is full, or a network's share of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

/// Who waits for a turn, by network.
#[derive(Default)]
struct Queue {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// A place in the queue; given up when it is dropped.
pub struct Turn {
    queue: Arc<Mutex<Queue>>,
    network: IpAddr,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.all = queue.all.saturating_sub(1);
        if let Some(count) = queue.by_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                queue.by_network.remove(&self.network);
            }
        }
    }
}

impl Passwords {
    /// As many at once as there are processors.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let turns = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let decoy = hash(&clock, "a password that nobody has").unwrap_or_default();
        Self { turns: Arc::new(Semaphore::new(turns)), queue: Arc::default(), clock, decoy }
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn queue(&self, network: IpAddr) -> Result<Turn, Busy> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = queue.by_network.get(&network).copied().unwrap_or_default();
        if queue.all >= QUEUE || waiting >= SHARE {
            return Err(Busy);
        }
        queue.all += 1;
        queue.by_network.insert(network, waiting + 1);
        Ok(Turn { queue: Arc::clone(&self.queue), network })
    }

    /// Hashes a password.
    ///
    /// # Errors
    /// A text for the log.
    pub async fn hash(&self, turn: Turn, password: &str) -> Result<String, String> {
        let (password, clock) = (Zeroizing::new(password.to_owned()), self.clock.clone());
        self.run(turn, move || hash(&clock, &password)).await?
    }

    /// Whether a password fits. Without a hash it takes as long and says no.
    ///
    /// # Errors
    /// A text for the log.
    pub async fn verify(&self, turn: Turn, password: &str, hash: Option<String>) -> Result<bool, String> {
        let real = hash.is_some();
        let (password, hash) = (Zeroizing::new(password.to_owned()), hash.unwrap_or_else(|| self.decoy.clone()));
        let fits = self
            .run(turn, move || {
                PasswordHash::new(&hash)
                    .map(|parsed| argon2().verify_password(password.as_bytes(), &parsed).is_ok())
                    .map_err(|error| error.to_string())
            })
            .await??;
        Ok(fits && real)
    }

    async fn run<T: Send + 'static>(&self, turn: Turn, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let running = Arc::clone(&self.turns).acquire_owned().await.map_err(|error| error.to_string())?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop((running, turn));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_does_not_take_the_whole_queue() {
        let passwords = Passwords::new(Clock::system());
        let (one, other): (IpAddr, IpAddr) = ("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
        let mut turns: Vec<Turn> = (0..SHARE).map(|_| passwords.queue(one).unwrap()).collect();
        assert_eq!(passwords.queue(one).err(), Some(Busy));
        assert!(passwords.queue(other).is_ok());
        turns.pop();
        assert!(passwords.queue(one).is_ok());
    }
}
