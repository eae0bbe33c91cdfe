//! One message: its page, its HTML, its attachments.

use std::sync::Arc;
use std::time::Duration;

use app::backend::{BackendError, Download, MailOwner, Result, SignedIn};
use app::error::AppError;
use app::model::{BodyView, MessageRef, MessageView, NestedView, PartView};
use futures::stream;

use super::{DEADLINE, Services, find_folder, folder_view, not_answering};
use crate::mail::imap;
use crate::mailbox_sync::{Command, MessageSet, PartDownload, Reply, SyncError};
use crate::message::{self, ParsedMessage, Part, Party};
use crate::store::{Event, FlagChange, Mailbox, MailboxKey};

/// How long a page waits for a message before it says that it is loading.
const PATIENCE: Duration = Duration::from_secs(3);

impl Services {
    pub(super) async fn message_view(&self, user: &MailOwner, place: &MessageRef) -> Result<MessageView> {
        let mailbox = self.own_mailbox(user, place.mailbox).await?;
        let (institution, now) = (mailbox.institution, self.clock.now());
        let folders = self.store.folders(mailbox.key()).await?;
        let folder = find_folder(&folders, &place.folder);
        let header = self.store.header(mailbox.key(), &place.folder, place.uid).await?;
        let header = header.filter(|_| folder.uid_validity == place.uid_validity);
        let (mailbox_sync, id, open) = (Arc::clone(&self.mailbox_sync), mailbox.id, Command::Open(place.clone()));
        // The fetch continues after the page's timeout: the next page finds the message.
        let fetching =
            self.tasks.spawn(async move { mailbox_sync.execute(MailboxKey { institution, id }, open).await });
        let (opened, problem) = match tokio::time::timeout(PATIENCE, fetching).await {
            Ok(Ok(Ok(Reply::Opened(opened)))) => (Some(opened), None),
            Ok(Ok(Err(error))) => match self.sync_failure(user, &mailbox, error) {
                BackendError::App(AppError::Diagnosed { diagnosis }) => (None, Some(*diagnosis)),
                other => return Err(other),
            },
            Ok(Ok(Ok(_)) | Err(_)) => return Err(AppError::NotFound.into()),
            Err(_) => (None, None),
        };
        if opened.is_some() && header.as_ref().is_none_or(|header| !header.seen) {
            self.mark_read(&mailbox, place);
        }
        let role = folder.role;
        let title = folder_view(&folder).title;
        let (from, to, cc, subject, date) = match (&opened, &header) {
            (Some(opened), _) => {
                let from = opened.from.iter().map(|party| (party.name.clone(), party.address.clone())).collect();
                (from, each(&opened.to), each(&opened.cc), opened.subject.clone(), opened.date)
            }
            (None, Some(header)) => {
                let from = vec![(header.from.clone(), header.from_address.clone())];
                let to = Some(header.recipients.clone()).filter(|to| !to.is_empty()).into_iter().collect();
                (from, to, Vec::new(), header.subject.clone(), Some(header.received_at))
            }
            (None, None) => (Vec::new(), Vec::new(), Vec::new(), String::new(), Some(now)),
        };
        Ok(MessageView {
            place: place.clone(),
            address: mailbox.address,
            role,
            folder_title: title,
            from,
            to,
            cc,
            subject,
            received_at: header.as_ref().map(|header| header.received_at).or(date),
            flagged: header.is_some_and(|header| header.flagged),
            body: opened.as_deref().map(|opened| body_view(opened, "")),
            problem,
        })
    }

    pub(super) async fn message_document(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        nested: &str,
        remote_images: bool,
    ) -> Result<String> {
        let mailbox = self.own_mailbox(user, place.mailbox).await?;
        let opened = self.open_message(user, &mailbox, place).await?;
        let nested = nested.to_owned();
        let made = tokio::task::spawn_blocking(move || {
            at_path(&opened, &nested).map(|opened| message::document(opened, remote_images))
        });
        made.await.map_err(BackendError::internal)?.ok_or_else(|| AppError::NotFound.into())
    }

