//! Flashes: the answer of a form, shown by the page after the redirect.

use app::backend::{BackendError, Cookie, Flashes, Result, Visitor};
use app::model::{Flash, Notice};
use async_trait::async_trait;

use super::{Handle, Services};
use crate::clock::sha256;
use crate::vault::{Place, Secret};

/// Lifetime of a flash, in milliseconds.
const LIFETIME_MS: i64 = 10 * 60 * 1000;

/// Prefix of a cookie that contains the sealed flash itself.
const SEALED: &str = "s.";
/// Largest such flash before sealing, in bytes: keeps the cookie under 1 kB.
const MOST_SEALED: usize = 660;

/// Longest value of a field that is shown again, in bytes.
const MOST_TYPED: usize = 4_000;

fn cookie_place(visitor: &Visitor) -> Place {
    Place::new("cookies", "answer", visitor.institution.id)
}

/// Truncates a flash to what a page can use; long texts are kept as drafts.
fn bounded(mut flash: Flash) -> Flash {
    let cut = |text: &mut String, most: usize| text.truncate(text.floor_char_boundary(most));
    for value in flash.typed.values_mut() {
        cut(value, MOST_TYPED);
    }
    for error in &mut flash.errors {
        cut(&mut error.text, MOST_TYPED);
    }
    flash.errors.truncate(100);
    if let Some(notice) = &mut flash.notice {
        cut(&mut notice.title, MOST_TYPED);
        cut(&mut notice.text, MOST_TYPED);
    }
    flash
}

impl Services {
    /// A flash without a session travels sealed in its cookie: anonymous requests make no rows.
    fn sealed_answer(&self, visitor: &Visitor, flash: Flash) -> Result<Cookie> {
        let until = self.clock.now().plus_ms(LIFETIME_MS).0;
        let written = |flash: &Flash| {
            let text = serde_json::to_string(flash)?;
            Ok::<_, BackendError>(format!("{until} {text}"))
        };
        let mut body = written(&flash)?;
        if body.len() > MOST_SEALED {
            let notice = flash.notice.map(|notice| Notice {
                title: notice.title.chars().take(80).collect(),
                text: notice.text.chars().take(120).collect(),
                copy: None,
                ..notice
            });
            body = written(&Flash { form: flash.form, notice, ..Flash::default() })?;
        }
        let sealed = self.vault.seal(&cookie_place(visitor), &Secret::new(body))?;
        Ok(super::sessions::cookie(self, super::sessions::FLASH, &format!("{SEALED}{sealed}"), LIFETIME_MS / 1000))
    }

    fn open_sealed(&self, visitor: &Visitor, sealed: &str) -> Option<Flash> {
        let opened = self.vault.open(&cookie_place(visitor), sealed).ok()?;
        let (until, text) = opened.expose().split_once(' ')?;
        let fresh = until.parse::<i64>().is_ok_and(|until| until >= self.clock.now().0);
        fresh.then(|| serde_json::from_str(text).ok()).flatten()
    }
}

#[async_trait]
impl Flashes for Handle {
    async fn put(&self, visitor: &Visitor, flash: Flash) -> Result<Cookie> {
        let Some(person) = &visitor.person else { return self.sealed_answer(visitor, flash) };
        let flash = bounded(flash);
        let body = serde_json::to_string(&flash)?;
        let token = self.clock.token();
        // A flash may contain an invitation link, which is as secret as a password.
        let place = Place::new("flashes", "body", sha256(&token));
        let body = self.vault.seal(&place, &Secret::new(body))?;
        let owner = Some(person.user_id());
        let expires_at = self.clock.now().plus_ms(LIFETIME_MS);
        self.store.put_flash(visitor.institution.id, owner, &sha256(&token), &body, expires_at).await?;
        Ok(super::sessions::cookie(self, super::sessions::FLASH, &token, LIFETIME_MS / 1000))
    }

    fn forget(&self, visitor: &Visitor) -> Option<Cookie> {
        let sealed = visitor.flash_token.as_deref().is_some_and(|token| token.starts_with(SEALED));
        sealed.then(|| super::sessions::cookie(self, super::sessions::FLASH, "", 0))
    }

    async fn take(&self, visitor: &Visitor) -> Option<Flash> {
        let token = visitor.flash_token.as_deref()?;
        if let Some(sealed) = token.strip_prefix(SEALED) {
            return self.open_sealed(visitor, sealed);
        }
        let reader = visitor.person.as_ref().map(app::backend::SignedIn::user_id);
        let body = self.store.take_flash(visitor.institution.id, reader, &sha256(token), self.clock.now()).await;
        match body {
            Ok(body) => {
                let opened = self.vault.open(&Place::new("flashes", "body", sha256(token)), &body?).ok()?;
                serde_json::from_str(opened.expose()).ok()
            }
            Err(error) => {
                tracing::error!("cannot read the result of a form: {error}");
                None
            }
        }
    }
}
