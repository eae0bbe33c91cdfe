//! The inbox: lists from the store, bodies on demand, own mailboxes only.

use std::sync::Arc;
use std::time::Duration;

use app::api::inbox::ActOnMail;
use app::backend::{Acted, BackendError, Download, Inbox, MailOwner, MailStream, Result, SignedIn};
use app::error::AppError;
use app::model::{
    BodyView, FolderRole, FolderView, InboxQuery, InboxView, MailAction, MailboxId, MailboxState, MessageRef,
    MessageView, NestedView, Notice, PartView, Timestamp, Tone, Undo,
};
use async_trait::async_trait;
use futures::stream;
use leptos::server_fn::ServerFn;
use tokio::sync::broadcast::error::RecvError;

use super::{Handle, Services, sessions};
use crate::diagnosis::Fault;
use crate::mail::imap::{self, readable};
use crate::mailbox_sync::{self, Command, Listing, PartDownload, Reply, SyncError};
use crate::message::{self, ParsedMessage, Part, Party};
use crate::store::{Event, FlagChange, FolderRow, Mailbox};

/// Messages on one page.
const PAGE: u32 = 50;
/// Search results that are listed.
const FOUND: usize = 500;
/// Longest search text, in characters.
const MOST_SEARCHED: usize = 200;
/// Messages in one action.
const MOST_ACTED: usize = 1_000;
/// A folder synced more recently than this is not synced for another page.
const FRESH_MS: i64 = 1_000;
/// How long a page waits for a message before it says that it is loading.
const PATIENCE: Duration = Duration::from_secs(3);
/// Interval between rounds of polling.
pub(super) const POLL_ROUND_MS: i64 = 2_000;
/// Mailboxes per round beyond what the schedule needs.
const POLLED_MORE: i64 = 5;
/// Deadline of a search or an action.
const LONGER: Duration = Duration::from_secs(30);
/// How often a mail stream checks its session, and whether it missed events.
const AGAIN: Duration = Duration::from_secs(30);

impl Services {
    /// The user's own mailbox; others are not found.
    pub(super) async fn own_mailbox(&self, user: &SignedIn, mailbox_id: MailboxId) -> Result<Mailbox> {
        let mine = self.store.mailboxes_of(user.institution().id, user.user_id()).await?;
        mine.into_iter().find(|mailbox| mailbox.id == mailbox_id).ok_or_else(|| AppError::NotFound.into())
    }

    pub(super) fn sync_failure(&self, user: &SignedIn, mailbox: &Mailbox, error: SyncError) -> BackendError {
        let app = match error {
            SyncError::NoMessage | SyncError::Gone => AppError::NotFound,
            SyncError::NoTrash => AppError::refused(
                "This mailbox has no folder for deleted messages, so nothing was deleted. Choose one below the folder list, then try again.",
            ),
            SyncError::Busy => AppError::refused("This mailbox is busy. Try again in a moment."),
            SyncError::Store(error) => return error.into(),
            other => {
                let fault = other.fault(&self.config.microsoft.imap, self.clock.now());
                let diagnosis = Box::new(fault.explain(&self.reader(user, &mailbox.address)));
                AppError::Diagnosed { diagnosis }
            }
        };
        app.into()
    }

    async fn run_command(&self, user: &SignedIn, mailbox: &Mailbox, ask: Command) -> Result<Reply> {
        let asked = self.mailbox_sync.execute(mailbox.institution, mailbox.id, ask);
        match tokio::time::timeout(LONGER, asked).await {
            Ok(answer) => answer.map_err(|error| self.sync_failure(user, mailbox, error)),
            Err(_) => Err(AppError::refused("The mail server isn't answering. Try again in a minute.").into()),
        }
    }

    pub(super) async fn open_message(
        &self,
        user: &SignedIn,
        mailbox: &Mailbox,
        place: &MessageRef,
    ) -> Result<Arc<ParsedMessage>> {
        let ask = Command::Open { folder: place.folder.clone(), uid_validity: place.uid_validity, uid: place.uid };
        match self.run_command(user, mailbox, ask).await? {
            Reply::Opened(opened) => Ok(opened),
            _ => Err(AppError::NotFound.into()),
        }
    }

