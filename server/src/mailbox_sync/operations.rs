//! How a worker executes commands.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use app::model::{FolderRole, HeaderView, MessageRef};
use tokio::time::Instant;

use super::worker::{FETCH_CHUNK, MAX_SHOWN, MailboxWorker};
use crate::mail::MailError;
use crate::mail::imap::{Mark, Session};
use crate::mailbox_sync::{Command, Listing, MessageSet, Reply, SyncError, folders, headers, search};
use crate::message::{self, ParsedMessage};

impl MailboxWorker {
    pub(super) async fn perform(&mut self, command: &Command) -> Result<Reply, SyncError> {
        match command {
            // Another replica holds the connection: it syncs, and its event reaches this replica too.
            Command::Sync { folder } if !self.may_watch().await? => {
                self.sync.announce_watch(self.key, folder);
                Ok(Reply::Done)
            }
            Command::Sync { folder } => self.sync(folder).await.map(|()| Reply::Done),
            Command::Open(message) => self.open(message).await.map(Reply::Opened),
            Command::Bytes { message, from, length } => {
                let session = self.at(&message.folder, message.uid_validity).await?;
                let bytes = session.bytes(message.uid, *from, (*length).min(FETCH_CHUNK)).await?;
                bytes.map(Reply::Bytes).ok_or(SyncError::NoMessage)
            }
            Command::Flag { messages, flag, set } => {
                let session = self.at(&messages.folder, messages.uid_validity).await?;
                session.flag(&messages.uids, *flag, *set).await?;
                Ok(Reply::Done)
            }
            Command::Delete(messages) => self.delete(messages).await,
            Command::Move { messages, to } => {
                let session = self.at(&messages.folder, messages.uid_validity).await?;
                let moved = session.move_to(&messages.uids, to).await?;
                self.sync(&messages.folder).await?;
                self.sync(to).await?;
                Ok(Reply::Moved(moved))
            }
            Command::Search { folder, text, most } => {
                let session = self.session().await?;
                let selected = session.select(folder).await?;
                let (headers, total, looked_through) = match session.search(text).await? {
                    Some(found) => {
                        let newest: Vec<u32> = found.iter().copied().take(*most).collect();
                        (listed(session, &newest).await?, found.len(), false)
                    }
                    None => {
                        let found = search::look_through(session, selected.exists, text).await?;
                        let total = found.len();
                        (found.into_iter().take(*most).collect(), total, true)
                    }
                };
                let total = u32::try_from(total).unwrap_or(u32::MAX);
                Ok(Reply::Headers(Listing { headers, total, uid_validity: selected.uid_validity, looked_through }))
            }
            Command::Page { folder, offset, limit } => {
                let session = self.session().await?;
                let selected = session.select(folder).await?;
                let to = selected.exists.saturating_sub(*offset);
                let headers = if to == 0 {
                    Vec::new()
                } else {
                    let uids = session.stretch(to.saturating_sub(limit.saturating_sub(1)).max(1), to).await?;
                    listed(session, &uids).await?
                };
                let (total, uid_validity) = (selected.exists, selected.uid_validity);
                Ok(Reply::Headers(Listing { headers, total, uid_validity, looked_through: false }))
            }
            Command::Arrived { message_id, attempt, round } => {
                let session = self.session().await?;
                let mark = Mark { message_id, attempt: attempt.as_deref() };
                Ok(Reply::Found(find_test_message(session, &mark, *round).await?))
            }
            Command::FindSent { message_id } => {
                let session = self.session().await?;
                let mark = Mark { message_id, attempt: None };
                for folder in session.folders().await? {
                    if folder.role == FolderRole::Sent
                        && folder.selectable
                        && session.contains(&folder.name, &mark).await?
                    {
                        return Ok(Reply::Found(Some(folder.name)));
                    }
                }
                Ok(Reply::Found(None))
            }
        }
    }

    /// The session with a folder selected. Fails if the folder has another UIDVALIDITY: its UIDs mean other messages then.
    pub(super) async fn at(&mut self, folder: &str, uid_validity: u32) -> Result<&mut Session, SyncError> {
        let session = self.session().await?;
        if session.ensure(folder).await?.uid_validity != uid_validity {
            return Err(SyncError::NoMessage);
        }
        Ok(session)
    }

