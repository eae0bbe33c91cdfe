//! Which passwords are accepted.

use std::net::{IpAddr, Ipv4Addr};

use app::backend::{BackendError, Result};
use app::error::AppError;

use super::Services;
use super::common_passwords::is_common;
use super::passwords::{Busy, MAX_LENGTH, MIN_LENGTH};

pub(super) fn busy() -> AppError {
    AppError::refused("Too many people are signing in right now. Try again in a few seconds.")
}

/// Whether a password is one word surrounded by digits and signs.
fn is_padded(password: &str, word: &str) -> bool {
    password.replace(word, "").chars().all(|c| !c.is_alphabetic())
}

impl Services {
    /// Checks length, and refuses passwords that are tried first.
    pub fn check_new_password(&self, address: &str, password: &str) -> Result<()> {
        if password.chars().count() < MIN_LENGTH {
            let text = format!("Use at least {MIN_LENGTH} characters. Several words in a row are easy to remember.");
            return Err(AppError::field("password", "Password", text).into());
        }
        if password.len() > MAX_LENGTH {
            return Err(AppError::field("password", "Password", format!("Use at most {MAX_LENGTH} characters.")).into());
        }
        let guess = password.trim().to_lowercase();
        let own = address.to_lowercase();
        if own.contains(&guess)
            || own.split(['@', '.', '-', '_']).any(|word| word.len() > 4 && is_padded(&guess, word))
            || is_common(&guess)
        {
            let text = "This password is too easy to guess. Several words in a row are easy to remember.";
            return Err(AppError::field("password", "Password", text).into());
        }
        Ok(())
    }

    pub(super) async fn hash_new_password(&self, address: &str, password: &str) -> Result<String> {
        self.check_new_password(address, password)?;
        let turn = self.passwords.queue(IpAddr::V4(Ipv4Addr::UNSPECIFIED), true).map_err(|Busy| busy())?;
        self.passwords.hash(turn, password).await.map_err(BackendError::internal)
    }
}
