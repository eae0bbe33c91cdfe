//! What people write: kept as they type, with its files; and the beginning of an answer.

use app::backend::{NewFile, SignedIn};
use app::error::AppError;
use app::model::{
    Answer, AttachmentId, AttachmentView, ComposeForm, ComposeView, DeliveryId, DraftId, DraftView, Edit, MessagePlace,
    Notice, Tone, size_in_words,
};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use super::{OrInternal, Services, internal};
use crate::inbox::{self, Ask, Opened};
use crate::mail::compose::{File, utc};
use crate::store::NewAttachment;
use crate::vault::{Place, Secret};

/// Drafts of one person that begin by themselves.
const MOST_DRAFTS: i64 = 200;
/// And those that somebody keeps with a button: nothing they wrote is refused for the others.
const MOST_KEPT: i64 = 1_000;
/// Characters of a page's name.
const MOST_WRITER: usize = 64;
/// Files of one message.
const MOST_FILES: usize = 50;
/// Characters of a message that an answer quotes.
const MOST_QUOTED: usize = 100_000;

/// A draft as it is stored, sealed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    /// What is typed.
    pub form: ComposeForm,
    /// The chain of messages it answers, oldest first, with angle brackets.
    pub references: Vec<String>,
    /// The message it answers: it is marked when this is sent.
    pub answers: Option<(app::model::MailboxId, String, u32, u32)>,
}

fn body_place(draft: DraftId) -> Place {
    Place::new("drafts", "body_sealed", draft)
}

fn content_place(attachment: AttachmentId) -> Place {
    Place::new("attachments", "content_sealed", attachment)
}

/// Where the digest of a message's form is sealed.
pub(super) fn form_place(delivery: DeliveryId) -> Place {
    Place::new("deliveries", "form_sealed", delivery)
}

/// What makes two forms the same message.
pub(super) fn digest(form: &ComposeForm) -> String {
    let parts = [&form.to, &form.cc, &form.bcc, &form.subject, &form.text];
    let plain = parts.map(|part| part.replace("\r\n", "\n").trim().to_owned());
    crate::clock::sha256(&plain.join("\0"))
}

fn key(text: &str) -> Result<DraftId, AppError> {
    text.parse().map_err(|_| AppError::Malformed)
}

impl Services {
    pub(super) async fn draft_body(&self, me: &SignedIn, draft: DraftId) -> Result<Option<Body>, AppError> {
        let found = self.store.draft(me.institution().id, me.user(), draft).await.or_internal(self)?;
        let Some(found) = found else { return Ok(None) };
        let opened = self.vault.open(&body_place(draft), &found.body_sealed).or_internal(self)?;
        serde_json::from_str(opened.expose()).map(Some).map_err(|error| internal(&self.clock, &error))
    }

    pub(super) async fn put_body(
        &self,
        me: &SignedIn,
        draft: DraftId,
        body: &Body,
        edit: &Edit,
    ) -> Result<(), AppError> {
        let text = serde_json::to_string(body).map_err(|error| internal(&self.clock, &error))?;
        let sealed = self.vault.seal(&body_place(draft), &Secret::new(text)).or_internal(self)?;
        let (institution, now) = (me.institution().id, self.clock.now());
        let most = if edit.pressed { MOST_KEPT } else { MOST_DRAFTS };
        let kept = self
            .store
            .put_draft(institution, me.user(), (draft, &sealed), edit, (most, now))
            .await
            .or_internal(self)?;
        if kept {
            return Ok(());
        }
        if self.store.queued(institution, me.user(), &draft.to_string()).await.or_internal(self)?.is_some() {
            // A second press: there is nothing to be kept.
            if edit.pressed {
                return Ok(());
            }
            return Err(AppError::refused(
                "this message was sent already. Press Send or Keep as draft to make it a new one.",
            ));
        }
        Err(AppError::refused(format!("there are {most} drafts already. Send or throw away some of them first.")))
    }