    async fn open(&mut self, message: &MessageRef) -> Result<Arc<ParsedMessage>, SyncError> {
        let MessageRef { folder, uid_validity, uid, .. } = message;
        let (uid_validity, uid) = (*uid_validity, *uid);
        // The key contains the account: another account's message must never be found under it.
        let mailbox = self.mailbox().await?;
        let key = format!("{}\0{}\0{uid_validity}\0{uid}\0{folder}", self.key.id, mailbox.sign_in_name);
        if let Some(opened) = self.sync.opened_messages(&key) {
            return Ok(opened);
        }
        let session = self.at(folder, uid_validity).await?;
        let size = session.size(uid).await?.ok_or(SyncError::NoMessage)?;
        // Raw and parsed, a message takes about three times its size.
        let room = (size.min(MAX_SHOWN) / (1024 * 1024) + 1) * 3;
        let sync = Arc::clone(&self.sync);
        let _room = sync.opening.acquire_many(room).await.map_err(|_| SyncError::Busy)?;
        let session = self.at(folder, uid_validity).await?;
        // Until the server sends no more: RFC822.SIZE is the size it stores, which may differ from what it sends.
        let mut raw = Vec::with_capacity(size.min(MAX_SHOWN) as usize);
        loop {
            let from = u32::try_from(raw.len()).unwrap_or(u32::MAX);
            let wanted = FETCH_CHUNK.min(MAX_SHOWN.saturating_sub(from));
            if wanted == 0 {
                break;
            }
            let bytes = session.bytes(uid, from, wanted).await?.ok_or(SyncError::NoMessage)?;
            raw.extend_from_slice(&bytes);
            if bytes.len() < wanted as usize {
                break;
            }
        }
        let truncated = raw.len() >= MAX_SHOWN as usize;
        // Parsing a large or hostile message takes time: it must not block the runtime.
        let opened = tokio::task::spawn_blocking(move || message::parse(&raw, truncated)).await;
        let opened = Arc::new(opened.map_err(|_| SyncError::NoMessage)?);
        self.sync.keep(key, &opened);
        Ok(opened)
    }

    async fn delete(&mut self, messages: &MessageSet) -> Result<Reply, SyncError> {
        // Asks the server rather than the store, so that nothing is expunged by mistake.
        let chosen = self.mailbox().await?.trash_folder;
        let session = self.session().await?;
        let folders = session.folders().await?;
        let chosen = folders.iter().find(|one| one.selectable && Some(&one.name) == chosen.as_ref());
        let trash = chosen.or_else(|| folders.iter().find(|one| one.role == FolderRole::Trash));
        let trash = trash.map(|one| one.name.clone()).ok_or(SyncError::NoTrash)?;
        let session = self.at(&messages.folder, messages.uid_validity).await?;
        let moved = if trash == messages.folder {
            session.erase(&messages.uids).await?;
            None
        } else {
            session.move_to(&messages.uids, &trash).await?
        };
        self.sync(&messages.folder).await?;
        Ok(Reply::Moved(moved))
    }

    pub(super) async fn sync(&mut self, folder: &str) -> Result<(), SyncError> {
        // The time at which the sync began: it may miss what arrives meanwhile. A failed sync records nothing.
        let began = Instant::now();
        self.synced.retain(|(name, _)| name != folder);
        let mailbox = self.mailbox().await?;
        let list = self.listed.is_none_or(|at| at.elapsed() > Duration::from_secs(600));
        let sync = Arc::clone(&self.sync);
        let session = self.session().await?;
        if list {
            crate::mailbox_sync::folders::folders(&sync, &mailbox, session).await?;
        }
        crate::mailbox_sync::folders::folder(&sync, &mailbox, session, folder).await?;
        if list {
            self.listed = Some(Instant::now());
        }
        self.synced.push((folder.to_owned(), began));
        if mailbox.sync_problem.is_some() {
            self.store_problem(&mailbox, None).await?;
        }
        Ok(())
    }
}

/// Headers in the selected folder, newest first.
async fn listed(session: &mut Session, uids: &[u32]) -> Result<Vec<HeaderView>, SyncError> {
    let mut found = Vec::with_capacity(uids.len());
    for some in uids.chunks(100) {
        found.extend(folders::listed(session, some, None).await?.0.iter().map(headers::header));
    }
    found.sort_unstable_by_key(|header| std::cmp::Reverse(header.uid));
    Ok(found)
}

/// Looks once for the test message: in INBOX and Junk each time, in other folders every fourth time. Returns its folder.
pub async fn find_test_message(
    session: &mut Session,
    mark: &Mark<'_>,
    round: u32,
) -> Result<Option<String>, MailError> {
    if session.contains("INBOX", mark).await? {
        return Ok(Some("INBOX".into()));
    }
    let mut seen = HashSet::new();
    let folders = session.folders().await?;
    let (junk, others): (Vec<_>, Vec<_>) = folders
        .into_iter()
        .filter(|folder| folder.selectable && folder.role != FolderRole::Sent)
        .partition(|folder| folder.role == FolderRole::Junk);
    let others = others.into_iter().filter(|_| round % 4 == 1).take(100);
    for folder in junk.into_iter().chain(others) {
        if folder.name.eq_ignore_ascii_case("INBOX") || !seen.insert(folder.name.clone()) {
            continue;
        }
        match session.contains(&folder.name, mark).await {
            Ok(true) => return Ok(Some(folder.name)),
            // A folder that cannot be searched, such as a calendar, is skipped.
            Ok(false) => {}
            Err(error) if error.answered => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