    pub(super) fn part_reader(&self, mailbox: &Mailbox, place: &MessageRef, part: &Part) -> PartDownload {
        let at = (place.folder.clone(), place.uid_validity, place.uid);
        PartDownload::new(Arc::clone(&self.mailbox_sync), (mailbox.institution, mailbox.id), at, Some(part))
    }

    /// Headers of a page: from the store, or from the server for pages beyond the kept headers.
    async fn listed(
        &self,
        user: &SignedIn,
        mailbox: &Mailbox,
        folder: &FolderRow,
        query: &InboxQuery,
    ) -> Result<Listing> {
        let offset = (query.page - 1).saturating_mul(PAGE);
        if !query.search.is_empty() {
            let ask = Command::Search { folder: folder.name.clone(), text: query.search.clone(), most: FOUND };
            let Reply::Headers(found) = self.run_command(user, mailbox, ask).await? else {
                return Err(AppError::NotFound.into());
            };
            let headers = found.headers.into_iter().skip(offset as usize).take(PAGE as usize).collect();
            let total = found.total.min(u32::try_from(FOUND).unwrap_or(u32::MAX));
            return Ok(Listing { headers, total, ..found });
        }
        if offset + PAGE <= mailbox_sync::KEPT_HEADERS || folder.total <= mailbox_sync::KEPT_HEADERS {
            let known = self.store.headers(mailbox.institution, mailbox.id, &folder.name, offset, PAGE).await;
            return Ok(Listing { headers: known?, ..nothing(folder) });
        }
        let ask = Command::Page { folder: folder.name.clone(), offset, limit: PAGE };
        match self.run_command(user, mailbox, ask).await? {
            Reply::Headers(listing) => Ok(listing),
            _ => Err(AppError::NotFound.into()),
        }
    }

    /// Starts a sync without waiting for it.
    fn look_into(&self, mailbox: &Mailbox, folder: &str) {
        let (mailbox_sync, institution, id, folder) =
            (Arc::clone(&self.mailbox_sync), mailbox.institution, mailbox.id, folder.to_owned());
        self.tasks.spawn(async move {
            if let Err(error) = mailbox_sync.execute(institution, id, Command::Sync { folder }).await {
                // The problem is stored with the mailbox, for its page.
                tracing::debug!("cannot sync a folder: {error}");
            }
        });
    }

    /// Marks an opened message as read, without waiting.
    fn mark_read(&self, mailbox: &Mailbox, place: &MessageRef) {
        let (mailbox_sync, store, mailbox, place) =
            (Arc::clone(&self.mailbox_sync), self.store.clone(), mailbox.clone(), place.clone());
        self.tasks.spawn(async move {
            let (institution, id, uids) = (mailbox.institution, mailbox.id, vec![place.uid]);
            let change = FlagChange { seen: Some(true), ..FlagChange::default() };
            let noted = store.note_flags(institution, id, &place.folder, &uids, change).await;
            let (folder, uid_validity, flag) = (place.folder, place.uid_validity, imap::Flag::Seen);
            let asked = mailbox_sync
                .execute(institution, id, Command::Flag { folder, uid_validity, uids, flag, set: true })
                .await;
            if let (Err(error), _) | (_, Err(SyncError::Store(error))) = (noted, asked) {
                tracing::warn!("cannot mark a message as read: {error}");
            }
            store.publish(Event::Mail(mailbox.user)).await;
        });
    }

    pub(super) async fn lives(&self, user: &SignedIn) -> bool {
        let now = self.clock.now();
        let (created, seen) = (now.plus_ms(-sessions::LIFETIME_MS), now.plus_ms(-sessions::IDLE_MS));
        self.store.session_lives(user.institution().id, user.session(), created, seen).await.unwrap_or(false)
    }
}

fn folder_view(row: &FolderRow) -> FolderView {
    let title = match row.role {
        FolderRole::Inbox => "Inbox".to_owned(),
        // Drafts of other programs; those of Entrepost have their own list.
        FolderRole::Drafts => format!("{} (Outlook)", readable(&row.name)),
        _ => readable(&row.name),
    };
    FolderView { name: row.name.clone(), title, role: row.role }
}

/// The folder of a name, or one never synced.
fn find_folder(folders: &[FolderRow], name: &str) -> FolderRow {
    let same =
        |row: &&FolderRow| row.name == name || (row.role == FolderRole::Inbox && name.eq_ignore_ascii_case("INBOX"));
    folders.iter().find(same).cloned().unwrap_or_else(|| FolderRow {
        name: name.to_owned(),
        role: if name.eq_ignore_ascii_case("INBOX") { FolderRole::Inbox } else { FolderRole::Other },
        uid_validity: 0,
        total: 0,
        synced_at: None,
        problem: None,
    })
}

