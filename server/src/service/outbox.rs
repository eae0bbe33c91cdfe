//! Sent messages as their writer sees them: delivery status, content while it is kept, and what can be done with each.

use app::backend::{BackendError, ListPage, MailOwner, NewFile, Outbox, Result, SignedIn};
use app::error::AppError;
use app::model::{
    ComposeForm, DeliveryId, DeliveryState, DeliveryView, DraftId, FolderRole, FormVersion, INBOX_PATH, MailboxState,
    Notice, RecipientKind, RecipientState, SendWay, SentMessageView, Timestamp, Tone, escaped,
};
use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};

use super::drafts::DraftBody;
use super::replies::written;
use super::send::waits;
use super::{Handle, Services};
use crate::access_tokens::Resource;
use crate::mail::graph::GraphLogin;
use crate::mailbox_sync::{Command, Reply, SyncError};
use crate::message::{self, ParsedMessage, Party};
use crate::outbox::{QueuedBody, body_place};
use crate::store::{Delivery, Mailbox, Page, SendQueue};

/// Messages on one page.
const PAGE: usize = 30;

impl Services {
    /// The folder in which a message left its copy. A mailbox that sends through Graph is asked there: its IMAP may be switched off.
    async fn sent_copy(&self, mailbox: &Mailbox, message_id: &str) -> Result<Option<String>, SyncError> {
        let graph = self.config.clouds.hosts_of(&mailbox.app.cloud).graph.as_ref();
        if let (SendWay::Graph, Some(graph)) = (mailbox.sends_by, graph)
            && let Ok(token) = self.tokens.access_to(mailbox, Resource::Graph).await
            && let Ok(found) = self.graph.is_sent(GraphLogin { graph, token: &token.secret }, message_id).await
        {
            return Ok(found.then(|| "Sent Items".to_owned()));
        }
        let asked = Command::FindSent { message_id: message_id.to_owned() };
        match self.mailbox_sync.execute(mailbox.key(), asked).await? {
            Reply::Found(folder) => Ok(folder),
            _ => Ok(None),
        }
    }

    pub(super) async fn own_delivery(&self, user: &SignedIn, id: DeliveryId) -> Result<Delivery> {
        let found = self.store.delivery(user.institution().id, id).await?;
        found.filter(|found| found.user == Some(user.user_id())).ok_or_else(|| AppError::NotFound.into())
    }

    /// The mailbox a message is sent through: its own, or one connected again since.
    pub(super) async fn mailbox_of(&self, user: &SignedIn, delivery: &Delivery) -> Result<Option<Mailbox>> {
        let mine = self.store.mailboxes_of(user.institution().id, user.user_id()).await?;
        Ok(mine
            .into_iter()
            .find(|mailbox| mailbox.id.0 == delivery.queue || mailbox.address.eq_ignore_ascii_case(&delivery.from)))
    }

    pub(super) async fn delivery_view(
        &self,
        user: &SignedIn,
        delivery: Delivery,
        mailboxes: &[Mailbox],
    ) -> Result<DeliveryView> {
        let recipients = self.store.recipients(delivery.institution, delivery.id).await?;
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
            problem: delivery.fault.filter(|_| shown).map(|fault| fault.explain(&reader)),
            held,
            keeps_text: !delivery.body_sealed.is_empty(),
        })
    }

    /// The parsed content of a message; `None` if it is not kept.
    async fn content(&self, delivery: &Delivery) -> Result<Option<(Vec<u8>, ParsedMessage)>> {
        if delivery.body_sealed.is_empty() {
            return Ok(None);
        }
        let opened = self.vault.open(&body_place(delivery.id), &delivery.body_sealed)?;
        let raw = match serde_json::from_str(opened.expose()) {
            Ok(QueuedBody::Text(text)) => text.into_bytes(),
            Ok(QueuedBody::Message(text)) => BASE64_STANDARD.decode(text).map_err(BackendError::internal)?,
            Ok(QueuedBody::Notification { .. }) => return Ok(None),
            Err(error) => return Err(BackendError::internal(error)),
        };
        let apart = tokio::task::spawn_blocking(move || {
            let opened = message::parse(&raw, false);
            (raw, opened)
        });
        apart.await.map(Some).map_err(BackendError::internal)
    }
}

#[async_trait]
impl Outbox for Handle {
    async fn list(&self, user: &MailOwner, before: Option<Timestamp>) -> Result<ListPage<DeliveryView>> {
        let institution = user.institution().id;
        let found = self.store.deliveries_of(institution, user.user_id(), Page::before(before, PAGE + 1)).await?;
        let ListPage { rows: found, more } = ListPage::new(found, PAGE);
        let mailboxes = self.store.mailboxes_of(institution, user.user_id()).await?;
        let mut views = Vec::with_capacity(found.len());
        for delivery in found {
            views.push(self.delivery_view(user, delivery, &mailboxes).await?);
        }
        Ok(ListPage { rows: views, more })
    }

