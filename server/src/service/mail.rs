//! Writing messages, and their delivery status.

use app::backend::{DraftLock, Mail, MailOwner, NewFile, SignedIn};
use app::error::AppError;
use app::model::{
    AttachmentId, AttachmentView, ComposeForm, ComposeView, DeliveryId, DeliveryState, DeliveryView, DraftId,
    DraftView, FieldError, FormVersion, LetterView, MailboxId, MailboxState, MessageRef, Notice, RecipientKind,
    RecipientState, ReplyKind, Resubmission, Timestamp, Tone, UtcOffset,
};
use async_trait::async_trait;

use super::drafts::{digest, form_place};
use super::{Handle, OrInternal, Services, internal};
use crate::message::addresses::{Named, parse_list};
use crate::message::build::Written;
use crate::outbox::{Body, body_place};
use crate::store::{Event, Mailbox, NewDelivery, SendQueue};
use crate::vault::Secret;

/// Messages on one page of the outbox.
const PAGE: i64 = 30;
/// Recipients of one message. Exchange Online allows 500 by default and at most 1,000.
const MOST_RECIPIENTS: usize = 500;
/// Longest text of a message, in bytes.
const MOST_TEXT: usize = 1 << 20;
/// Longest subject, in characters: encoded, it must fit the header of any server.
const MOST_SUBJECT: usize = 500;

fn wrong(field: &str, label: &str, text: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), label: label.into(), text: text.into() }
}

/// The parsed form.
struct Letter {
    to: Vec<Named>,
    cc: Vec<Named>,
    bcc: Vec<Named>,
}

impl Letter {
    fn parse(form: &ComposeForm) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut list = |name: &str, label: &str, text: &str| {
            parse_list(text).unwrap_or_else(|error| {
                errors.push(wrong(name, label, error));
                Vec::new()
            })
        };
        let letter =
            Self { to: list("to", "To", &form.to), cc: list("cc", "Cc", &form.cc), bcc: list("bcc", "Bcc", &form.bcc) };
        let count = letter.recipients().count();
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
        if errors.is_empty() { Ok(letter) } else { Err(errors) }
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
fn waits(mailbox: &Mailbox) -> Option<Notice> {
    let (title, text) = match mailbox.state {
        MailboxState::Connected => return None,
        MailboxState::NeedsReconnect => {
            ("Message saved, not sent yet.", "We'll send it as soon as you reconnect your mailbox.")
        }
        // Perhaps only reading fails; the delivery will show.
        MailboxState::Blocked => (
            "Message queued.",
            "A check of this mailbox failed. If that stops this message, we'll send it when the mailbox is fixed: see User Account > Email.",
        ),
    };
    Some(Notice::new(Tone::Warning, title, text))
}

impl Services {
    async fn sender(&self, user: &SignedIn, mailbox: &str) -> Result<Mailbox, AppError> {
        let mine = self.store.mailboxes_of(user.institution().id, user.user_id()).await.or_internal(self)?;
        let chosen: Option<MailboxId> = mailbox.parse().ok();
        mine.into_iter()
            .find(|mailbox| Some(mailbox.id) == chosen)
            .ok_or_else(|| AppError::field("mailbox", "From", "Choose one of your mailboxes."))
    }
}

#[async_trait]
impl Mail for Handle {
    async fn compose(&self, user: &MailOwner, draft: Option<DraftId>) -> Result<ComposeView, AppError> {
        self.compose_view(user, draft).await
    }

    fn attachment_limit(&self) -> u64 {
        self.config.attachment_limit
    }

    async fn lock_draft(&self, draft: DraftId) -> DraftLock {
        Box::new(self.draft_locks.lock(draft).await)
    }

    async fn save_draft(&self, user: &MailOwner, form: ComposeForm, edit: FormVersion) -> Result<(), AppError> {
        self.keep_draft(user, form, &edit).await
    }

    async fn earlier(
        &self,
        user: &MailOwner,
        form: &ComposeForm,
        edit: &FormVersion,
    ) -> Result<Resubmission, AppError> {
        self.queued_earlier(user, form, edit).await
    }

    async fn letter(&self, user: &MailOwner, id: DeliveryId) -> Result<LetterView, AppError> {
        self.letter_view(user, id).await
    }

    async fn rewrite(&self, user: &MailOwner, id: DeliveryId) -> Result<DraftId, AppError> {
        self.begin_again(user, id).await
    }

