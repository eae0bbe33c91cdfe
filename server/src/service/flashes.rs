//! Answers of plain forms, kept for the redirect that follows.

use app::backend::{Cookie, Flashes, Visitor};
use app::error::AppError;
use app::model::Flash;
use async_trait::async_trait;

use super::{Handle, OrInternal, internal};
use crate::clock::sha256;
use crate::vault::{Place, Secret};

/// Milliseconds an answer waits for its page.
const LIFETIME_MS: i64 = 10 * 60 * 1000;

#[async_trait]
impl Flashes for Handle {
    async fn put(&self, visitor: &Visitor, flash: Flash) -> Result<Cookie, AppError> {
        let body = serde_json::to_string(&flash).map_err(|error| internal(&self.clock, &error))?;
        let token = self.clock.token();
        // An answer may hold an invitation link, which works like a password: sealed like one.
        let place = Place::new("flashes", "body", sha256(&token));
        let body = self.vault.seal(&place, &Secret::new(body)).or_internal(self)?;
        let owner = visitor.person.as_ref().map(app::backend::SignedIn::user);
        let expires_at = self.clock.now().plus_ms(LIFETIME_MS);
        self.store
            .put_flash(visitor.institution.id, owner, &sha256(&token), &body, expires_at)
            .await
            .or_internal(self)?;
        Ok(super::sessions::cookie(self, super::sessions::FLASH, &token, LIFETIME_MS / 1000))
    }

    async fn take(&self, visitor: &Visitor) -> Option<Flash> {
        let token = visitor.flash_token.as_deref()?;
        let reader = visitor.person.as_ref().map(app::backend::SignedIn::user);
        let body = self.store.take_flash(visitor.institution.id, reader, &sha256(token), self.clock.now()).await;
        match body {
            Ok(body) => {
                let opened = self.vault.open(&Place::new("flashes", "body", sha256(token)), &body?).ok()?;
                serde_json::from_str(opened.expose()).ok()
            }
            Err(error) => {
                tracing::error!("a form's answer could not be read: {error}");
                None
            }
        }
    }
}
