//! The inbox: lists from the store, bodies on demand, own mailboxes only.

mod actions;
mod list;
mod reading;
mod watch;

use std::time::Duration;

use app::backend::{Acted, BackendError, Download, Inbox, MailOwner, MailStream, OpenFolder, Result, SignedIn};
use app::error::AppError;
use app::model::{
    FolderRole, FolderView, InboxQuery, InboxView, MailAction, MailboxId, MessageRef, MessageView, Notice, Tone,
};
use async_trait::async_trait;

use super::{Handle, Services, sessions};
use crate::mail::imap::readable;
use crate::mailbox_sync::{Command, Reply, SyncError};
use crate::store::{Event, FolderRow, Mailbox};

pub(super) use reading::joined;

/// Deadline of a search, an action or a download's first bytes.
const DEADLINE: Duration = Duration::from_secs(30);

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
                let fault = other.fault(&self.config.clouds.hosts_of(&mailbox.app.cloud).imap, self.clock.now());
                let diagnosis = Box::new(fault.explain(&self.reader(user, &mailbox.address)));
                AppError::Diagnosed { diagnosis }
            }
        };
        app.into()
    }

    async fn run_command(&self, user: &SignedIn, mailbox: &Mailbox, command: Command) -> Result<Reply> {
        let executed = self.mailbox_sync.execute(mailbox.key(), command);
        match tokio::time::timeout(DEADLINE, executed).await {
            Ok(reply) => reply.map_err(|error| self.sync_failure(user, mailbox, error)),
            Err(_) => Err(not_answering()),
        }
    }

    pub(super) async fn lives(&self, user: &SignedIn) -> bool {
        let now = self.clock.now();
        let (created, seen) = (now.plus_ms(-sessions::LIFETIME_MS), now.plus_ms(-sessions::IDLE_MS));
        self.store.session_lives(user.institution().id, user.session(), created, seen).await.unwrap_or(false)
    }
}

fn not_answering() -> BackendError {
    AppError::refused("The mail server isn't answering. Try again in a minute.").into()
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

#[async_trait]
impl Inbox for Handle {
    async fn inbox(&self, user: &MailOwner, query: InboxQuery) -> Result<Option<InboxView>> {
        self.inbox_page(user, query).await
    }

    async fn message(&self, user: &MailOwner, place: &MessageRef) -> Result<MessageView> {
        self.message_view(user, place).await
    }

    async fn document(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        nested: &str,
        remote_images: bool,
    ) -> Result<String> {
        self.message_document(user, place, nested, remote_images).await
    }

    async fn download(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        nested: &str,
        number: Option<usize>,
    ) -> Result<Download> {
        self.message_download(user, place, nested, number).await
    }

    async fn act(
        &self,
        user: &MailOwner,
        place: &MessageRef,
        uids: &[u32],
        action: MailAction,
        to: &str,
    ) -> Result<Acted> {
        self.act_on_messages(user, place, uids, action, to).await
    }

    async fn choose_trash(&self, user: &MailOwner, mailbox: MailboxId, folder: &str) -> Result<Notice> {
        let mailbox = self.own_mailbox(user, mailbox).await?;
        let now = self.clock.now();
        let chosen = self.store.set_trash_folder(mailbox.key(), folder, now).await?;
        if !chosen {
            return Err(AppError::refused("Deleted messages can't go to that folder. Choose another one.").into());
        }
        self.store.publish(Event::Mail(user.user_id()));
        Ok(Notice::new(Tone::Success, format!("Deleted messages now go to {}.", readable(folder)), ""))
    }

    async fn refresh(&self, user: &MailOwner, mailbox: MailboxId, folder: &str) -> Result<()> {
        let mailbox = self.own_mailbox(user, mailbox).await?;
        self.run_command(user, &mailbox, Command::Sync { folder: folder.to_owned() }).await.map(|_| ())
    }

    async fn version(&self, user: &MailOwner) -> String {
        self.store.mail_version(user.institution().id, user.user_id()).await.unwrap_or_default()
    }

    async fn watch(&self, user: &MailOwner, open: Option<OpenFolder>, version: String) -> Result<MailStream> {
        self.watch_mail(user, open, version).await
    }
}
