//! Drafts: saved while the user types, with attachments.

use app::backend::{BackendError, ComposeAction, Composed, Drafts, MailOwner, NewFile, PostedDraft, Result, SignedIn};
use app::error::AppError;
use app::model::{
    AttachmentId, AttachmentView, ComposeForm, ComposeView, DeliveryId, DraftId, DraftView, Flash, FormVersion,
    MessageRef, Notice, ReplyKind, Resubmission, Tone, UtcOffset, size_in_words,
};
use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use super::{Handle, Services};
use crate::message::build::File;
use crate::store::{Draft, NewAttachment};
use crate::vault::{Place, Secret};

/// Automatic drafts of one user.
const MOST_DRAFTS: i64 = 200;
/// Further drafts saved by the button: automatic ones never take their place.
const MOST_KEPT: i64 = 1_000;
/// Longest id of a page, in characters.
const MOST_WRITER: usize = 64;
/// Growth of a draft between checks of the limit, and allowance beyond it to finish a begun draft, in bytes.
const ROOM_TO_TYPE: usize = 4_096;
const ROOM_TO_FINISH: u64 = 256 * 1024;
/// Files of one message.
pub(super) const MOST_FILES: usize = 50;

/// The sealed content of a draft.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DraftBody {
    pub form: ComposeForm,
    /// Message-IDs for References, oldest first, with angle brackets.
    pub references: Vec<String>,
    /// The message it replies to, which is flagged \Answered when this is sent.
    pub answers: Option<(app::model::MailboxId, String, u32, u32)>,
}

fn body_place(draft: DraftId) -> Place {
    Place::new("drafts", "body_sealed", draft)
}

fn content_place(attachment: AttachmentId) -> Place {
    Place::new("attachments", "content_sealed", attachment)
}

/// Sealing place of the digest of a submitted form.
pub(super) fn form_place(delivery: DeliveryId) -> Place {
    Place::new("deliveries", "form_sealed", delivery)
}

/// Digest of what makes two submitted forms the same message: text, sender and files.
pub(super) fn digest(form: &ComposeForm, version: &FormVersion) -> String {
    let typed = [&form.mailbox, &form.to, &form.cc, &form.bcc, &form.subject, &form.text];
    let mut parts: Vec<String> = typed.map(|part| part.replace("\r\n", "\n").trim().to_owned()).into();
    parts.extend(version.files.iter().map(|(name, bytes)| format!("{bytes} {name}")));
    crate::clock::sha256(&parts.join("\0"))
}

fn key(text: &str) -> Result<DraftId> {
    text.parse().map_err(|_| AppError::Malformed.into())
}

impl Services {
    fn too_large(&self) -> BackendError {
        let limit = size_in_words(self.config.attachment_limit);
        let text = format!("Attachments can be {limit} in total. Send large files as a link.");
        AppError::field("files", "Attachments", text).into()
    }

    pub(super) async fn draft_body(&self, user: &SignedIn, draft: DraftId) -> Result<Option<DraftBody>> {
        let found = self.store.draft(user.institution().id, user.user_id(), draft).await?;
        let Some(found) = found else { return Ok(None) };
        let opened = self.vault.open(&body_place(draft), &found.body_sealed)?;
        serde_json::from_str(opened.expose()).map(Some).map_err(BackendError::internal)
    }

