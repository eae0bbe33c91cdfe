//! Argon2id, on blocking threads and bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{Output, ParamsString, PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::clock::Clock;

/// Shortest password, in characters. NIST SP 800-63B asks for at least 8.
pub const MIN_LENGTH: usize = 12;
/// Longest password, in bytes: bounds the work of hashing.
pub const MAX_LENGTH: usize = 512;

/// Waiting hashes at one time: some seconds of work.
const QUEUE: usize = 256;
/// Of those, from one network: people of a school sign in at the same hour.
const SHARE: usize = 96;
/// Additional places for browsers in which the person signed in before.
const FOR_KNOWN: usize = 64;

/// How long a request waits for a place, and how often it checks.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);

/// From this size on glibc maps a block by itself.
const MAPPED_BYTES: usize = 33 << 20;

pub struct Passwords {
    running: Arc<Semaphore>,
    queue: Arc<Mutex<Queue>>,
    clock: Clock,
    /// Verified if there is no account, so that both cases take the same time.
    decoy: String,
}

fn argon2() -> Argon2<'static> {
    // OWASP's minimum for argon2id: 19 MiB, two passes, one lane.
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 2, 1, None).unwrap_or_default())
}

#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

#[derive(Default)]
struct Queue {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// A place in the queue; released when dropped.
pub struct QueuePlace {
    queue: Arc<Mutex<Queue>>,
    network: IpAddr,
}

impl Drop for QueuePlace {
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
    /// Runs at most one hash per processor at a time.
    pub fn new(clock: Clock) -> Self {
        let running = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let decoy = hash(&clock, "no real password").unwrap_or_default();
        Self { running: Arc::new(Semaphore::new(running)), queue: Arc::default(), clock, decoy }
    }

    /// Takes a place in the queue. Some places are reserved for known browsers.
    pub fn queue(&self, network: IpAddr, is_known: bool) -> Result<QueuePlace, Busy> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = queue.by_network.get(&network).copied().unwrap_or_default();
        let places = if is_known { QUEUE + FOR_KNOWN } else { QUEUE };
        if queue.all >= places || waiting >= SHARE {
            return Err(Busy);
        }
        queue.all += 1;
        queue.by_network.insert(network, waiting + 1);
        Ok(QueuePlace { queue: Arc::clone(&self.queue), network })
    }

    /// Takes a place in the queue, waiting for one if necessary. A known browser is not refused because of others behind its network
    /// address.
    pub async fn wait_for_place(&self, network: IpAddr, known: Option<u128>) -> Result<QueuePlace, Busy> {
        // A known browser counts as a network of its own.
        let network = known.map_or(network, |known| IpAddr::V6(known.into()));
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.queue(network, known.is_some()) {
                Err(Busy) if tokio::time::Instant::now() < end => tokio::time::sleep(AGAIN).await,
                other => return other,
            }
        }
    }

    /// Hashes a password.
    pub async fn hash(&self, place: QueuePlace, password: &str) -> Result<String, String> {
        let (password, clock) = (Zeroizing::new(password.to_owned()), self.clock.clone());
        self.run(place, move || hash(&clock, &password)).await?
    }

    /// Whether a password matches. Without a hash it takes the same time and answers no.
    pub async fn verify(&self, place: QueuePlace, password: &str, hash: Option<String>) -> Result<bool, String> {
        let real = hash.is_some();
        let (password, hash) = (Zeroizing::new(password.to_owned()), hash.unwrap_or_else(|| self.decoy.clone()));
        let fits = self.run(place, move || verify(&password, &hash)).await??;
        Ok(fits && real)
    }

    async fn run<T: Send + 'static>(
        &self,
        place: QueuePlace,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|error| error.to_string())?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop((running, place));
            done
        })
        .await
        .map_err(|error| error.to_string())
    }
}

/// Runs with memory that the system gets back at once: glibc maps blocks of more than 32 MiB by themselves, whatever was freed before
/// (mallopt(3), M_MMAP_THRESHOLD), and would keep smaller ones for every thread that ever hashed. What is not written to is not resident.
fn with_memory<T>(blocks: usize, work: impl FnOnce(&mut [Block]) -> T) -> T {
    let mut memory = Vec::with_capacity(blocks.max(MAPPED_BYTES / Block::SIZE));
    memory.resize(blocks, Block::default());
    work(&mut memory)
}