    async fn attach(
        &self,
        user: &MailOwner,
        draft: DraftId,
        files: Vec<NewFile>,
        edit: &FormVersion,
    ) -> Result<Vec<AttachmentView>, AppError> {
        self.attach_files(user, draft, files, edit).await
    }

    async fn detach(&self, user: &MailOwner, draft: DraftId, attachment_id: AttachmentId) -> Result<Notice, AppError> {
        self.take_away(user, draft, attachment_id).await
    }

    async fn discard_draft(&self, user: &MailOwner, draft: DraftId) -> Result<Notice, AppError> {
        self.throw_away(user, draft).await
    }

    async fn drafts(&self, user: &MailOwner) -> Result<Vec<DraftView>, AppError> {
        self.draft_views(user).await
    }

    async fn answer(
        &self,
        user: &MailOwner,
        message: &MessageRef,
        kind: ReplyKind,
        zone: Option<UtcOffset>,
    ) -> Result<DraftId, AppError> {
        self.begin_answer(user, message, kind, zone).await
    }

    async fn send(&self, user: &MailOwner, form: ComposeForm, edit: &FormVersion) -> Result<Notice, AppError> {
        let draft: DraftId = form.key.parse().map_err(|_| AppError::Malformed)?;
        let mailbox = self.sender(user, &form.mailbox).await?;
        let on_its_way = waits(&mailbox).unwrap_or_else(|| {
            Notice::new(Tone::Success, "Sending…", "Its delivery status below updates automatically.")
        });
        let institution = user.institution().id;
        // Submitted twice: the message is queued already.
        if let Some((before, _)) = self.store.queued(institution, user.user_id(), &form.key).await.or_internal(self)? {
            let state = self.own_delivery(user, before).await?.state;
            if matches!(state, DeliveryState::Failed | DeliveryState::Cancelled | DeliveryState::Bounced) {
                let text = "Its delivery status is below. You can try again there.";
                return Ok(Notice::new(Tone::Warning, "You already sent this message; it wasn't delivered.", text));
            }
            return Ok(on_its_way);
        }
        let letter = Letter::parse(&form).map_err(|fields| AppError::Invalid { fields })?;
        let from = app::model::EmailAddress::parse(&mailbox.address).map_err(|error| internal(&self.clock, &error))?;
        let (id, now) = (DeliveryId(self.clock.uuid()), self.clock.now());
        let message_id = format!("<{}@{}>", self.clock.uuid(), mailbox.address.rsplit('@').next().unwrap_or_default());
        let kept = self.draft_body(user, draft).await?.unwrap_or_default();
        let files = self.files(user, draft).await?;
        let written = Written {
            from: &from,
            to: &letter.to,
            cc: &letter.cc,
            subject: &form.subject,
            text: &form.text,
            at: now,
            message_id: &message_id,
            references: &kept.references,
            files,
        };
        let bytes = written
            .build()
            .map_err(|error| AppError::field("to", "To", format!("This message can't be sent: {error}.")))?;
        self.check_queue(user, bytes.len() as u64).await?;
        let body = serde_json::to_string(&Body::of(bytes));
        let body = Secret::new(body.map_err(|error| internal(&self.clock, &error))?);
        let recipients = letter.addressed();
        let new = NewDelivery {
            id,
            user: Some(user.user_id()),
            idempotency_key: form.key.clone(),
            message_id,
            from: mailbox.address.clone(),
            subject: form.subject.trim().to_owned(),
            body_sealed: self.vault.seal(&body_place(id), &body).or_internal(self)?,
            form_sealed: self.vault.seal(&form_place(id), &Secret::new(digest(&form, edit))).or_internal(self)?,
            recipients,
        };
        drop(body);
        let queue = SendQueue::of_mailbox(institution, mailbox.id);
        let mut tx = self.store.begin().await.or_internal(self)?;
        let queued = self.store.enqueue(&mut tx, &queue, &new, now).await.or_internal(self)?;
        self.store.drop_draft(&mut tx, institution, user.user_id(), draft).await.or_internal(self)?;
        tx.commit().await.or_internal(self)?;
        if queued {
            self.mark_answered(user, &kept);
        }
        self.outbox.wake();
        self.store.publish(Event::Mail(user.user_id())).await;
        Ok(on_its_way)
    }