    pub(super) async fn put_body(
        &self,
        user: &SignedIn,
        draft: DraftId,
        body: &DraftBody,
        version: &FormVersion,
    ) -> Result<()> {
        let text = serde_json::to_string(body).map_err(BackendError::internal)?;
        let sealed = self.vault.seal(&body_place(draft), &Secret::new(text))?;
        let (institution, now) = (user.institution().id, self.clock.now());
        // A draft that does not grow needs no space.
        let before = self.store.draft(institution, user.user_id(), draft).await?;
        let size = before.as_ref().map(|before| before.body_sealed.len());
        let grown = sealed.len().saturating_sub(size.unwrap_or_default());
        if grown > 0 {
            let beyond = if size.is_some() && grown < ROOM_TO_TYPE { ROOM_TO_FINISH } else { 0 };
            self.check_drafts(user, grown as u64, beyond).await?;
        }
        let most = if version.pressed { MOST_KEPT } else { MOST_DRAFTS };
        let row = Draft { id: draft, body_sealed: sealed, updated_at: now };
        let kept = self.store.put_draft(institution, user.user_id(), &row, version, most).await?;
        if kept {
            return Ok(());
        }
        if self.store.queued(institution, user.user_id(), &draft.to_string()).await?.is_some() {
            // A repeated submission: nothing to save.
            if version.pressed {
                return Ok(());
            }
            return Err(AppError::refused(
                "This message was already sent. Press Send or Save draft to make it a new one.",
            )
            .into());
        }
        Err(AppError::refused(format!("You already have {most} drafts. Send or discard some first.")).into())
    }

    /// Whether a message with the key of this form was queued already, and with the same content.
    async fn resubmission(&self, user: &SignedIn, form: &ComposeForm, version: &FormVersion) -> Result<Resubmission> {
        let queued = self.store.queued(user.institution().id, user.user_id(), &form.key).await?;
        let Some((delivery, sealed)) = queued else { return Ok(Resubmission::Nothing) };
        // Queued by an older version without a digest.
        if sealed.is_empty() {
            return Ok(Resubmission::Same);
        }
        let before = self.vault.open(&form_place(delivery), &sealed)?;
        Ok(if before.expose() == digest(form, version) {
            Resubmission::Same
        } else {
            Resubmission::Changed(DraftId(self.clock.uuid()))
        })
    }

    async fn save_draft(&self, user: &SignedIn, form: ComposeForm, version: &FormVersion) -> Result<()> {
        let draft = key(&form.key)?;
        if version.writer.chars().count() > MOST_WRITER {
            return Err(AppError::Malformed.into());
        }
        let before = self.draft_body(user, draft).await?;
        if before.is_none() && form.is_blank() {
            return Ok(());
        }
        self.put_body(user, draft, &DraftBody { form, ..before.unwrap_or_default() }, version).await
    }

    pub(super) async fn attach_files(
        &self,
        user: &SignedIn,
        draft: DraftId,
        files: Vec<NewFile>,
        version: &FormVersion,
    ) -> Result<Vec<AttachmentView>> {
        let institution = user.institution().id;
        // Submitted twice: this file belongs to the message already queued. Files chosen later do not, and the page says so.
        if self.store.queued(institution, user.user_id(), &draft.to_string()).await?.is_some() {
            if version.pressed {
                return Ok(Vec::new());
            }
            return Err(
                AppError::refused("This message was already sent. Start a new one to attach more files.").into()
            );
        }
        if self.draft_body(user, draft).await?.is_none() {
            let form = ComposeForm { key: draft.to_string(), ..ComposeForm::default() };
            self.put_body(user, draft, &DraftBody { form, ..DraftBody::default() }, version).await?;
        }
        for file in files {
            let there = self.store.attachments(institution, user.user_id(), draft).await?;
            if there.len() >= MOST_FILES {
                let text = format!("{MOST_FILES} files are already attached. Put more into an archive.");
                return Err(AppError::field("files", "Attachments", text).into());
            }
            self.check_drafts(user, file.bytes.len() as u64, 0).await?;
            let id = AttachmentId(self.clock.uuid());
            let (name, size) = (file_name(&file.name), file.bytes.len() as u64);
            // A request that was cut off after it arrived: its files are attached already.
            if version.pressed && self.is_attached(user, &there, &name, &file.bytes).await? {
                continue;
            }
            let content = Secret::new(BASE64_STANDARD.encode(&file.bytes));
            drop(file.bytes);
            let new = NewAttachment {
                id,
                content_type: content_type(&file.content_type),
                size,
                content_sealed: self.vault.seal(&content_place(id), &content)?,
                name: name.clone(),
            };
            drop(content);
            let limit = self.config.attachment_limit;
            if !self.store.add_attachment(institution, user.user_id(), draft, &new, limit).await? {
                let text = format!(
                    "{name} wasn't attached: attachments can be {} in total. Send large files as a link.",
                    size_in_words(limit)
                );
                return Err(AppError::field("files", "Attachments", text).into());
            }
        }
        Ok(self.store.attachments(institution, user.user_id(), draft).await?)
    }