    /// The form under a new key, if a message with other words was sent under its own.
    pub(super) async fn renewed_form(
        &self,
        me: &SignedIn,
        form: &ComposeForm,
    ) -> Result<Option<ComposeForm>, AppError> {
        let queued = self.store.queued(me.institution().id, me.user(), &form.key).await.or_internal(self)?;
        let Some((delivery, sealed)) = queued.filter(|(_, sealed)| !sealed.is_empty()) else { return Ok(None) };
        let before = self.vault.open(&form_place(delivery), &sealed).or_internal(self)?;
        let same = before.expose() == digest(form);
        Ok((!same).then(|| ComposeForm { key: self.clock.uuid().to_string(), ..form.clone() }))
    }

    pub(super) async fn compose_view(&self, me: &SignedIn, draft: Option<DraftId>) -> Result<ComposeView, AppError> {
        let institution = me.institution().id;
        let mine = self.store.mailboxes_of(institution, me.user()).await.or_internal(self)?;
        let kept = match draft {
            Some(draft) => self.draft_body(me, draft).await?,
            None => None,
        };
        let (form, attachments) = match (draft, kept) {
            (Some(draft), Some(body)) => {
                let attachments = self.store.attachments(institution, me.user(), draft).await.or_internal(self)?;
                (body.form, attachments)
            }
            _ => {
                let key = self.clock.uuid().to_string();
                (ComposeForm { key, ..ComposeForm::default() }, Vec::new())
            }
        };
        Ok(ComposeView {
            senders: mine.iter().map(|mailbox| self.mailbox_view(me, mailbox)).collect(),
            form,
            writer: self.clock.uuid().to_string(),
            attachments,
            attachment_limit: self.config.attachment_limit,
        })
    }

    pub(super) async fn keep_draft(&self, me: &SignedIn, form: ComposeForm, edit: &Edit) -> Result<(), AppError> {
        let draft = key(&form.key)?;
        if edit.writer.chars().count() > MOST_WRITER {
            return Err(AppError::Malformed);
        }
        let before = self.draft_body(me, draft).await?;
        if before.is_none() && form.is_blank() {
            return Ok(());
        }
        self.put_body(me, draft, &Body { form, ..before.unwrap_or_default() }, edit).await
    }

    pub(super) async fn attach_files(
        &self,
        me: &SignedIn,
        draft: DraftId,
        files: Vec<NewFile>,
    ) -> Result<Vec<AttachmentView>, AppError> {
        let institution = me.institution().id;
        // Pressed twice: it went with the message that is on its way.
        if self.store.queued(institution, me.user(), &draft.to_string()).await.or_internal(self)?.is_some() {
            return Ok(Vec::new());
        }
        if self.draft_body(me, draft).await?.is_none() {
            let form = ComposeForm { key: draft.to_string(), ..ComposeForm::default() };
            self.put_body(me, draft, &Body { form, ..Body::default() }, &Edit { pressed: true, ..Edit::default() })
                .await?;
        }
        for file in files {
            let there = self.store.attachments(institution, me.user(), draft).await.or_internal(self)?;
            if there.len() >= MOST_FILES {
                let text = format!("{MOST_FILES} files are attached already. Put more into an archive.");
                return Err(AppError::field("files", "Attachments", text));
            }
            let id = AttachmentId(self.clock.uuid());
            let (name, size) = (file_name(&file.name), file.octets.len() as u64);
            let content = Secret::new(BASE64_STANDARD.encode(&file.octets));
            drop(file.octets);
            let new = NewAttachment {
                id,
                content_type: content_type(&file.content_type),
                size,
                content_sealed: self.vault.seal(&content_place(id), &content).or_internal(self)?,
                name: name.clone(),
            };
            drop(content);
            let limit = self.config.attachment_limit;
            if !self.store.add_attachment(institution, me.user(), draft, &new, limit).await.or_internal(self)? {
                let text = format!(
                    "{name} was not attached: attachments may have {} together. Send large files as a link.",
                    size_in_words(limit)
                );
                return Err(AppError::field("files", "Attachments", text));
            }
        }
        self.store.attachments(institution, me.user(), draft).await.or_internal(self)
    }

