//! A page of a folder: from the store, or from the mail server for searches and old messages.

use std::sync::Arc;

use app::backend::{BackendError, MailOwner, Result, SignedIn};
use app::error::AppError;
use app::model::{FolderRole, FolderView, InboxQuery, InboxView, MailboxState};

use super::{Services, find_folder, folder_view};
use crate::diagnosis::Fault;
use crate::mailbox_sync::{self, Command, Listing, Reply};
use crate::store::{FolderRow, Mailbox};

/// Messages on one page.
const PAGE: u32 = 50;
/// Search results that are listed.
const FOUND: usize = 500;
/// Longest search text, in characters.
const MOST_SEARCHED: usize = 200;
/// A folder synced more recently than this is not synced for another page.
const FRESH_MS: i64 = 1_000;

impl Services {
    pub(super) async fn inbox_page(&self, user: &MailOwner, query: InboxQuery) -> Result<Option<InboxView>> {
        let institution = user.institution().id;
        let mine = self.store.mailboxes_of(institution, user.user_id()).await?;
        let mailbox = match query.mailbox {
            Some(mailbox_id) => Some(mine.iter().find(|mailbox| mailbox.id == mailbox_id).ok_or(AppError::NotFound)?),
            None => mine.first(),
        };
        let Some(mailbox) = mailbox else { return Ok(None) };
        let search: String = query.search.trim().chars().filter(|c| !c.is_control()).take(MOST_SEARCHED).collect();
        let query = InboxQuery { page: query.page.max(1), search, ..query };
        let folders = self.store.folders(mailbox.key()).await?;
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
            self.start_sync(mailbox, &folder.name);
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
        let unread = self.store.unread(mailbox.key(), &folder.name).await?;
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
            let command = Command::Search { folder: folder.name.clone(), text: query.search.clone(), most: FOUND };
            let Reply::Headers(found) = self.run_command(user, mailbox, command).await? else {
                return Err(AppError::NotFound.into());
            };
            let headers = found.headers.into_iter().skip(offset as usize).take(PAGE as usize).collect();
            let total = found.total.min(u32::try_from(FOUND).unwrap_or(u32::MAX));
            return Ok(Listing { headers, total, ..found });
        }
        if offset + PAGE <= mailbox_sync::KEPT_HEADERS || folder.total <= mailbox_sync::KEPT_HEADERS {
            let known = self.store.headers(mailbox.key(), &folder.name, offset, PAGE).await;
            return Ok(Listing { headers: known?, ..nothing(folder) });
        }
        let command = Command::Page { folder: folder.name.clone(), offset, limit: PAGE };
        match self.run_command(user, mailbox, command).await? {
            Reply::Headers(listing) => Ok(listing),
            _ => Err(AppError::NotFound.into()),
        }
    }

    /// Starts a sync without waiting for it.
    pub(in crate::service) fn start_sync(&self, mailbox: &Mailbox, folder: &str) {
        let (mailbox_sync, key, folder) = (Arc::clone(&self.mailbox_sync), mailbox.key(), folder.to_owned());
        self.tasks.spawn(async move {
            if let Err(error) = mailbox_sync.execute(key, Command::Sync { folder }).await {
                // The problem is stored with the mailbox, for its page.
                tracing::debug!("cannot sync a folder: {error}");
            }
        });
    }
}

/// An empty listing of a folder.
fn nothing(folder: &FolderRow) -> Listing {
    Listing { headers: Vec::new(), total: folder.total, uid_validity: folder.uid_validity, looked_through: false }
}
