//! Messages in the outbox as their writer sees them: state, content while it is kept, and Edit and resend.

use app::backend::{NewFile, SignedIn};
use app::error::AppError;
use app::model::{
    ComposeForm, DeliveryId, DeliveryState, DeliveryView, DraftId, FolderRole, FormVersion, LetterView, MailboxState,
    RecipientKind, RecipientState, escaped,
};
use base64::prelude::{BASE64_STANDARD, Engine};

use super::drafts::Body as Draft;
use super::replies::written;
use super::{OrInternal, Services, internal};
use crate::diagnosis::Fault;
use crate::message::{self, ParsedMessage, Party};
use crate::outbox::{Body, body_place};
use crate::store::{Delivery, Mailbox};

impl Services {
    pub(super) async fn own_delivery(&self, user: &SignedIn, id: DeliveryId) -> Result<Delivery, AppError> {
        let found = self.store.delivery(user.institution().id, id).await.or_internal(self)?;
        found.filter(|found| found.user == Some(user.user_id())).ok_or(AppError::NotFound)
    }

    /// The mailbox a message is sent through: its own, or one connected again since.
    pub(super) async fn way_out(&self, user: &SignedIn, delivery: &Delivery) -> Result<Option<Mailbox>, AppError> {
        let mine = self.store.mailboxes_of(user.institution().id, user.user_id()).await.or_internal(self)?;
        Ok(mine
            .into_iter()
            .find(|mailbox| mailbox.id.0 == delivery.queue || mailbox.address.eq_ignore_ascii_case(&delivery.from)))
    }

    pub(super) async fn delivery_view(
        &self,
        user: &SignedIn,
        delivery: Delivery,
        mailboxes: &[Mailbox],
    ) -> Result<DeliveryView, AppError> {
        let recipients = self.store.recipients(delivery.institution, delivery.id).await.or_internal(self)?;
        let mailbox = mailboxes.iter().find(|mailbox| mailbox.id.0 == delivery.queue);
        let held =
            !delivery.state.is_final() && mailbox.is_none_or(|mailbox| mailbox.state == MailboxState::NeedsReconnect);
        let reader = self.reader(user, &delivery.from);
        // A queued message also has a time if its mailbox is paused or throttled.
        let turn = delivery.next_attempt_at.max(delivery.paused_until);
        let next = match delivery.state {
            DeliveryState::Deferred => Some(turn),
            DeliveryState::Queued if !held && turn > self.clock.now() => Some(turn),
            _ => None,
        };
        let shown = !matches!(delivery.state, DeliveryState::Sent | DeliveryState::Cancelled);
        Ok(DeliveryView {
            id: delivery.id,
            from: delivery.from,
            subject: delivery.subject,
            recipients,
            state: delivery.state,
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            next_attempt_at: next,
            finished_at: delivery.finished_at,
            answer: delivery.answer,
            problem: delivery.fault.filter(|_| shown).map(|fault| Fault::from_json(&fault).explain(&reader)),
            held,
            keeps_text: !delivery.body_sealed.is_empty(),
        })
    }

    /// The parsed content of a message; `None` if it is not kept.
    async fn words(&self, delivery: &Delivery) -> Result<Option<(Vec<u8>, ParsedMessage)>, AppError> {
        if delivery.body_sealed.is_empty() {
            return Ok(None);
        }
        let opened = self.vault.open(&body_place(delivery.id), &delivery.body_sealed).or_internal(self)?;
        let raw = match serde_json::from_str(opened.expose()) {
            Ok(Body::Text(text)) => text.into_bytes(),
            Ok(Body::Message(text)) => BASE64_STANDARD.decode(text).map_err(|error| internal(&self.clock, &error))?,
            Ok(Body::Notification { .. }) => return Ok(None),
            Err(error) => return Err(internal(&self.clock, &error)),
        };
        let apart = tokio::task::spawn_blocking(move || {
            let opened = message::parse(&raw, false);
            (raw, opened)
        });
        apart.await.map(Some).map_err(|error| internal(&self.clock, &error))
    }