/// An empty listing of a folder.
fn nothing(folder: &FolderRow) -> Listing {
    Listing { headers: Vec::new(), total: folder.total, uid_validity: folder.uid_validity, looked_through: false }
}

struct Watching {
    services: Arc<Services>,
    user: SignedIn,
    event: tokio::sync::broadcast::Receiver<Event>,
    mark: String,
    _looking: Option<mailbox_sync::FolderWatch>,
}

#[async_trait]
impl Inbox for Handle {
    async fn inbox(&self, user: &MailOwner, query: InboxQuery) -> Result<Option<InboxView>> {
        let institution = user.institution().id;
        let mine = self.store.mailboxes_of(institution, user.user_id()).await?;
        let mailbox = match query.mailbox {
            Some(which) => Some(mine.iter().find(|mailbox| mailbox.id == which).ok_or(AppError::NotFound)?),
            None => mine.first(),
        };
        let Some(mailbox) = mailbox else { return Ok(None) };
        let search: String = query.search.trim().chars().filter(|c| !c.is_control()).take(MOST_SEARCHED).collect();
        let query = InboxQuery { page: query.page.max(1), search, ..query };
        let folders = self.store.folders(institution, mailbox.id).await?;
        let wanted = query.folder.as_deref().unwrap_or("INBOX");
        let known =
            folders.is_empty() || wanted.eq_ignore_ascii_case("INBOX") || folders.iter().any(|row| row.name == wanted);
        if !known {
            return Err(AppError::NotFound.into());
        }
        let folder = find_folder(&folders, wanted);
        // The problem of the mailbox, or of its last sync: the list may be out of date.
        let broken = mailbox.state == MailboxState::NeedsReconnect;
        let said = if mailbox.state == MailboxState::Connected { &mailbox.sync_problem } else { &mailbox.problem };
        let explain = |fault: &Fault| fault.explain(&self.reader(user, &mailbox.address));
        let mut problem = said.as_ref().or(mailbox.sync_problem.as_ref()).or(folder.problem.as_ref()).map(explain);
        let fetching = folder.synced_at.is_none();
        // The page shows stored rows immediately; its stream delivers the results of this sync.
        let old = folder.synced_at.is_none_or(|at| self.clock.now().since_ms(at) > FRESH_MS);
        if old && !broken {
            self.look_into(mailbox, &folder.name);
        }
        let listed = if broken && !query.search.is_empty() {
            Ok(Listing { total: 0, ..nothing(&folder) })
        } else {
            self.listed(user, mailbox, &folder, &query).await
        };
        let Listing { headers, total, uid_validity, looked_through } = match listed {
            Ok(listed) => listed,
            Err(BackendError::App(AppError::Diagnosed { diagnosis })) => {
                problem = Some(*diagnosis);
                Listing { total: 0, ..nothing(&folder) }
            }
            Err(error) => return Err(error),
        };
        let unread = self.store.unread(institution, mailbox.id, &folder.name).await?;
        let mut views: Vec<FolderView> = folders.iter().map(folder_view).collect();
        if views.is_empty() {
            views.push(folder_view(&folder));
        }
        Ok(Some(InboxView {
            mailboxes: mine.iter().map(|mailbox| (mailbox.id, mailbox.address.clone())).collect(),
            mailbox: mailbox.id,
            address: mailbox.address.clone(),
            without_trash: !folders.is_empty() && !folders.iter().any(|row| row.role == FolderRole::Trash),
            folders: views,
            folder: folder_view(&folder),
            uid_validity,
            headers,
            page: query.page,
            pages: total.div_ceil(PAGE),
            total,
            unread,
            search: query.search,
            looked_through,
            fetching,
            as_of: folder.synced_at,
            problem,
        }))
    }

