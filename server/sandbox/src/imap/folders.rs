//! Folders: LIST, SELECT, STATUS.

use std::io;
use std::num::NonZeroU32;

use imap_codec::imap_types::core::{Atom, QuotedChar, Tag};
use imap_codec::imap_types::flag::{Flag, FlagNameAttribute, FlagPerm};
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::response::{Code, Data, Response, Status};
use imap_codec::imap_types::status::{StatusDataItem, StatusDataItemName};

use super::has;
use super::{Selected, Session};

impl Session {
    pub(super) async fn list(&mut self, tag: &Tag<'_>, pattern: &str) -> io::Result<()> {
        let names: Vec<String> = self.with_account(|account| account.folders.keys().cloned().collect());
        for name in names.into_iter().filter(|name| matches(pattern, name)) {
            let special = match name.as_str() {
                "Sent Items" => Some("Sent"),
                "Junk Email" => Some("Junk"),
                "Deleted Items" => Some("Trash"),
                "Drafts" => Some("Drafts"),
                _ => None,
            };
            let mut items = vec![FlagNameAttribute::from(Atom::try_from("HasNoChildren").map_err(io::Error::other)?)];
            if let Some(special) = special {
                items.push(FlagNameAttribute::from(Atom::try_from(special).map_err(io::Error::other)?));
            }
            let delimiter = Some(QuotedChar::try_from('/').map_err(io::Error::other)?);
            let mailbox = Mailbox::try_from(name).map_err(io::Error::other)?;
            self.data(Data::List { items, delimiter, mailbox }).await?;
        }
        self.ok(tag, None, "LIST completed.").await
    }

    /// Reads the signed-in account, if it still exists.
    fn with_account<T>(&self, read: impl FnOnce(&crate::Account) -> T) -> T
    where
        T: Default,
    {
        let world = self.shared.world();
        self.upn.as_deref().and_then(|upn| world.account_by_sign_in(upn)).map(read).unwrap_or_default()
    }

    /// Reads a folder of the signed-in account, if it exists.
    pub(super) fn with_folder<T>(&self, folder: &str, read: impl FnOnce(&crate::Folder) -> T) -> Option<T> {
        let world = self.shared.world();
        self.upn
            .as_deref()
            .and_then(|upn| world.account_by_sign_in(upn))
            .and_then(|account| account.folders.get(folder))
            .map(read)
    }

    pub(super) async fn select(&mut self, tag: &Tag<'_>, mailbox: &Mailbox<'_>, writable: bool) -> io::Result<()> {
        self.shared.world().imap_selects += 1;
        if self.shared.faults().imap_disabled {
            return self.bad(Some(tag), "User is authenticated but not connected.").await;
        }
        if self.shared.faults().imap_throttled {
            let text = "Request is throttled. Suggested Backoff Time: 1500 milliseconds";
            return self.bad(Some(tag), text).await;
        }
        let folder = folder_name(mailbox);
        if self.shared.faults().imap_folder_refused == folder {
            self.selected = None;
            return self.no(tag, "Folder cannot be opened.").await;
        }
        let Some((uids, validity, next)) = self.with_folder(&folder, |folder| {
            (folder.mails.iter().map(|mail| mail.uid).collect::<Vec<_>>(), folder.validity, folder.next_uid)
        }) else {
            self.selected = None;
            return self.no(tag, &format!("{folder} doesn't exist.")).await;
        };
        let exists = u32::try_from(uids.len()).unwrap_or(u32::MAX);
        self.selected = Some(Selected { folder, uids });
        self.data(Data::Exists(exists)).await?;
        self.data(Data::Recent(0)).await?;
        let flags = [Flag::Seen, Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Draft];
        self.data(Data::Flags(flags.to_vec())).await?;
        let permanent = Code::PermanentFlags(flags.into_iter().map(FlagPerm::Flag).collect());
        for (code, text) in [
            (Some(permanent), "Permanent flags"),
            (NonZeroU32::new(validity).map(Code::UidValidity), "UIDVALIDITY value"),
            (NonZeroU32::new(next).map(Code::UidNext), "The next unique identifier value"),
        ] {
            let status = Status::ok(None, code, text).map_err(io::Error::other)?;
            self.send(Response::Status(status)).await?;
        }
        let access = if writable { Code::ReadWrite } else { Code::ReadOnly };
        self.ok(tag, Some(access), "SELECT completed.").await
    }

    pub(super) async fn status(
        &mut self,
        tag: &Tag<'_>,
        mailbox: &Mailbox<'_>,
        names: &[StatusDataItemName],
    ) -> io::Result<()> {
        let folder = folder_name(mailbox);
        let counted = self.with_folder(&folder, |folder| {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            names
                .iter()
                .filter_map(|name| {
                    Some(match name {
                        StatusDataItemName::Messages => StatusDataItem::Messages(count(folder.mails.len())),
                        StatusDataItemName::Recent => StatusDataItem::Recent(0),
                        StatusDataItemName::UidNext => StatusDataItem::UidNext(NonZeroU32::new(folder.next_uid)?),
                        StatusDataItemName::UidValidity => {
                            StatusDataItem::UidValidity(NonZeroU32::new(folder.validity)?)
                        }
                        StatusDataItemName::Unseen => StatusDataItem::Unseen(count(
                            folder.mails.iter().filter(|mail| !has(mail, "\\Seen")).count(),
                        )),
                        _ => return None,
                    })
                })
                .collect::<Vec<_>>()
        });
        match counted {
            Some(items) => {
                self.data(Data::Status { mailbox: mailbox.clone(), items: items.into() }).await?;
                self.ok(tag, None, "STATUS completed.").await
            }
            None => self.no(tag, &format!("{folder} doesn't exist.")).await,
        }
    }
}

pub(super) fn folder_name(mailbox: &Mailbox<'_>) -> String {
    match mailbox {
        Mailbox::Inbox => "INBOX".into(),
        Mailbox::Other(other) => String::from_utf8_lossy(other.as_ref()).into_owned(),
    }
}

/// LIST's `*` and `%`; there is no hierarchy here, so they mean the same.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once(['*', '%']) {
        None => pattern.eq_ignore_ascii_case(name),
        Some((start, rest)) => {
            name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
                && (0..=name.len() - start.len())
                    .any(|skip| name.get(start.len() + skip..).is_some_and(|tail| matches(rest, tail)))
        }
    }
}