    pub(super) async fn letter_view(&self, user: &SignedIn, id: DeliveryId) -> Result<LetterView, AppError> {
        let delivery = self.own_delivery(user, id).await?;
        let words = self.words(&delivery).await?;
        let mailboxes = self.store.mailboxes_of(delivery.institution, user.user_id()).await.or_internal(self)?;
        let message_id = delivery.message_id.clone();
        let (text, files) = match words {
            Some((_, opened)) => (
                Some(opened.text.unwrap_or_default()),
                opened.parts.iter().map(|part| (part.name.clone(), part.size())).collect(),
            ),
            None => (None, Vec::new()),
        };
        let sent_folder = match self.way_out(user, &delivery).await? {
            Some(mailbox) => {
                let folders = self.store.folders(mailbox.institution, mailbox.id).await.or_internal(self)?;
                let sent = folders.into_iter().find(|folder| folder.role == FolderRole::Sent);
                sent.map(|sent| format!("/mail/inbox?mailbox={}&folder={}", mailbox.id, escaped(&sent.name)))
            }
            None => None,
        };
        let delivery = self.delivery_view(user, delivery, &mailboxes).await?;
        Ok(LetterView { delivery, message_id, text, files, sent_folder })
    }

    /// A new draft from a message that was not sent.
    pub(super) async fn begin_again(&self, user: &SignedIn, id: DeliveryId) -> Result<DraftId, AppError> {
        let delivery = self.own_delivery(user, id).await?;
        if !delivery.state.is_final() {
            return Err(AppError::refused("This message is still being sent. Cancel sending first."));
        }
        let Some((raw, opened)) = self.words(&delivery).await? else {
            return Err(AppError::refused("The sent copy is in Sent Items."));
        };
        let recipients = self.store.recipients(delivery.institution, id).await.or_internal(self)?;
        // If some recipients have it, the draft goes only to the others.
        let some_have_it = matches!(delivery.state, DeliveryState::Sent | DeliveryState::Bounced);
        let of = |kind: RecipientKind, named: &[Party]| {
            let wanted = recipients
                .iter()
                .filter(|one| one.kind == kind && (!some_have_it || one.state == RecipientState::Refused));
            let parties: Vec<Party> = wanted
                .map(|one| {
                    let named = named.iter().find(|party| party.address.eq_ignore_ascii_case(&one.address));
                    named.cloned().unwrap_or_else(|| Party { name: String::new(), address: one.address.clone() })
                })
                .collect();
            written(&parties)
        };
        let draft = DraftId(self.clock.uuid());
        // The display is bounded; the draft has the whole text.
        let whole = message::whole_text(&raw);
        let mailbox = self.way_out(user, &delivery).await?.map(|mailbox| mailbox.id.to_string()).unwrap_or_default();
        let form = ComposeForm {
            mailbox,
            to: of(RecipientKind::To, &opened.to),
            cc: of(RecipientKind::Cc, &opened.cc),
            bcc: of(RecipientKind::Bcc, &[]),
            subject: delivery.subject,
            // The last line end belongs to the transfer.
            text: whole
                .as_deref()
                .or(opened.text.as_deref())
                .unwrap_or_default()
                .replace("\r\n", "\n")
                .trim_end_matches('\n')
                .to_owned(),
            key: draft.to_string(),
        };
        let body = Draft { form, references: opened.references.clone(), answers: None };
        self.put_body(user, draft, &body, &FormVersion::default()).await?;
        for part in &opened.parts {
            let bytes = message::bytes_of(&raw, part);
            let file = NewFile { name: part.name.clone(), content_type: part.content_type.clone(), bytes };
            if let Err(error) = self.attach_files(user, draft, vec![file], &FormVersion::default()).await {
                self.throw_away(user, draft).await?;
                return Err(error);
            }
        }
        Ok(draft)
    }
}
