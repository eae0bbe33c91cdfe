//! Syncs a folder: new messages, removed messages, changed flags, bounces.

use std::collections::HashMap;

use app::model::{FolderRole, HeaderView, Timestamp};

use super::{KEPT_HEADERS, MailboxSync, SyncError, headers};
use crate::diagnosis::{Fault, bounce_cause};
use crate::mail::MailError;
use crate::mail::imap::{Folder, Listed, Session};
use crate::message::dsn::{self, Bounce};
use crate::store::{Event, FolderChange, FolderRow, Mailbox};

/// Bytes of a report that are parsed.
const MAX_DSN: u32 = 256 * 1024;
/// Room that a header takes, in bytes.
const HEADER_BYTES: u64 = 1024;
/// An unreadable message is skipped for an hour.
const ASK_AGAIN_MS: i64 = 60 * 60 * 1000;
/// Folders of one mailbox that are known at most.
const MAX_FOLDERS: usize = 500;

pub(super) async fn folders(sync: &MailboxSync, mailbox: &Mailbox, session: &mut Session) -> Result<(), SyncError> {
    let mut found: Vec<Folder> = Vec::new();
    for folder in session.folders().await?.into_iter().filter(|folder| folder.selectable).take(MAX_FOLDERS) {
        // A second folder of a role is one of the person's own.
        let taken = folder.role != FolderRole::Other && found.iter().any(|other| other.role == folder.role);
        found.push(Folder { role: if taken { FolderRole::Other } else { folder.role }, ..folder });
    }
    // What the person chose outranks what the server says.
    if let Some(chosen) = mailbox.trash_folder.as_ref().filter(|name| found.iter().any(|folder| folder.name == **name))
    {
        for folder in &mut found {
            match (folder.name == *chosen, folder.role) {
                (true, _) => folder.role = FolderRole::Trash,
                (false, FolderRole::Trash) => folder.role = FolderRole::Other,
                _ => {}
            }
        }
    }
    found
        .sort_by_key(|folder| (FolderRole::ALL.iter().position(|one| *one == folder.role), folder.name.to_lowercase()));
    sync.store.put_folders(mailbox.key(), &found).await?;
    Ok(())
}