fn digest(argon2: &Argon2<'_>, password: &str, salt: &[u8], size: usize) -> Result<Output, String> {
    let hashed = Output::init_with(size, |output| {
        with_memory(argon2.params().block_count(), |blocks| {
            argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, blocks)
        })
        .map_err(argon2::password_hash::Error::from)
    });
    hashed.map_err(|error| error.to_string())
}

fn hash(clock: &Clock, password: &str) -> Result<String, String> {
    let failed = |error: argon2::password_hash::Error| error.to_string();
    let mut bytes = [0; 16];
    clock.fill(&mut bytes);
    let (argon2, salt) = (argon2(), SaltString::encode_b64(&bytes).map_err(failed)?);
    let made = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params()).map_err(failed)?,
        salt: Some(salt.as_salt()),
        hash: Some(digest(&argon2, password, &bytes, Params::DEFAULT_OUTPUT_LEN)?),
    };
    Ok(made.to_string())
}

/// Whether a password matches a PHC string, by the parameters of the string.
fn verify(password: &str, hash: &str) -> Result<bool, String> {
    let failed = |error: argon2::password_hash::Error| error.to_string();
    let parsed = PasswordHash::new(hash).map_err(failed)?;
    let (Some(salt), Some(expected)) = (parsed.salt, parsed.hash) else { return Err("a hash without salt".into()) };
    let mut buffer = [0; 64];
    let salt = salt.decode_b64(&mut buffer).map_err(failed)?;
    let version = parsed.version.map_or(Ok(Version::V0x13), Version::try_from).map_err(|error| error.to_string())?;
    let algorithm = Algorithm::try_from(parsed.algorithm).map_err(failed)?;
    let argon2 = Argon2::new(algorithm, version, Params::try_from(&parsed).map_err(failed)?);
    // The comparison takes constant time.
    Ok(digest(&argon2, password, salt, expected.len())? == expected)
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn hashes_are_those_of_the_library() {
        let clock = Clock::system();
        let made = hash(&clock, "correct horse").unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        let parsed = PasswordHash::new(&made).unwrap();
        assert!(argon2().verify_password(b"correct horse", &parsed).is_ok());
        let salt = SaltString::encode_b64(b"sixteen letters!").unwrap();
        for parameters in
            [Params::new(19 * 1024, 2, 1, None), Params::new(64, 3, 1, None), Params::new(32 * 1024, 1, 1, None)]
        {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters.unwrap());
            let theirs = argon2.hash_password(b"correct horse", &salt).unwrap().to_string();
            assert_eq!(verify("correct horse", &theirs), Ok(true), "{theirs}");
            assert_eq!(verify("wrong horse", &theirs), Ok(false));
        }
        assert!(verify("x", "no hash").is_err());
    }

    #[test]
    fn one_network_does_not_take_the_whole_queue() {
        let passwords = Passwords::new(Clock::system());
        let (one, other): (IpAddr, IpAddr) = ("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
        let mut running: Vec<QueuePlace> = (0..SHARE).map(|_| passwords.queue(one, false).unwrap()).collect();
        assert_eq!(passwords.queue(one, false).err(), Some(Busy));
        assert!(passwords.queue(other, false).is_ok());
        running.pop();
        assert!(passwords.queue(one, false).is_ok());
        // A known browser finds a place, however many networks unknown ones come from.
        let strangers =
            (0..QUEUE).map(|number| IpAddr::from([198, 18, u8::from(number > 255), (number % 256).to_le_bytes()[0]]));
        let held: Vec<_> = strangers.filter_map(|network| passwords.queue(network, false).ok()).collect();
        assert!(passwords.queue("198.51.100.1".parse().unwrap(), false).is_err(), "{} held", held.len());
        assert!(passwords.queue("198.51.100.1".parse().unwrap(), true).is_ok());
    }
}
