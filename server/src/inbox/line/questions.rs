//! The questions that a line answers.

use std::sync::Arc;
use std::time::Duration;

use app::model::{FolderRole, HeaderView};
use tokio::time::Instant;

use super::{CHUNK, Line, MOST};
use crate::inbox::{Answer, Ask, InboxError, Listing, headers, search, sync};
use crate::mail::imap::{Mark, Session};
use crate::message::{self, ParsedMessage};

impl Line {
    pub(super) async fn perform(&mut self, ask: &Ask) -> Result<Answer, InboxError> {
        match ask {
            // Another replica has the connection: it looks, and what it finds is news here, too.
            Ask::Sync { folder } if !self.may_watch().await? => {
                self.inbox.say_looking(self.institution, self.id, folder).await;
                Ok(Answer::Done)
            }
            Ask::Sync { folder } => self.sync(folder).await.map(|()| Answer::Done),
            Ask::Open { folder, validity, uid } => self.opened(folder, *validity, *uid).await.map(Answer::Opened),
            Ask::Octets { folder, validity, uid, from, length } => {
                let session = self.at(folder, *validity).await?;
                let octets = session.octets(*uid, *from, (*length).min(CHUNK)).await?;
                octets.map(Answer::Octets).ok_or(InboxError::NoMessage)
            }
            Ask::Flag { folder, validity, uids, flag, set } => {
                self.at(folder, *validity).await?.flag(uids, *flag, *set).await?;
                Ok(Answer::Done)
            }
            Ask::Delete { folder, validity, uids } => self.delete(folder, *validity, uids).await,
            Ask::Move { folder, validity, uids, to } => {
                let moved = self.at(folder, *validity).await?.move_to(uids, to).await?;
                self.sync(folder).await?;
                self.sync(to).await?;
                Ok(Answer::Moved(moved))
            }
            Ask::Search { folder, text, most } => {
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
                Ok(Answer::Headers(Listing { headers, total, validity: selected.validity, looked_through }))
            }
            Ask::Page { folder, offset, limit } => {
                let session = self.session().await?;
                let selected = session.select(folder).await?;
                let to = selected.exists.saturating_sub(*offset);
                let headers = if to == 0 {
                    Vec::new()
                } else {
                    let uids = session.stretch(to.saturating_sub(limit.saturating_sub(1)).max(1), to).await?;
                    listed(session, &uids).await?
                };
                let (total, validity) = (selected.exists, selected.validity);
                Ok(Answer::Headers(Listing { headers, total, validity, looked_through: false }))
            }
            Ask::Arrived { message_id, attempt, round } => {
                let session = self.session().await?;
                let mark = Mark { message_id, attempt: attempt.as_deref() };
                Ok(Answer::Found(crate::inbox::arrived(session, &mark, *round).await?))
            }
            Ask::FindSent { message_id } => {
                let session = self.session().await?;
                let mark = Mark { message_id, attempt: None };
                for folder in session.folders().await? {
                    if folder.role == FolderRole::Sent
                        && folder.selectable
                        && session.contains(&folder.name, &mark).await?
                    {
                        return Ok(Answer::Found(Some(folder.name)));
                    }
                }
                Ok(Answer::Found(None))
            }
        }
    }

    /// The connection with a folder open, unless that was made anew meanwhile: then UIDs mean other messages.
    pub(super) async fn at(&mut self, folder: &str, validity: u32) -> Result<&mut Session, InboxError> {
        let session = self.session().await?;
        if session.ensure(folder).await?.validity != validity {
            return Err(InboxError::NoMessage);
        }
        Ok(session)
    }

