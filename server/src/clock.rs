//! Time and randomness, passed in. `.clippy.toml` bans the other sources.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use app::model::Timestamp;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rand::RngCore;
use uuid::Uuid;

/// The one source of time and randomness.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    /// The system's time and so many milliseconds.
    System(i64),
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system clock.
    pub fn system() -> Self {
        Self(Source::System(0))
    }

    /// The system clock, set ahead: to see what time brings.
    pub fn ahead_ms(milliseconds: i64) -> Self {
        Self(Source::System(milliseconds))
    }

    /// A clock that is moved by hand, for tests.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// Moves a manual clock.
    pub fn advance_ms(&self, milliseconds: i64) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the ban leads to")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System(ahead) => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(*ahead))
            }
            Source::Manual(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the ban leads to")]
    pub fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }

    /// Fills a buffer with unguessable bytes.
    #[expect(clippy::disallowed_methods, reason = "this is where the ban leads to")]
    pub fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }

    /// 0 to 1: spreads retries over time.
    pub fn jitter(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }

    /// An unguessable token of 256 bits, base64url.
    pub fn token(&self) -> String {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// The stored form of a token: SHA-256, base64url.
pub fn sha256(token: &str) -> String {
    use sha2::{Digest, Sha256};
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}