    pub(super) async fn message_download(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        nested: &str,
        number: Option<usize>,
    ) -> Result<Download> {
        let mailbox = self.own_mailbox(user, place.mailbox).await?;
        let (name, content_type, mut reader) = match number {
            Some(number) => {
                let opened = self.open_message(user, &mailbox, place).await?;
                let opened = at_path(&opened, nested).ok_or(AppError::NotFound)?;
                let part = number.checked_sub(1).and_then(|at| opened.parts.get(at)).ok_or(AppError::NotFound)?;
                (part.name.clone(), part.content_type.clone(), self.download_part(&mailbox, place, Some(part)))
            }
            None => {
                let whole = self.download_part(&mailbox, place, None);
                (format!("message-{}.eml", place.uid), "message/rfc822".to_owned(), whole)
            }
        };
        // Waits for the first bytes, so that a missing message gives an error page rather than a broken file.
        let first = match tokio::time::timeout(DEADLINE, reader.next()).await {
            Ok(first) => first.map_err(|error| self.sync_failure(user, &mailbox, error))?,
            Err(_) => return Err(not_answering()),
        };
        let bytes = stream::unfold((reader, first), |(mut reader, ready)| async move {
            let next = match ready {
                Some(ready) => Ok(Some(ready)),
                None => reader.next().await,
            };
            match next {
                Ok(Some(bytes)) => Some((Ok(bytes), (reader, None))),
                Ok(None) => None,
                Err(error) => Some((Err(std::io::Error::other(error.to_string())), (reader.ended(), None))),
            }
        });
        Ok(Download { name, content_type, bytes: Box::pin(bytes) })
    }

    pub(in crate::service) async fn open_message(
        &self,
        user: &SignedIn,
        mailbox: &Mailbox,
        place: &MessageRef,
    ) -> Result<Arc<ParsedMessage>> {
        match self.run_command(user, mailbox, Command::Open(place.clone())).await? {
            Reply::Opened(opened) => Ok(opened),
            _ => Err(AppError::NotFound.into()),
        }
    }

    /// Downloads a part, or without one the whole message.
    pub(in crate::service) fn download_part(
        &self,
        mailbox: &Mailbox,
        place: &MessageRef,
        part: Option<&Part>,
    ) -> PartDownload {
        PartDownload::new(Arc::clone(&self.mailbox_sync), mailbox.institution, place.clone(), part)
    }

    /// Marks an opened message as read, without waiting.
    fn mark_read(&self, mailbox: &Mailbox, place: &MessageRef) {
        let (mailbox_sync, store, mailbox, place) =
            (Arc::clone(&self.mailbox_sync), self.store.clone(), mailbox.clone(), place.clone());
        self.tasks.spawn(async move {
            let (key, uids) = (mailbox.key(), vec![place.uid]);
            let change = FlagChange { seen: Some(true), ..FlagChange::default() };
            let noted = store.note_flags(key, &place.folder, &uids, change).await;
            let messages = MessageSet { folder: place.folder, uid_validity: place.uid_validity, uids };
            let flag = Command::Flag { messages, flag: imap::Flag::Seen, set: true };
            let flagged = mailbox_sync.execute(key, flag).await;
            if let (Err(error), _) | (_, Err(SyncError::Store(error))) = (noted, flagged) {
                tracing::warn!("cannot mark a message as read: {error}");
            }
            store.publish(Event::Mail(mailbox.user));
        });
    }
}

/// Names, or addresses where there is none, separated by commas.
pub(in crate::service) fn joined(all: &[Party]) -> String {
    each(all).join(", ")
}

fn each(all: &[Party]) -> Vec<String> {
    let each = all.iter().map(|Party { name, address }| match (name.is_empty(), address.is_empty()) {
        (true, _) => address.clone(),
        (_, true) => name.clone(),
        _ => format!("{name} <{address}>"),
    });
    each.collect()
}

/// A nested message: `2.1` is the first inside the second. The empty path is the message itself.
fn at_path<'a>(opened: &'a ParsedMessage, path: &str) -> Option<&'a ParsedMessage> {
    path.split('.')
        .filter(|step| !step.is_empty())
        .try_fold(opened, |opened, step| opened.nested.get(step.parse::<usize>().ok()?.checked_sub(1)?))
}

fn body_view(opened: &ParsedMessage, path: &str) -> BodyView {
    let nested = opened.nested.iter().enumerate().map(|(at, nested)| {
        let path = if path.is_empty() { (at + 1).to_string() } else { format!("{path}.{}", at + 1) };
        NestedView {
            from: joined(&nested.from),
            to: joined(&nested.to),
            subject: nested.subject.clone(),
            date: nested.date,
            body: body_view(nested, &path),
            path,
        }
    });
    let parts = opened.parts.iter().enumerate().filter(|(_, part)| !part.shown);
    BodyView {
        text: opened.text.as_deref().map(message::pieces),
        html: opened.html.is_some(),
        remote_images: opened.html.as_deref().is_some_and(message::has_remote_images),
        invitation: opened.invitation.clone(),
        protection: opened.protection,
        parts: parts
            .map(|(at, part)| PartView {
                number: at + 1,
                name: part.name.clone(),
                size: part.size(),
                damaged: part.damaged,
            })
            .collect(),
        nested: nested.collect(),
        damaged: opened.damaged,
        truncated: opened.truncated,
    }
}