    pub(super) async fn opened(
        &mut self,
        folder: &str,
        validity: u32,
        uid: u32,
    ) -> Result<Arc<ParsedMessage>, InboxError> {
        // Whose it is belongs to its name: another account's message must never be found under it.
        let mailbox = self.mailbox().await?;
        let key = format!("{}\0{}\0{validity}\0{uid}\0{folder}", self.id, mailbox.sign_in_name);
        if let Some(opened) = self.inbox.kept(&key) {
            return Ok(opened);
        }
        let session = self.at(folder, validity).await?;
        let size = session.size(uid).await?.ok_or(InboxError::NoMessage)?;
        // Raw and taken apart it takes its size some three times.
        let room = (size.min(MOST) / (1024 * 1024) + 1) * 3;
        let inbox = Arc::clone(&self.inbox);
        let _room = inbox.opening.acquire_many(room).await.map_err(|_| InboxError::Busy)?;
        let session = self.at(folder, validity).await?;
        // To its end, wherever the server says that is: its size is that of what it stores, not of what it sends.
        let mut raw = Vec::with_capacity(size.min(MOST) as usize);
        loop {
            let from = u32::try_from(raw.len()).unwrap_or(u32::MAX);
            let wanted = CHUNK.min(MOST.saturating_sub(from));
            if wanted == 0 {
                break;
            }
            let octets = session.octets(uid, from, wanted).await?.ok_or(InboxError::NoMessage)?;
            raw.extend_from_slice(&octets);
            if octets.len() < wanted as usize {
                break;
            }
        }
        let truncated = raw.len() >= MOST as usize;
        // Taking a large or hostile message apart takes a while: others go on meanwhile.
        let opened = tokio::task::spawn_blocking(move || message::parse(&raw, truncated)).await;
        let opened = Arc::new(opened.map_err(|_| InboxError::NoMessage)?);
        self.inbox.keep(key, &opened);
        Ok(opened)
    }

    pub(super) async fn delete(&mut self, folder: &str, validity: u32, uids: &[u32]) -> Result<Answer, InboxError> {
        // Asked of the server, not of what was known: nothing is deleted for good by mistake.
        let chosen = self.mailbox().await?.trash_folder;
        let session = self.session().await?;
        let folders = session.folders().await?;
        let chosen = folders.iter().find(|one| one.selectable && Some(&one.name) == chosen.as_ref());
        let trash = chosen.or_else(|| folders.iter().find(|one| one.role == FolderRole::Trash));
        let trash = trash.map(|one| one.name.clone()).ok_or(InboxError::NoTrash)?;
        let session = self.at(folder, validity).await?;
        let moved = if trash == folder {
            session.erase(uids).await?;
            None
        } else {
            session.move_to(uids, &trash).await?
        };
        self.sync(folder).await?;
        Ok(Answer::Moved(moved))
    }

    pub(super) async fn sync(&mut self, folder: &str) -> Result<(), InboxError> {
        // As of its beginning: what comes in meanwhile may be missed. And of a look that fails, nothing is known.
        let began = Instant::now();
        self.synced.retain(|(name, _)| name != folder);
        let mailbox = self.mailbox().await?;
        let list = self.listed.is_none_or(|at| at.elapsed() > Duration::from_secs(600));
        let inbox = Arc::clone(&self.inbox);
        let session = self.session().await?;
        if list {
            crate::inbox::sync::folders(&inbox, &mailbox, session).await?;
        }
        crate::inbox::sync::folder(&inbox, &mailbox, session, folder).await?;
        if list {
            self.listed = Some(Instant::now());
        }
        self.synced.push((folder.to_owned(), began));
        if mailbox.look_problem.is_some() {
            self.note_trouble(&mailbox, None).await?;
        }
        Ok(())
    }
}

/// Headers of messages of the open folder, newest first.
async fn listed(session: &mut Session, uids: &[u32]) -> Result<Vec<HeaderView>, InboxError> {
    let mut found = Vec::with_capacity(uids.len());
    for some in uids.chunks(100) {
        found.extend(sync::listed(session, some, None).await?.0.iter().map(headers::header));
    }
    found.sort_unstable_by_key(|header| std::cmp::Reverse(header.uid));
    Ok(found)
}