    async fn message(&self, user: &MailOwner, id: DeliveryId) -> Result<SentMessageView> {
        let delivery = self.own_delivery(user, id).await?;
        let content = self.content(&delivery).await?;
        let mailboxes = self.store.mailboxes_of(delivery.institution, user.user_id()).await?;
        let message_id = delivery.message_id.clone();
        let (text, files) = match content {
            Some((_, opened)) => (
                Some(opened.text.unwrap_or_default()),
                opened.parts.iter().map(|part| (part.name.clone(), part.size())).collect(),
            ),
            None => (None, Vec::new()),
        };
        let sent_folder = match self.mailbox_of(user, &delivery).await? {
            Some(mailbox) => {
                let folders = self.store.folders(mailbox.key()).await?;
                let sent = folders.into_iter().find(|folder| folder.role == FolderRole::Sent);
                sent.map(|sent| format!("{INBOX_PATH}?mailbox={}&folder={}", mailbox.id, escaped(&sent.name)))
            }
            None => None,
        };
        let delivery = self.delivery_view(user, delivery, &mailboxes).await?;
        Ok(SentMessageView { delivery, message_id, text, files, sent_folder })
    }

    async fn rewrite(&self, user: &MailOwner, id: DeliveryId) -> Result<DraftId> {
        let delivery = self.own_delivery(user, id).await?;
        if !delivery.state.is_final() {
            return Err(AppError::refused("This message is still being sent. Cancel sending first.").into());
        }
        let Some((raw, opened)) = self.content(&delivery).await? else {
            return Err(
                AppError::refused("This message was sent, so its text isn't kept. The copy is in Sent Items.").into()
            );
        };
        let recipients = self.store.recipients(delivery.institution, id).await?;
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
        let mailbox = self.mailbox_of(user, &delivery).await?.map(|mailbox| mailbox.id.to_string()).unwrap_or_default();
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
        let body = DraftBody { form, references: opened.references.clone(), answers: None };
        self.put_body(user, draft, &body, &FormVersion::default()).await?;
        for part in &opened.parts {
            let bytes = message::bytes_of(&raw, part);
            let file = NewFile { name: part.name.clone(), content_type: part.content_type.clone(), bytes };
            if let Err(error) = self.attach_files(user, draft, vec![file], &FormVersion::default()).await {
                self.discard_draft(user, draft).await?;
                return Err(error);
            }
        }
        Ok(draft)
    }

    async fn cancel(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice> {
        let delivery = self.own_delivery(user, id).await?;
        let now = self.clock.now();
        match self.store.cancel_delivery(delivery.institution, user.user_id(), id, now).await? {
            Some(DeliveryState::Cancelled) => {
                return Ok(Notice::new(Tone::Success, "Sending cancelled.", "The message wasn't sent."));
            }
            Some(_) => {
                let text = "Some recipients already have it; the others won't get it.";
                return Ok(Notice::new(Tone::Warning, "Sending cancelled.", text));
            }
            None => {}
        }
        Err(AppError::refused("Too late to cancel: the message is already being sent, or was cancelled.").into())
    }

    async fn retry(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice> {
        let delivery = self.own_delivery(user, id).await?;
        let Some(mailbox) = self.mailbox_of(user, &delivery).await? else {
            return Err(AppError::refused(format!("{} isn't connected. Connect it first.", delivery.from)).into());
        };
        let (institution, now) = (delivery.institution, self.clock.now());
        let queue = SendQueue::of_mailbox(mailbox.key());
        if !self.store.retry_delivery(institution, user.user_id(), id, &queue, now).await? {
            return Err(AppError::refused("This message is being sent, or was sent.").into());
        }
        self.outbox.wake();
        Ok(waits(&mailbox).unwrap_or_else(|| Notice::new(Tone::Success, "Trying again.", "")))
    }

    async fn check_sent(&self, user: &MailOwner, id: DeliveryId) -> Result<Notice> {
        let delivery = self.own_delivery(user, id).await?;
        if delivery.state != DeliveryState::Unknown {
            return Err(AppError::refused("We already know what happened to this message.").into());
        }
        let Some(mailbox) = self.mailbox_of(user, &delivery).await? else {
            return Err(AppError::refused(format!("{} isn't connected. Connect it first.", delivery.from)).into());
        };
        let now = self.clock.now();
        // Every send attempt has the same Message-ID.
        let recipients = self.store.recipients(delivery.institution, id).await?;
        let some_had_it = recipients.iter().any(|one| one.state == RecipientState::Accepted);
        match self.sent_copy(&mailbox, &delivery.message_id).await {
            Ok(Some(_)) if some_had_it => Ok(Notice::new(
                Tone::Warning,
                "The copy in Sent Items may be an earlier one.",
                "Some recipients had accepted this message before the connection dropped, so the copy proves nothing for the others. Ask them before you resend it.",
            )),
            Ok(Some(folder)) => {
                let answer = format!("found in {folder}");
                self.store.prove_sent(delivery.institution, id, &answer, now).await?;
                Ok(Notice::new(Tone::Success, "Delivered to Microsoft.", format!("The copy is in {folder}.")))
            }
            Ok(None) => Ok(Notice::new(
                Tone::Warning,
                "No copy in Sent Items yet.",
                "That doesn't mean it wasn't sent: copies can be late or turned off. Ask the recipient before you resend it.",
            )),
            Err(error) => Err(match self.sync_failure(user, &mailbox, error) {
                BackendError::App(AppError::Diagnosed { diagnosis }) => {
                    AppError::refused(format!("{} {}", diagnosis.title, diagnosis.summary)).into()
                }
                other => other,
            }),
        }
    }
}
