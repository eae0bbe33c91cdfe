//! Actions on the messages of a folder, and their undo.

use app::api::inbox::ActOnMail;
use app::backend::{Acted, MailOwner, Result};
use app::error::AppError;
use app::model::{FolderRole, MailAction, MessageRef, Notice, Tone, Undo};
use leptos::server_fn::ServerFn;

use super::{Services, find_folder};
use crate::mail::imap::{self, readable};
use crate::mailbox_sync::{Command, MessageSet, Reply};
use crate::store::{Event, FlagChange};

/// Messages in one action.
const MOST_ACTED: usize = 1_000;

impl Services {
    pub(super) async fn act_on_messages(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        uids: &[u32],
        action: MailAction,
        to: &str,
    ) -> Result<Acted> {
        let mailbox = self.own_mailbox(user, place.mailbox).await?;
        let uids: Vec<u32> = uids.iter().copied().filter(|uid| *uid > 0).take(MOST_ACTED).collect();
        if uids.is_empty() {
            return Err(AppError::refused("Select at least one message.").into());
        }
        let (folder, uid_validity) = (&place.folder, place.uid_validity);
        let messages = MessageSet { folder: folder.clone(), uid_validity, uids: uids.clone() };
        let flag = |flag, set| Command::Flag { messages: messages.clone(), flag, set };
        let noting = |seen, flagged| FlagChange { seen, flagged, answered: None };
        let (command, note) = match action {
            MailAction::Read => (flag(imap::Flag::Seen, true), noting(Some(true), None)),
            MailAction::Unread => (flag(imap::Flag::Seen, false), noting(Some(false), None)),
            MailAction::Flag => (flag(imap::Flag::Flagged, true), noting(None, Some(true))),
            MailAction::Unflag => (flag(imap::Flag::Flagged, false), noting(None, Some(false))),
            MailAction::Delete => (Command::Delete(messages.clone()), FlagChange::default()),
            MailAction::Restore => {
                (Command::Move { messages: messages.clone(), to: to.to_owned() }, FlagChange::default())
            }
        };
        let known = self.store.folders(mailbox.key()).await?;
        if action == MailAction::Restore && !known.iter().any(|row| row.name == to) {
            return Err(AppError::NotFound.into());
        }
        // Undo changes only messages that this action changed.
        let changed = match action {
            MailAction::Delete | MailAction::Restore => uids.clone(),
            MailAction::Read | MailAction::Unread | MailAction::Flag | MailAction::Unflag => {
                let as_asked = self.store.with_flags(mailbox.key(), folder, &uids, note).await?;
                uids.iter().copied().filter(|uid| !as_asked.contains(uid)).collect()
            }
        };
        let next = self.store.beside(mailbox.key(), folder, &uids).await?;
        let answer = self.run_command(user, &mailbox, command).await?;
        if !matches!(action, MailAction::Delete | MailAction::Restore) {
            self.store.note_flags(mailbox.key(), folder, &uids, note).await?;
        }
        self.store.publish(Event::Mail(user.user_id()));
        let in_trash = find_folder(&known, folder).role == FolderRole::Trash;
        let count = if uids.len() == 1 { "1 message".to_owned() } else { format!("{} messages", uids.len()) };
        let moved = if let Reply::Moved(moved) = answer { moved } else { None };
        let deleted = moved.as_ref().map_or_else(|| "Deleted Items".to_owned(), |moved| readable(&moved.folder));
        let done = match action {
            MailAction::Read => format!("{count} marked as read."),
            MailAction::Unread => format!("{count} marked as unread."),
            MailAction::Flag => format!("{count} flagged."),
            MailAction::Unflag => format!("{count} no longer flagged."),
            MailAction::Delete if in_trash => format!("{count} deleted permanently."),
            MailAction::Delete => format!("{count} moved to {deleted}."),
            MailAction::Restore => format!("{count} moved back."),
        };
        let mut notice = Notice::new(Tone::Success, done, "");
        let row = match action {
            MailAction::Delete => next.map(|uid| (uid_validity, uid)),
            MailAction::Restore => moved.as_ref().and_then(|moved| Some((moved.uid_validity, *moved.uids.first()?))),
            _ => uids.first().map(|uid| (uid_validity, *uid)),
        };
        notice.undo = match action {
            _ if changed.is_empty() => None,
            MailAction::Read => Some(undo(place, folder, "unread", uid_validity, &changed, "")),
            MailAction::Unread => Some(undo(place, folder, "read", uid_validity, &changed, "")),
            MailAction::Flag => Some(undo(place, folder, "unflag", uid_validity, &changed, "")),
            MailAction::Unflag => Some(undo(place, folder, "flag", uid_validity, &changed, "")),
            MailAction::Delete => {
                moved.map(|moved| undo(place, &moved.folder, "restore", moved.uid_validity, &moved.uids, folder))
            }
            MailAction::Restore => None,
        };
        Ok(Acted { notice, row })
    }
}

fn undo(place: &MessageRef, folder: &str, action: &str, uid_validity: u32, uids: &[u32], to: &str) -> Undo {
    let mut values = vec![
        ("mailbox".to_owned(), place.mailbox.to_string()),
        ("folder".to_owned(), folder.to_owned()),
        ("validity".to_owned(), uid_validity.to_string()),
        ("action".to_owned(), action.to_owned()),
    ];
    if !to.is_empty() {
        values.push(("to".to_owned(), to.to_owned()));
    }
    values.extend(uids.iter().map(|uid| ("uids[]".to_owned(), uid.to_string())));
    Undo { action: ActOnMail::PATH.to_owned(), values }
}