/// Syncs a folder and notifies its viewers.
pub(super) async fn folder(
    sync: &MailboxSync,
    mailbox: &Mailbox,
    session: &mut Session,
    name: &str,
) -> Result<(), SyncError> {
    let key = mailbox.key();
    let selected = session.select(name).await?;
    let newest = session.newest(selected.exists, KEPT_HEADERS).await?;
    let before = sync.store.folders(key).await?.into_iter().find(|folder| folder.name == name);
    let role = before.as_ref().map_or(FolderRole::Other, |folder| folder.role);
    let same = before.as_ref().is_some_and(|folder| folder.uid_validity == selected.uid_validity);
    let known: HashMap<u32, HeaderView> = if same {
        let known = sync.store.headers(key, name, 0, u32::MAX).await?;
        known.into_iter().map(|header| (header.uid, header)).collect()
    } else {
        HashMap::new()
    };
    let mut change = FolderChange {
        gone: known.keys().filter(|uid| !newest.iter().any(|(there, _)| there == *uid)).copied().collect(),
        ..FolderChange::default()
    };
    let mut unknown = Vec::new();
    for (uid, flags) in &newest {
        match known.get(uid) {
            None => unknown.push(*uid),
            // Perhaps the server can give it by now.
            Some(header)
                if headers::is_unreadable(header) && sync.clock.now().since_ms(header.received_at) > ASK_AGAIN_MS =>
            {
                change.gone.push(*uid);
                unknown.push(*uid);
            }
            Some(header)
                if [header.seen, header.flagged, header.answered] != [flags.seen, flags.flagged, flags.answered] =>
            {
                change.flags.push((*uid, [flags.seen, flags.flagged, flags.answered]));
            }
            Some(_) => {}
        }
    }
    let mut problem = None;
    if !unknown.is_empty() && sync.store.room_for(unknown.len() as u64 * HEADER_BYTES).is_err() {
        // They stay at the mail server, and are asked for at the next look.
        problem = Some(Fault::new("no_room", sync.clock.now(), &[]));
        unknown.clear();
    }
    let mut reports = Vec::new();
    let readable = |uid: &u32| known.get(uid).is_some_and(|header| !headers::is_unreadable(header));
    let mut proof = newest.iter().map(|(uid, _)| *uid).rfind(readable);
    for some in unknown.chunks(100) {
        let (given, refused) = listed(session, some, proof).await?;
        proof = proof.or(given.first().map(|listed| listed.uid));
        for listed in &given {
            if dsn::is_report(&listed.header) {
                reports.push(listed.uid);
            }
            change.new.push(headers::header(listed));
        }
        // Stored by UID, so it isn't requested at every sync.
        let refused = newest.iter().filter(|(uid, _)| refused.contains(uid));
        change.new.extend(refused.map(|(uid, flags)| headers::unreadable(*uid, *flags, sync.clock.now())));
    }
    let total = before.as_ref().map_or(0, |folder| folder.total);
    let changed = !same
        || before.as_ref().is_some_and(|folder| folder.problem.is_some() != problem.is_some())
        || total != selected.exists
        || !(change.gone.is_empty() && change.flags.is_empty() && change.new.is_empty());
    let seen = FolderRow {
        name: name.to_owned(),
        role,
        uid_validity: selected.uid_validity,
        total: selected.exists,
        synced_at: Some(sync.clock.now()),
        problem,
    };
    // Before the headers are stored: an interrupted sync is repeated.
    let mut event = false;
    for uid in reports {
        let bytes = match session.bytes(uid, 0, MAX_DSN).await {
            // An unreadable report must not stop the sync.
            Err(error) if is_of_one(&error) => Vec::new(),
            other => other?.unwrap_or_default(),
        };
        if let Some(bounce) = dsn::parse(&bytes) {
            let now = sync.clock.now();
            let fault = fault_of(&bounce, now);
            event |= sync.store.bounce_delivery(mailbox, &bounce.message_id, &bounce.failed, &fault, now).await?;
        }
    }
    sync.store.sync_folder(key, &seen, &change).await?;
    event |= changed || before.is_none_or(|folder| folder.synced_at.is_none());
    if event {
        sync.store.publish(Event::Mail(mailbox.user));
    }
    Ok(())
}

/// The fault, as if the mail server had refused the connection.
fn fault_of(bounce: &Bounce, at: Timestamp) -> Fault {
    let reason = bounce.failed.first().map(|failed| failed.reason.as_str()).unwrap_or_default();
    let facts: Vec<(&str, String)> = bounce
        .failed
        .iter()
        .take(10)
        .map(|failed| ("Bounced", format!("{}: {}", failed.address, failed.reason)))
        .collect();
    let fault = Fault::new(bounce_cause(reason), at, &facts);
    match bounce.failed.first() {
        Some(failed) => fault.of_recipient(&failed.address),
        None => fault,
    }
}

/// Whether one message was refused, not the session.
fn is_of_one(error: &MailError) -> bool {
    error.answered && !error.is_throttled() && !error.is_token_expired()
}

/// Listed rows and refused UIDs; if all fail, `proof` tells whether the session is at fault.
pub(super) async fn listed(
    session: &mut Session,
    uids: &[u32],
    proof: Option<u32>,
) -> Result<(Vec<Listed>, Vec<u32>), MailError> {
    let error = match session.list(uids).await {
        Err(error) if is_of_one(&error) => error,
        other => return other.map(|found| (found, Vec::new())),
    };
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for uid in uids {
        match session.list(&[*uid]).await {
            Ok(one) => found.extend(one),
            Err(error) if is_of_one(&error) => refused.push(*uid),
            Err(error) => return Err(error),
        }
    }
    if refused.len() == uids.len() {
        let Some(proof) = proof else { return Err(error) };
        session.list(&[proof]).await?;
    }
    Ok((found, refused))
}