    async fn outbox(&self, user: &MailOwner, before: Option<Timestamp>) -> Result<(Vec<DeliveryView>, bool), AppError> {
        let institution = user.institution().id;
        let page = (before.unwrap_or(Timestamp(i64::MAX)), PAGE + 1);
        let mut found = self.store.deliveries_of(institution, user.user_id(), page).await.or_internal(self)?;
        let shown = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let more = found.len() > shown;
        found.truncate(shown);
        let mailboxes = self.store.mailboxes_of(institution, user.user_id()).await.or_internal(self)?;
        let mut views = Vec::with_capacity(found.len());
        for delivery in found {
            views.push(self.delivery_view(user, delivery, &mailboxes).await?);
        }
        Ok((views, more))
    }

    async fn cancel(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice, AppError> {
        let delivery = self.own_delivery(user, id).await?;
        let now = self.clock.now();
        match self.store.cancel_delivery(delivery.institution, user.user_id(), id, now).await.or_internal(self)? {
            Some(DeliveryState::Cancelled) => {
                return Ok(Notice::new(Tone::Success, "Sending cancelled.", "The message wasn't sent."));
            }
            Some(_) => {
                let text = "Some recipients already have it; the others won't get it.";
                return Ok(Notice::new(Tone::Warning, "Sending cancelled.", text));
            }
            None => {}
        }
        Err(AppError::refused("Too late to cancel: the message is already being sent, or was cancelled."))
    }

    async fn retry(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice, AppError> {
        let delivery = self.own_delivery(user, id).await?;
        let Some(mailbox) = self.way_out(user, &delivery).await? else {
            return Err(AppError::refused(format!("{} isn't connected. Connect it first.", delivery.from)));
        };
        let (institution, now) = (delivery.institution, self.clock.now());
        let queue = SendQueue::of_mailbox(institution, mailbox.id);
        if !self.store.retry_delivery(institution, user.user_id(), (id, &queue), now).await.or_internal(self)? {
            return Err(AppError::refused("This message is being sent, or was sent."));
        }
        self.outbox.wake();
        Ok(waits(&mailbox).unwrap_or_else(|| Notice::new(Tone::Success, "Trying again.", "")))
    }

    async fn look_for(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice, AppError> {
        let delivery = self.own_delivery(user, id).await?;
        if delivery.state != DeliveryState::Unknown {
            return Err(AppError::refused("We already know what happened to this message."));
        }
        let Some(mailbox) = self.way_out(user, &delivery).await? else {
            return Err(AppError::refused(format!("{} isn't connected. Connect it first.", delivery.from)));
        };
        let now = self.clock.now();
        // Every send attempt has the same Message-ID.
        let recipients = self.store.recipients(delivery.institution, id).await.or_internal(self)?;
        let some_had_it = recipients.iter().any(|one| one.state == RecipientState::Accepted);
        let asked = crate::mailbox_sync::Command::FindSent { message_id: delivery.message_id.clone() };
        let looked = self.mailbox_sync.execute(mailbox.institution, mailbox.id, asked).await;
        match looked {
            Ok(crate::mailbox_sync::Reply::Found(Some(_))) if some_had_it => Ok(Notice::new(
                Tone::Warning,
                "The copy in Sent Items may be an earlier one.",
                "Some recipients had accepted this message before the connection dropped, so the copy proves nothing for the others. Ask them before you resend it.",
            )),
            Ok(crate::mailbox_sync::Reply::Found(Some(folder))) => {
                let answer = format!("found in {folder}");
                self.store.prove_sent(delivery.institution, id, &answer, now).await.or_internal(self)?;
                self.store.publish(Event::Mail(user.user_id())).await;
                Ok(Notice::new(Tone::Success, "Delivered to Microsoft.", format!("The copy is in {folder}.")))
            }
            Ok(_) => Ok(Notice::new(
                Tone::Warning,
                "No copy in Sent Items yet.",
                "That doesn't mean it wasn't sent: copies can be late or turned off. Ask the recipient before you resend it.",
            )),
            Err(error) => Err(match self.sync_failure(user, &mailbox, &error) {
                AppError::Diagnosed { diagnosis } => {
                    AppError::refused(format!("{} {}", diagnosis.title, diagnosis.summary))
                }
                other => other,
            }),
        }
    }
}
