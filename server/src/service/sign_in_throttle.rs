//! Throttles password guesses: first delays, then refuses, without locking out the owner of the account.
//!
//! Failures are counted per account and network, per account, and per network and institution. The count of a network only delays:
//! a school has one address. A browser in which the user signed in before has its own count, so that guesses from elsewhere do not
//! lock out the owner.

use app::backend::Result;
use std::net::IpAddr;
use std::time::Duration;

use app::backend::Visitor;
use app::error::AppError;
use app::model::{InstitutionId, UserId};

use super::{Services, sessions};
use crate::clock::sha256;
use crate::store::User;
use crate::vault::{Place, Secret};

/// Window in which failures are counted, in milliseconds.
const WINDOW_MS: i64 = 15 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Failures of one account from one network.
const PER_PAIR: i64 = 8;
/// Failures of one account, over all networks.
const PER_ACCOUNT: i64 = 60;
/// The same within a day: far too few to guess four random words.
const PER_ACCOUNT_AND_DAY: i64 = 300;
/// Failures in a known browser.
const PER_BROWSER: i64 = 15;
/// Failures of one network at an institution before it is delayed.
const PER_NETWORK: i64 = 60;
/// How long a browser stays known, in milliseconds.
const KNOWN_MS: i64 = 180 * DAY_MS;
/// Longest delay before a password is checked.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Tries {
    /// Whether the account exists. Counts of other accounts, and of networks, are kept in memory: anyone can invent them.
    has_account: bool,
    pair: String,
    account: String,
    day: String,
    network: String,
    /// The browser's own counter, if it is known for this account.
    browser: Option<String>,
    browser_day: String,
}

impl Tries {
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
    /// The counters of an attempt. Unknown accounts are counted like existing ones.
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

    /// The cookie of a browser in which a user signed in.
    pub(super) fn known_browser(&self, institution: InstitutionId, user: UserId) -> Option<app::backend::Cookie> {
        let value = format!("{user} {} {}", self.clock.now().0, self.clock.token());
        let sealed = self.vault.seal(&browser_place(institution), &Secret::new(value)).ok()?;
        Some(sessions::cookie(self, sessions::KNOWN, &sealed, KNOWN_MS / 1000))
    }

    /// The person who signed in with this browser before.
    pub(super) fn known_user(&self, visitor: &Visitor) -> Option<UserId> {
        let value = self.vault.open(&browser_place(visitor.institution.id), visitor.known_browser.as_deref()?).ok()?;
        value.expose().split(' ').next()?.parse().ok()
    }

    fn is_known_browser(&self, visitor: &Visitor, user: UserId) -> bool {
        let Some(sealed) = visitor.known_browser.as_deref() else { return false };
        let Ok(value) = self.vault.open(&browser_place(visitor.institution.id), sealed) else { return false };
        let mut words = value.expose().split(' ');
        let owner = words.next().is_some_and(|owner| owner == user.to_string());
        let at = words.next().and_then(|at| at.parse::<i64>().ok()).unwrap_or_default();
        owner && self.clock.now().0.saturating_sub(at) < KNOWN_MS
    }

    /// Delays a sign-in: longer with each failure, and if its network has failed often.
    pub(super) async fn slow_down(&self, tries: &Tries) -> Result<()> {
        let since = self.clock.now().plus_ms(-WINDOW_MS);
        let own = tries.browser.as_deref().unwrap_or(&tries.pair);
        let failures = if tries.has_account {
            self.store.sign_in_failures(own, since).await?
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

    /// Counts an attempt before its check, so that concurrent ones are counted, and refuses it beyond the limits.
    pub(super) async fn count_try(&self, tries: &Tries) -> Result<()> {
        let now = self.clock.now();
        self.guesses.count(&tries.network, now, now.plus_ms(-WINDOW_MS));
        for (subject, limit, window) in tries.refusing() {
            let before = now.plus_ms(-window);
            let (count, began) = if tries.has_account {
                self.store.count_sign_in(subject, now, before).await?
            } else {
                self.guesses.count(subject, now, before)
            };
            if count > limit {
                let left = window - now.since_ms(began);
                return Err(AppError::TooMany { minutes: (left / 60_000).max(0) + 1 }.into());
            }
        }
        Ok(())
    }

    pub(super) async fn forgive(&self, tries: &Tries) -> Result<()> {
        if tries.browser.is_some() {
            self.store.uncount_sign_in(&tries.browser_day).await?;
        }
        self.guesses.uncount(&tries.network);
        for subject in [&tries.account, &tries.day] {
            self.store.uncount_sign_in(subject).await?;
        }
        for subject in [Some(&tries.pair), tries.browser.as_ref()].into_iter().flatten() {
            self.store.clear_sign_in(subject).await?;
        }
        Ok(())
    }

    pub(super) async fn count_link(&self, visitor: &Visitor) {
        let (now, subject) = (self.clock.now(), link_subject(visitor.institution.id, visitor.address));
        if self.guesses.count(&subject, now, now.plus_ms(-WINDOW_MS)).0 > PER_NETWORK {
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) fn forgive_link(&self, visitor: &Visitor) {
        self.guesses.uncount(&link_subject(visitor.institution.id, visitor.address));
    }
}

fn link_subject(institution: InstitutionId, network: IpAddr) -> String {
    format!("link:{institution}:{network}")
}