    /// The files of a draft, opened.
    pub(super) async fn files(&self, me: &SignedIn, draft: DraftId) -> Result<Vec<File>, AppError> {
        let institution = me.institution().id;
        let mut files = Vec::new();
        for view in self.store.attachments(institution, me.user(), draft).await.or_internal(self)? {
            let found = self.store.attachment(institution, me.user(), view.id).await.or_internal(self)?;
            let Some((content_type, sealed)) = found else { continue };
            let content = self.vault.open(&content_place(view.id), &sealed).or_internal(self)?;
            let octets = BASE64_STANDARD.decode(content.expose()).map_err(|error| internal(&self.clock, &error))?;
            files.push(File { name: view.name, content_type, octets });
        }
        Ok(files)
    }

    pub(super) async fn take_away(
        &self,
        me: &SignedIn,
        draft: DraftId,
        which: AttachmentId,
    ) -> Result<Notice, AppError> {
        let dropped =
            self.store.drop_attachment(me.institution().id, me.user(), (draft, which)).await.or_internal(self)?;
        if dropped { Ok(Notice::new(Tone::Success, "The attachment is removed.", "")) } else { Err(AppError::NotFound) }
    }

    pub(super) async fn throw_away(&self, me: &SignedIn, draft: DraftId) -> Result<Notice, AppError> {
        let mut tx = self.store.begin().await.or_internal(self)?;
        self.store.drop_draft(&mut tx, me.institution().id, me.user(), draft).await.or_internal(self)?;
        tx.commit().await.or_internal(self)?;
        Ok(Notice::new(Tone::Success, "The draft is thrown away.", ""))
    }

