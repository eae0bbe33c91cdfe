//! Queues a message: parses the form, builds the message, and stores both in one transaction.

use app::backend::{BackendError, MailOwner, Result, SignedIn};
use app::error::AppError;
use app::model::{
    ComposeForm, DeliveryId, DeliveryState, DraftId, FieldError, FormVersion, MailboxId, MailboxState, Notice,
    RecipientKind, Tone,
};

use super::Services;
use super::drafts::{digest, form_place};
use crate::message::addresses::{Named, parse_list};
use crate::message::build::Written;
use crate::outbox::{QueuedBody, body_place};
use crate::store::{Author, Event, Mailbox, NewDelivery, SendQueue};
use crate::vault::Secret;

/// Recipients of one message. Exchange Online allows 500 by default and at most 1,000.
const MOST_RECIPIENTS: usize = 500;
/// Longest text of a message, in bytes.
const MOST_TEXT: usize = 1 << 20;
/// Longest subject, in characters: encoded, it must fit the header of any server.
const MOST_SUBJECT: usize = 500;

fn wrong(field: &str, label: &str, text: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), label: label.into(), text: text.into() }
}

struct Envelope {
    to: Vec<Named>,
    cc: Vec<Named>,
    bcc: Vec<Named>,
}

impl Envelope {
    fn parse(form: &ComposeForm) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut list = |name: &str, label: &str, text: &str| {
            parse_list(text).unwrap_or_else(|error| {
                errors.push(wrong(name, label, error));
                Vec::new()
            })
        };
        let envelope =
            Self { to: list("to", "To", &form.to), cc: list("cc", "Cc", &form.cc), bcc: list("bcc", "Bcc", &form.bcc) };
        let count = envelope.recipients().count();
        if errors.is_empty() && count == 0 {
            errors.push(wrong("to", "To", "Enter at least one address."));
        }
        if count > MOST_RECIPIENTS {
            errors.push(wrong(
                "to",
                "To",
                format!("A message can have at most {MOST_RECIPIENTS} recipients; this one has {count}."),
            ));
        }
        if form.subject.chars().count() > MOST_SUBJECT {
            errors.push(wrong("subject", "Subject", format!("Use at most {MOST_SUBJECT} characters.")));
        }
        if form.text.len() > MOST_TEXT {
            errors.push(wrong("text", "Message", "This text is too long for one message."));
        }
        if errors.is_empty() { Ok(envelope) } else { Err(errors) }
    }

    fn recipients(&self) -> impl Iterator<Item = (RecipientKind, &Named)> {
        let to = self.to.iter().map(|named| (RecipientKind::To, named));
        let cc = self.cc.iter().map(|named| (RecipientKind::Cc, named));
        to.chain(cc).chain(self.bcc.iter().map(|named| (RecipientKind::Bcc, named)))
    }

    /// Every recipient once.
    fn addressed(&self) -> Vec<(RecipientKind, String)> {
        let mut all: Vec<(RecipientKind, String)> = Vec::new();
        for (kind, named) in self.recipients() {
            if !all.iter().any(|(_, address)| named.address.same_as(address)) {
                all.push((kind, named.address.to_string()));
            }
        }
        all
    }
}

/// The notice for a message queued while its mailbox cannot send.
pub(super) fn waits(mailbox: &Mailbox) -> Option<Notice> {
    let (title, text) = match mailbox.state {
        MailboxState::Connected => return None,
        MailboxState::NeedsReconnect => {
            ("Message saved, not sent yet.", "We'll send it as soon as you reconnect your mailbox.")
        }
        // Perhaps only reading fails; the delivery will show.
        MailboxState::Blocked => (
            "Message queued.",
            "A check of this mailbox failed. If that stops this message, we'll send it when the mailbox is fixed: see User Account › Email.",
        ),
    };
    Some(Notice::new(Tone::Warning, title, text))
}

impl Services {
    async fn sender(&self, user: &SignedIn, mailbox: &str) -> Result<Mailbox> {
        let mine = self.store.mailboxes_of(user.institution().id, user.user_id()).await?;
        let chosen: Option<MailboxId> = mailbox.parse().ok();
        mine.into_iter()
            .find(|mailbox| Some(mailbox.id) == chosen)
            .ok_or_else(|| AppError::field("mailbox", "From", "Choose one of your mailboxes.").into())
    }

    pub(super) async fn send(&self, user: &MailOwner, form: ComposeForm, version: &FormVersion) -> Result<Notice> {
        let draft: DraftId = form.key.parse().map_err(|_| AppError::Malformed)?;
        let mailbox = self.sender(user, &form.mailbox).await?;
        let sending = waits(&mailbox).unwrap_or_else(|| {
            Notice::new(Tone::Success, "Sending…", "Its delivery status below updates automatically.")
        });
        let institution = user.institution().id;
        // Submitted twice: the message is queued already.
        if let Some((before, _)) = self.store.queued(institution, user.user_id(), &form.key).await? {
            let state = self.own_delivery(user, before).await?.state;
            if matches!(state, DeliveryState::Failed | DeliveryState::Cancelled | DeliveryState::Bounced) {
                let text = "Its delivery status is below. You can try again there.";
                return Ok(Notice::new(Tone::Warning, "You already sent this message; it wasn't delivered.", text));
            }
            return Ok(sending);
        }
        let envelope = Envelope::parse(&form).map_err(|fields| AppError::Invalid { fields })?;
        let from = app::model::EmailAddress::parse(&mailbox.address).map_err(BackendError::internal)?;
        let (id, now) = (DeliveryId(self.clock.uuid()), self.clock.now());
        let message_id = format!("<{}@{}>", self.clock.uuid(), mailbox.address.rsplit('@').next().unwrap_or_default());
        let draft_body = self.draft_body(user, draft).await?.unwrap_or_default();
        let files = self.files(user, draft).await?;
        let written = Written {
            from: &from,
            to: &envelope.to,
            cc: &envelope.cc,
            subject: &form.subject,
            text: &form.text,
            at: now,
            message_id: &message_id,
            references: &draft_body.references,
            files,
        };
        let bytes = written
            .build()
            .map_err(|error| AppError::field("to", "To", format!("This message can't be sent: {error}.")))?;
        self.check_queue(user, bytes.len() as u64).await?;
        let body = serde_json::to_string(&QueuedBody::of(bytes));
        let body = Secret::new(body.map_err(BackendError::internal)?);
        let recipients = envelope.addressed();
        let new = NewDelivery {
            id,
            author: Author::Person(user.user_id()),
            idempotency_key: form.key.clone(),
            message_id,
            from: mailbox.address.clone(),
            subject: form.subject.trim().to_owned(),
            body_sealed: self.vault.seal(&body_place(id), &body)?,
            form_sealed: self.vault.seal(&form_place(id), &Secret::new(digest(&form, version)))?,
            recipients,
        };
        drop(body);
        let queue = SendQueue::of_mailbox(mailbox.key());
        let mut tx = self.store.begin().await?;
        let queued = self.store.enqueue(&mut tx, &queue, &new, now).await?;
        self.store.drop_draft(&mut tx, institution, user.user_id(), draft).await?;
        tx.commit().await?;
        if queued {
            self.mark_answered(user, &draft_body);
        }
        self.outbox.wake();
        self.store.publish(Event::Mail(user.user_id()));
        Ok(sending)
    }
}