    async fn message(&self, user: &MailOwner, place: &MessageRef) -> Result<MessageView> {
        let mailbox = self.own_mailbox(user, place.mailbox).await?;
        let (institution, now) = (mailbox.institution, self.clock.now());
        let folders = self.store.folders(institution, mailbox.id).await?;
        let folder = find_folder(&folders, &place.folder);
        let header = self.store.header(institution, mailbox.id, &place.folder, place.uid).await?;
        let header = header.filter(|_| folder.uid_validity == place.uid_validity);
        let ask = Command::Open { folder: place.folder.clone(), uid_validity: place.uid_validity, uid: place.uid };
        let mailbox_sync = Arc::clone(&self.mailbox_sync);
        let id = mailbox.id;
        // The fetch continues after the page's timeout: the next page finds the message.
        let fetching = self.tasks.spawn(async move { mailbox_sync.execute(institution, id, ask).await });
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

    async fn document(
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

    async fn download(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        nested: &str,
        number: Option<usize>,
    ) -> Result<Download> {
        let mailbox = self.own_mailbox(user, place.mailbox).await?;
        let (name, content_type, reader) = match number {
            Some(number) => {
                let opened = self.open_message(user, &mailbox, place).await?;
                let opened = at_path(&opened, nested).ok_or(AppError::NotFound)?;
                let part = number.checked_sub(1).and_then(|at| opened.parts.get(at)).ok_or(AppError::NotFound)?;
                (part.name.clone(), part.content_type.clone(), self.part_reader(&mailbox, place, part))
            }
            None => {
                let at = (place.folder.clone(), place.uid_validity, place.uid);
                let whole =
                    PartDownload::new(Arc::clone(&self.mailbox_sync), (mailbox.institution, mailbox.id), at, None);
                (format!("message-{}.eml", place.uid), "message/rfc822".to_owned(), whole)
            }
        };
        // Waits for the first bytes, so that a missing message gives an error page rather than a broken file.
        let mut reader = reader;
        let first = match tokio::time::timeout(LONGER, reader.next()).await {
            Ok(first) => first.map_err(|error| self.sync_failure(user, &mailbox, error))?,
            Err(_) => {
                return Err(AppError::refused("The mail server isn't answering. Try again in a minute.").into());
            }
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

    async fn act(
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
        let (folder, uid_validity) = (place.folder.clone(), place.uid_validity);
        let flag = |flag, set| Command::Flag { folder: folder.clone(), uid_validity, uids: uids.clone(), flag, set };
        let noting = |seen, flagged| FlagChange { seen, flagged, answered: None };
        let (ask, note) = match action {
            MailAction::Read => (flag(imap::Flag::Seen, true), noting(Some(true), None)),
            MailAction::Unread => (flag(imap::Flag::Seen, false), noting(Some(false), None)),
            MailAction::Flag => (flag(imap::Flag::Flagged, true), noting(None, Some(true))),
            MailAction::Unflag => (flag(imap::Flag::Flagged, false), noting(None, Some(false))),
            MailAction::Delete => {
                let delete = Command::Delete { folder: folder.clone(), uid_validity, uids: uids.clone() };
                (delete, FlagChange::default())
            }
            MailAction::Restore => {
                let back =
                    Command::Move { folder: folder.clone(), uid_validity, uids: uids.clone(), to: to.to_owned() };
                (back, FlagChange::default())
            }
        };
        let known = self.store.folders(mailbox.institution, mailbox.id).await?;
        if action == MailAction::Restore && !known.iter().any(|row| row.name == to) {
            return Err(AppError::NotFound.into());
        }
        // Undo changes only messages that this action changed.
        let changed = match action {
            MailAction::Delete | MailAction::Restore => uids.clone(),
            MailAction::Read | MailAction::Unread | MailAction::Flag | MailAction::Unflag => {
                let as_asked = self.store.with_flags(mailbox.institution, mailbox.id, &folder, &uids, note).await?;
                uids.iter().copied().filter(|uid| !as_asked.contains(uid)).collect()
            }
        };
        let next = self.store.beside(mailbox.institution, mailbox.id, &folder, &uids).await?;
        let answer = self.run_command(user, &mailbox, ask).await?;
        if !matches!(action, MailAction::Delete | MailAction::Restore) {
            let noted = self.store.note_flags(mailbox.institution, mailbox.id, &folder, &uids, note).await;
            noted?;
        }
        self.store.publish(Event::Mail(user.user_id())).await;
        let in_trash = find_folder(&known, &folder).role == FolderRole::Trash;
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
            MailAction::Read => Some(undo(place, &folder, "unread", uid_validity, &changed, "")),
            MailAction::Unread => Some(undo(place, &folder, "read", uid_validity, &changed, "")),
            MailAction::Flag => Some(undo(place, &folder, "unflag", uid_validity, &changed, "")),
            MailAction::Unflag => Some(undo(place, &folder, "flag", uid_validity, &changed, "")),
            MailAction::Delete => {
                moved.map(|moved| undo(place, &moved.folder, "restore", moved.uid_validity, &moved.uids, &folder))
            }
            MailAction::Restore => None,
        };
        Ok(Acted { notice, row })
    }

    async fn choose_trash(&self, user: &MailOwner, mailbox: MailboxId, folder: &str) -> Result<Notice> {
        let mailbox = self.own_mailbox(user, mailbox).await?;
        let now = self.clock.now();
        let chosen = self.store.set_trash_folder(mailbox.institution, mailbox.id, folder, now).await?;
        if !chosen {
            return Err(AppError::refused("Deleted messages can't go to that folder. Choose another one.").into());
        }
        self.store.publish(Event::Mail(user.user_id())).await;
        Ok(Notice::new(Tone::Success, format!("Deleted messages now go to {}.", readable(folder)), ""))
    }

    async fn refresh(&self, user: &MailOwner, mailbox: MailboxId, folder: &str) -> Result<()> {
        let mailbox = self.own_mailbox(user, mailbox).await?;
        self.run_command(user, &mailbox, Command::Sync { folder: folder.to_owned() }).await.map(|_| ())
    }

    async fn mark(&self, user: &MailOwner) -> String {
        self.store.mail_version(user.institution().id, user.user_id()).await.unwrap_or_default()
    }

    async fn watch(
        &self,
        user: &MailOwner,
        looking_at: Option<(MailboxId, String)>,
        mark: String,
    ) -> Result<MailStream> {
        let event = self.store.events();
        let looking = match looking_at {
            Some((mailbox, folder)) => {
                let mailbox = self.own_mailbox(user, mailbox).await?;
                let folders = self.store.folders(mailbox.institution, mailbox.id).await?;
                let known = folder.eq_ignore_ascii_case("INBOX") || folders.iter().any(|row| row.name == folder);
                known.then(|| self.mailbox_sync.watch_folder(mailbox.institution, mailbox.id, &folder))
            }
            None => None,
        };
        let start = Watching { services: Arc::clone(self), user: user.signed_in(), event, mark, _looking: looking };
        Ok(Box::pin(stream::unfold(start, |mut watching| async move {
            loop {
                if !watching.services.lives(&watching.user).await {
                    return None;
                }
                let store = &watching.services.store;
                let now = store.mail_version(watching.user.institution().id, watching.user.user_id()).await.ok()?;
                if now != watching.mark {
                    watching.mark = now;
                    return Some(((), watching));
                }
                let end = tokio::time::Instant::now() + AGAIN;
                loop {
                    let heard = tokio::select! {
                        heard = watching.event.recv() => heard,
                        () = tokio::time::sleep_until(end) => break,
                        () = watching.services.stop.cancelled() => return None,
                    };
                    match heard {
                        Ok(Event::Mail(changed)) if changed == watching.user.user_id() => break,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return None,
                    }
                }
            }
        })))
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

/// Names, or addresses where there is none, separated by commas.
pub(super) fn joined(all: &[Party]) -> String {
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

impl Services {
    /// Polls mailboxes without open pages, a few at a time, so that bounces are noticed and lists are fresh.
    pub async fn poll_once(&self) -> std::result::Result<(), crate::store::StoreError> {
        let interval = i64::try_from(self.config.poll_interval.as_millis()).unwrap_or(300_000);
        // As many as the schedule needs, plus a few: after a restart, when all are due, they are spread out.
        let steady = self.store.mailbox_count().await?.saturating_mul(POLL_ROUND_MS) / interval.max(1);
        for _ in 0..steady.saturating_add(POLLED_MORE) {
            let now = self.clock.now();
            // With 20 % jitter, so that mailboxes due together drift apart.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "milliseconds of some hours"
            )]
            let spread = (interval as f64 * (self.clock.jitter() - 0.5) / 5.0) as i64;
            let next = Timestamp(now.0.saturating_add(interval).saturating_add(spread));
            let Some(mailbox) = self.store.claim_due_poll(now, next).await? else { break };
            self.look_into(&mailbox, "INBOX");
        }
        Ok(())
    }
}