    pub(super) async fn draft_views(&self, me: &SignedIn) -> Result<Vec<DraftView>, AppError> {
        let found = self.store.drafts(me.institution().id, me.user()).await.or_internal(self)?;
        let mut views = Vec::with_capacity(found.len());
        for (draft, attachments) in found {
            let opened = self.vault.open(&body_place(draft.id), &draft.body_sealed).or_internal(self)?;
            let body: Body = serde_json::from_str(opened.expose()).unwrap_or_default();
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

    /// Begins an answer: its draft is stored, with what it quotes and (forwarded) the files.
    pub(super) async fn begin_answer(
        &self,
        me: &SignedIn,
        place: &MessagePlace,
        how: Answer,
    ) -> Result<DraftId, AppError> {
        let mailbox = self.own_mailbox(me, place.mailbox).await?;
        let opened = self.open_message(me, &mailbox, place).await?;
        let draft = DraftId(self.clock.uuid());
        let (to, cc) = match how {
            Answer::Forward => (String::new(), String::new()),
            Answer::Reply => (written(&answered(&opened, &mailbox.address)), String::new()),
            Answer::ReplyAll => everybody(&opened, &mailbox.address),
        };
        let form = ComposeForm {
            mailbox: mailbox.id.to_string(),
            to,
            cc,
            subject: subject(how, &opened.subject),
            text: quoted(how, &opened),
            key: draft.to_string(),
            ..ComposeForm::default()
        };
        let mut references = Vec::new();
        if how != Answer::Forward {
            references.clone_from(&opened.references);
            references.extend(opened.message_id.clone());
        }
        let answers =
            (how != Answer::Forward).then(|| (place.mailbox, place.folder.clone(), place.validity, place.uid));
        self.put_body(me, draft, &Body { form, references, answers }, &Edit::default()).await?;
        if how == Answer::Forward {
            let copied = self.copy_files(me, draft, (&mailbox, place), &opened).await;
            if let Err(error) = copied {
                self.throw_away(me, draft).await?;
                return Err(error);
            }
        }
        Ok(draft)
    }

    /// Attaches the files of a message to the draft that forwards it.
    async fn copy_files(
        &self,
        me: &SignedIn,
        draft: DraftId,
        (mailbox, place): (&crate::store::Mailbox, &MessagePlace),
        opened: &Opened,
    ) -> Result<(), AppError> {
        let total: u64 = opened.parts.iter().map(inbox::Part::size).sum();
        if total > self.config.attachment_limit {
            return Err(AppError::refused(format!(
                "The attachments of this message have more than {} together: download them, and send them as a link.",
                size_in_words(self.config.attachment_limit)
            )));
        }
        if opened.parts.len() > MOST_FILES {
            return Err(AppError::refused(format!(
                "This message has more than {MOST_FILES} attachments: download them, and put them into an archive."
            )));
        }
        for part in &opened.parts {
            let mut reader = self.part_reader(mailbox, place, part);
            let mut octets = Vec::new();
            while let Some(some) = reader.next().await.map_err(|error| self.inbox_trouble(me, mailbox, &error))? {
                octets.extend(some);
            }
            let file = NewFile { name: part.name.clone(), content_type: part.content_type.clone(), octets };
            self.attach_files(me, draft, vec![file]).await?;
        }
        Ok(())
    }

    /// Marks the message that was answered: a failure of that harms nobody.
    pub(super) fn mark_answered(&self, me: &SignedIn, body: &Body) {
        let Some((mailbox, folder, validity, uid)) = body.answers.clone() else { return };
        let (inbox, institution, store) = (std::sync::Arc::clone(&self.inbox), me.institution().id, self.store.clone());
        self.tasks.spawn(async move {
            let noted = store.note_flags(institution, mailbox, (&folder, &[uid]), (None, None, Some(true))).await;
            if let Err(error) = noted {
                tracing::warn!("{error}");
            }
            let flag = crate::mail::imap::Flag::Answered;
            let ask = Ask::Flag { folder, validity, uids: vec![uid], flag, set: true };
            if let Err(error) = inbox.ask(institution, mailbox, ask).await {
                tracing::debug!("an answered message could not be marked: {error}");
            }
        });
    }
}

/// A file's name as it may stand in a header: its last part, without control characters.
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

/// Addresses as they are typed.
pub(super) fn written(all: &[(String, String)]) -> String {
    let each = all.iter().map(|(name, address)| {
        if name.is_empty() || name == address {
            address.clone()
        } else {
            format!("\"{}\" <{address}>", name.replace(['"', '\\'], ""))
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

/// To whom an answer goes: where the writer wants it; of one's own message, to whom that went.
fn answered(opened: &Opened, own: &str) -> Vec<(String, String)> {
    let own_message = opened.from.1.eq_ignore_ascii_case(own);
    if own_message {
        opened.to.clone()
    } else if opened.reply_to.is_empty() {
        vec![opened.from.clone()]
    } else {
        opened.reply_to.clone()
    }
}

/// Everybody a message went to but oneself: To and Cc.
fn everybody(opened: &Opened, own: &str) -> (String, String) {
    let mut seen = vec![own.to_lowercase()];
    let mut once = |all: Vec<(String, String)>| {
        let kept = all.into_iter().filter(|(_, address)| {
            let address = address.to_lowercase();
            let new = !address.is_empty() && !seen.contains(&address);
            if new {
                seen.push(address);
            }
            new
        });
        kept.collect::<Vec<_>>()
    };
    let to = once(answered(opened, own));
    let cc = once([opened.to.clone(), opened.cc.clone()].concat());
    // Written to oneself alone: then the answer goes there.
    if to.is_empty() && cc.is_empty() {
        return (own.to_owned(), String::new());
    }
    (written(&to), written(&cc))
}

fn subject(how: Answer, subject: &str) -> String {
    let (prefix, known): (&str, &[&str]) = match how {
        Answer::Reply | Answer::ReplyAll => ("Re: ", &["re:", "aw:", "sv:"]),
        Answer::Forward => ("Fwd: ", &["fwd:", "fw:", "wg:"]),
    };
    let lower = subject.to_lowercase();
    if known.iter().any(|known| lower.starts_with(known)) { subject.to_owned() } else { format!("{prefix}{subject}") }
}

/// The text of an answer: room to write, then what it answers.
fn quoted(how: Answer, opened: &Opened) -> String {
    let text = match (&opened.text, &opened.html) {
        (Some(text), _) => text.clone(),
        (None, Some(html)) => inbox::as_text(html),
        (None, None) => String::new(),
    };
    let text: String = text.replace("\r\n", "\n").chars().take(MOST_QUOTED).collect();
    let (name, address) = &opened.from;
    let who = if name.is_empty() { address.clone() } else { format!("{name} <{address}>") };
    let when = opened.date.map(utc).unwrap_or_default();
    if how == Answer::Forward {
        let to = written(&opened.to);
        return format!(
            "\n\n---------- Forwarded message ----------\nFrom: {who}\nDate: {when}\nSubject: {}\nTo: {to}\n\n{text}",
            opened.subject
        );
    }
    let lines = text
        .trim_end()
        .lines()
        .map(|line| if line.starts_with('>') { format!(">{line}") } else { format!("> {line}") });
    let before = if when.is_empty() { format!("{who} wrote:") } else { format!("On {when}, {who} wrote:") };
    format!("\n\n{before}\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Opened {
        let person = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        Opened {
            from: person("Ann \"A\"", "ann@x.example"),
            to: vec![person("", "me@demo.example"), person("Bob", "bob@x.example")],
            cc: vec![person("", "ANN@x.example"), person("", "cy@x.example")],
            subject: "Plan".into(),
            text: Some("One\r\n> two".into()),
            ..Opened::default()
        }
    }

    #[test]
    fn an_answer_to_everybody_leaves_out_oneself_and_names_nobody_twice() {
        let (to, cc) = everybody(&message(), "me@demo.example");
        assert_eq!(to, "\"Ann A\" <ann@x.example>");
        assert_eq!(cc, "\"Bob\" <bob@x.example>, cy@x.example");
        assert_eq!(crate::mail::recipients::parse_list(&format!("{to}, {cc}")).unwrap().len(), 3);
    }

    #[test]
    fn an_answer_goes_where_its_writer_wants_it() {
        let mut opened = message();
        opened.reply_to = vec![(String::new(), "list@x.example".into())];
        assert_eq!(written(&answered(&opened, "me@demo.example")), "list@x.example");
        assert_eq!(answered(&opened, "ann@x.example").len(), 2, "of one's own message: to whom that went");
    }

    #[test]
    fn subjects_and_quotes() {
        assert_eq!(subject(Answer::Reply, "Plan"), "Re: Plan");
        assert_eq!(subject(Answer::Reply, "RE: Plan"), "RE: Plan");
        assert_eq!(subject(Answer::Forward, "Plan"), "Fwd: Plan");
        let text = quoted(Answer::Reply, &message());
        assert!(text.starts_with("\n\nAnn") && text.contains("\n> One\n>> two\n"), "{text}");
        assert!(quoted(Answer::Forward, &message()).contains("Subject: Plan"));
    }

    #[test]
    fn names_and_types_of_files() {
        assert_eq!(file_name("C:\\fakepath\\plan.pdf\r\nX: y"), "plan.pdfX: y");
        assert_eq!(file_name("../.."), "..");
        assert_eq!(content_type("text/html; charset=utf-8"), "text/html");
        assert_eq!(content_type("text/html\r\nX: y"), "application/octet-stream");
    }
}
