//! Guesses of passwords: slowed down, then refused, without locking out the person whose account it is.
//!
//! Failures are counted for an account and a network together, for an account, and for a network at an institution. A network's
//! count alone only slows down: a school has one address. A browser in which the person signed in before has a count of its own,
//! so that strangers who use up an account's tries keep its owner from nothing.

use std::net::IpAddr;
use std::time::Duration;

use app::backend::Visitor;
use app::error::AppError;
use app::model::{InstitutionId, UserId};

use super::{OrInternal, Services, sessions};
use crate::clock::sha256;
use crate::store::User;
use crate::vault::{Place, Secret};

/// Window in which failures are counted, in milliseconds.
const WINDOW_MS: i64 = 15 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Failures of one account from one network.
const PER_PAIR: i64 = 8;
/// Failures of one account from everywhere.
const PER_ACCOUNT: i64 = 60;
/// The same in a day: a password of four random words is out of reach for it.
const PER_ACCOUNT_AND_DAY: i64 = 300;
/// Failures in a browser that is known.
const PER_BROWSER: i64 = 15;
/// Failures of one network at an institution from which on it is slowed down.
const PER_NETWORK: i64 = 60;
/// How long a known browser is known, in milliseconds.
const KNOWN_MS: i64 = 180 * DAY_MS;
/// Longest pause before a guess is checked.
const PAUSE: Duration = Duration::from_secs(2);

/// What is counted for a try to sign in.
pub(super) struct Tries {
    /// Whether there is such an account. Of others, and of networks, nothing is stored: anybody can invent them.
    has_account: bool,
    pair: String,
    account: String,
    day: String,
    network: String,
    /// The browser's own count, where it is known for this account.
    browser: Option<String>,
    /// The same in a day, of all such browsers.
    browser_day: String,
}

impl Tries {
    /// Whether it comes from a browser in which the person signed in before.
    pub(super) fn is_known(&self) -> bool {
        self.browser.is_some()
    }

    fn refusing(&self) -> Vec<(&str, i64, i64)> {
        match &self.browser {
            Some(browser) => {
                vec![(browser, PER_BROWSER, WINDOW_MS), (&self.browser_day, PER_ACCOUNT_AND_DAY, DAY_MS)]
            }
            None => vec![
                (&self.pair, PER_PAIR, WINDOW_MS),
                (&self.account, PER_ACCOUNT, WINDOW_MS),
                (&self.day, PER_ACCOUNT_AND_DAY, DAY_MS),
            ],
        }
    }
}

fn browser_place(institution: InstitutionId) -> Place {
    Place::new("cookies", "known_browser", institution)
}

impl Services {
    /// What a try counts for. An account that does not exist is counted as one that does.
    pub(super) fn tries(&self, visitor: &Visitor, address: &str, user: Option<&User>) -> Tries {
        let institution = visitor.institution.id;
        let account = sha256(&address.trim().to_lowercase());
        let network = visitor.address;
        Tries {
            has_account: user.is_some(),
            pair: format!("pair:{institution}:{account}:{network}"),
            account: format!("account:{institution}:{account}"),
            day: format!("day:{institution}:{account}"),
            browser_day: format!("day:browsers:{institution}:{account}"),
            network: format!("network:{institution}:{network}"),
            browser: user.filter(|user| self.is_known_browser(visitor, user.id)).map(|_| {
                format!("browser:{institution}:{}", sha256(visitor.known_browser.as_deref().unwrap_or_default()))
            }),
        }
    }

    /// The value of the cookie of a browser in which a person signed in.
    pub(super) fn known_browser(&self, institution: InstitutionId, user: UserId) -> Option<app::backend::Cookie> {
        let value = format!("{user} {} {}", self.clock.now().0, self.clock.token());
        let sealed = self.vault.seal(&browser_place(institution), &Secret::new(value)).ok()?;
        Some(sessions::cookie(self, sessions::KNOWN, &sealed, KNOWN_MS / 1000))
    }

    fn is_known_browser(&self, visitor: &Visitor, user: UserId) -> bool {
        let Some(sealed) = visitor.known_browser.as_deref() else { return false };
        let Ok(value) = self.vault.open(&browser_place(visitor.institution.id), sealed) else { return false };
        let mut words = value.expose().split(' ');
        let owner = words.next().is_some_and(|owner| owner == user.to_string());
        let at = words.next().and_then(|at| at.parse::<i64>().ok()).unwrap_or_default();
        owner && self.clock.now().0.saturating_sub(at) < KNOWN_MS
    }

    /// Pauses before a guess: longer with each failure, and where a network has failed often.
    pub(super) async fn slow_down(&self, tries: &Tries) -> Result<(), AppError> {
        let since = self.clock.now().plus_ms(-WINDOW_MS);
        let own = tries.browser.as_deref().unwrap_or(&tries.pair);
        let failures = if tries.has_account {
            self.store.sign_in_failures(own, since).await.or_internal(self)?
        } else {
            self.guesses.get(own, since)
        };
        let network = self.guesses.get(&tries.network, since);
        let mut pause = match u32::try_from(failures).unwrap_or(u32::MAX) {
            0..=2 => Duration::ZERO,
            more => Duration::from_millis(250).saturating_mul(1 << (more - 3).min(4)),
        };
        if network >= PER_NETWORK && tries.browser.is_none() {
            pause = pause.max(Duration::from_secs(1));
        }
        tokio::time::sleep(pause.min(PAUSE)).await;
        Ok(())
    }

    /// Counts a try before it is checked, so that many at once are counted, and refuses it beyond the limits.
    pub(super) async fn count_try(&self, tries: &Tries) -> Result<(), AppError> {
        let now = self.clock.now();
        self.guesses.count(&tries.network, now, now.plus_ms(-WINDOW_MS));
        for (subject, limit, window) in tries.refusing() {
            let before = now.plus_ms(-window);
            let (count, began) = if tries.has_account {
                self.store.count_sign_in(subject, now, before).await.or_internal(self)?
            } else {
                self.guesses.count(subject, now, before)
            };
            if count > limit {
                let left = window - now.since_ms(began);
                return Err(AppError::TooMany { minutes: (left / 60_000).max(0) + 1 });
            }
        }
        Ok(())
    }

    /// A try that was right: it was no failure.
    pub(super) async fn forgive(&self, tries: &Tries) -> Result<(), AppError> {
        if tries.browser.is_some() {
            self.store.uncount_sign_in(&tries.browser_day).await.or_internal(self)?;
        }
        self.guesses.uncount(&tries.network);
        for subject in [&tries.account, &tries.day] {
            self.store.uncount_sign_in(subject).await.or_internal(self)?;
        }
        for subject in [Some(&tries.pair), tries.browser.as_ref()].into_iter().flatten() {
            self.store.clear_sign_in(subject).await.or_internal(self)?;
        }
        Ok(())
    }

    /// Slows down, and bounds, what a network may do with links that only their owner has.
    pub(super) async fn count_link(&self, visitor: &Visitor) {
        let (now, subject) = (self.clock.now(), link_subject(visitor.institution.id, visitor.address));
        if self.guesses.count(&subject, now, now.plus_ms(-WINDOW_MS)).0 > PER_NETWORK {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A link that was right.
    pub(super) fn forgive_link(&self, visitor: &Visitor) {
        self.guesses.uncount(&link_subject(visitor.institution.id, visitor.address));
    }
}

fn link_subject(institution: InstitutionId, network: IpAddr) -> String {
    format!("link:{institution}:{network}")
}