    async fn is_attached(&self, user: &SignedIn, there: &[AttachmentView], name: &str, bytes: &[u8]) -> Result<bool> {
        for one in there.iter().filter(|one| one.name == name && one.size == bytes.len() as u64) {
            let found = self.store.attachment(user.institution().id, user.user_id(), one.id).await?;
            let Some((_, sealed)) = found else { continue };
            let content = self.vault.open(&content_place(one.id), &sealed)?;
            if BASE64_STANDARD.decode(content.expose()).is_ok_and(|known| known == bytes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn files(&self, user: &SignedIn, draft: DraftId) -> Result<Vec<File>> {
        let institution = user.institution().id;
        let mut files = Vec::new();
        for view in self.store.attachments(institution, user.user_id(), draft).await? {
            let found = self.store.attachment(institution, user.user_id(), view.id).await?;
            let Some((content_type, sealed)) = found else { continue };
            let content = self.vault.open(&content_place(view.id), &sealed)?;
            let bytes = BASE64_STANDARD.decode(content.expose()).map_err(BackendError::internal)?;
            files.push(File { name: view.name, content_type, bytes });
        }
        Ok(files)
    }

    async fn detach(&self, user: &SignedIn, draft: DraftId, attachment_id: AttachmentId) -> Result<Notice> {
        let dropped = self.store.drop_attachment(user.institution().id, user.user_id(), draft, attachment_id).await?;
        if dropped { Ok(Notice::new(Tone::Success, "Attachment removed.", "")) } else { Err(AppError::NotFound.into()) }
    }

    pub(super) async fn discard_draft(&self, user: &SignedIn, draft: DraftId) -> Result<Notice> {
        let mut tx = self.store.begin().await?;
        self.store.drop_draft(&mut tx, user.institution().id, user.user_id(), draft).await?;
        tx.commit().await?;
        Ok(Notice::new(Tone::Success, "Draft discarded.", ""))
    }
}

#[async_trait]
impl Drafts for Handle {
    async fn compose(&self, user: &MailOwner, draft: Option<DraftId>) -> Result<ComposeView> {
        let institution = user.institution().id;
        let mine = self.store.mailboxes_of(institution, user.user_id()).await?;
        let kept = match draft {
            Some(draft) => self.draft_body(user, draft).await?,
            None => None,
        };
        let (form, attachments) = match (draft, kept) {
            (Some(draft), Some(body)) => {
                let attachments = self.store.attachments(institution, user.user_id(), draft).await?;
                (body.form, attachments)
            }
            _ => {
                let key = self.clock.uuid().to_string();
                (ComposeForm { key, ..ComposeForm::default() }, Vec::new())
            }
        };
        let reader = self.reader_of_mailboxes(user).await?;
        Ok(ComposeView {
            senders: mine.iter().map(|mailbox| Services::mailbox_view(user, mailbox, &reader)).collect(),
            form,
            sent_keys: self.store.sent_keys(institution, user.user_id()).await?,
            writer: self.clock.uuid().to_string(),
            attachments,
            attachment_limit: self.config.attachment_limit,
        })
    }

    fn attachment_limit(&self) -> u64 {
        self.config.attachment_limit
    }

    async fn submit(&self, user: &MailOwner, posted: PostedDraft, action: ComposeAction) -> Result<Composed> {
        let draft = posted.draft()?;
        let PostedDraft { mut form, version, files, left_out } = posted;
        if matches!(action, ComposeAction::Discard) {
            return self.discard_draft(user, draft).await.map(|notice| Composed::Drafts(Flash::notice(notice)));
        }
        // A second press waits for the first, and finds its outcome.
        let _lock = self.draft_locks.lock(draft).await;
        let resubmission = self.resubmission(user, &form, &version).await?;
        let draft = if let Resubmission::Changed(new) = resubmission { new } else { draft };
        form.key = draft.to_string();
        let result = async {
            // Saved first, so that nothing typed or attached is lost, whatever follows.
            self.save_draft(user, form.clone(), &version).await?;
            if !files.is_empty() {
                self.attach_files(user, draft, files, &version).await?;
            }
            if left_out {
                return Err(self.too_large());
            }
            let sent = "You already sent this message.";
            let notice = match (resubmission, action) {
                // The form was sent and changed since: another message, which the user has not decided to send yet.
                (Resubmission::Changed(_), _) => {
                    let text = "Your later changes are saved here as a new draft. Send it if you want to.";
                    Notice::new(Tone::Warning, sent, text)
                }
                (Resubmission::Same, ComposeAction::Save) => {
                    return Ok(Composed::Outbox(Flash::notice(Notice::new(
                        Tone::Warning,
                        sent,
                        "Its delivery status is below.",
                    ))));
                }
                (_, ComposeAction::Detach(attachment)) => self.detach(user, draft, attachment).await?,
                (_, ComposeAction::Send) => {
                    let notice = self.send(user, form, &version).await?;
                    return Ok(Composed::Outbox(Flash::notice(notice)));
                }
                (_, ComposeAction::Save | ComposeAction::Discard) => {
                    Notice::new(Tone::Success, "Draft saved.", "It's in Drafts.")
                }
            };
            Ok(Composed::Draft(draft, Ok(Flash::notice(notice))))
        };
        result.await.or_else(|error| Ok(Composed::Draft(draft, Err(error))))
    }

    async fn autosave(&self, user: &MailOwner, form: ComposeForm, version: FormVersion) -> Result<()> {
        let _lock = self.draft_locks.lock(key(&form.key)?).await;
        self.save_draft(user, form, &version).await
    }

    async fn attach(&self, user: &MailOwner, posted: PostedDraft) -> Result<Vec<AttachmentView>> {
        let draft = posted.draft()?;
        let _lock = self.draft_locks.lock(draft).await;
        self.save_draft(user, posted.form, &posted.version).await?;
        if posted.left_out {
            return Err(self.too_large());
        }
        self.attach_files(user, draft, posted.files, &posted.version).await
    }

    async fn discard(&self, user: &MailOwner, draft: DraftId) -> Result<Notice> {
        self.discard_draft(user, draft).await
    }

    async fn list(&self, user: &MailOwner) -> Result<Vec<DraftView>> {
        let found = self.store.drafts(user.institution().id, user.user_id()).await?;
        let mut views = Vec::with_capacity(found.len());
        for (draft, attachments) in found {
            let opened = self.vault.open(&body_place(draft.id), &draft.body_sealed)?;
            let body: DraftBody = serde_json::from_str(opened.expose()).unwrap_or_default();
            views.push(DraftView {
                id: draft.id,
                to: body.form.to,
                subject: body.form.subject,
                attachments,
                updated_at: draft.updated_at,
            });
        }
        Ok(views)
    }

    async fn reply(
        &self,
        user: &MailOwner,
        message: &MessageRef,
        kind: ReplyKind,
        zone: Option<UtcOffset>,
    ) -> Result<DraftId> {
        self.start_reply(user, message, kind, zone).await
    }
}

/// A file name for a header: its last path component, without control characters.
fn file_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    let clean = clean.trim();
    if clean.is_empty() { "file".to_owned() } else { clean.to_owned() }
}

fn content_type(text: &str) -> String {
    let essence = text.split(';').next().unwrap_or_default().trim().to_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.' | '+' | '_');
    let good = essence.split('/').count() == 2 && essence.len() < 120 && essence.chars().all(plain);
    if good { essence } else { "application/octet-stream".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_of_files() {
        assert_eq!(file_name("C:\\fakepath\\plan.pdf\r\nX: y"), "plan.pdfX: y");
        assert_eq!(file_name("../.."), "..");
        assert_eq!(content_type("text/html; charset=utf-8"), "text/html");
        assert_eq!(content_type("text/html\r\nX: y"), "application/octet-stream");
    }
}
