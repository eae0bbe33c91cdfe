//! Messages of the selected folder: SEARCH, FETCH, STORE, MOVE, EXPUNGE, IDLE.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;

use imap_codec::IdleDoneCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::core::{Tag, Vec1};
use imap_codec::imap_types::fetch::MessageDataItem;
use imap_codec::imap_types::flag::{Flag, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::response::Data;
use imap_codec::imap_types::search::SearchKey;
use imap_codec::imap_types::sequence::SequenceSet;
use tokio::io::AsyncWriteExt;

use super::folders::folder_name;
use super::{Session, fetch, has, search};
use crate::world::Mail;

impl Session {
    /// Reports messages added and removed since the last report.
    pub(super) async fn announce(&mut self) -> io::Result<()> {
        let Some(selected) = &self.selected else { return Ok(()) };
        let folder = selected.folder.clone();
        let now: Vec<u32> =
            self.with_folder(&folder, |folder| folder.mails.iter().map(|mail| mail.uid).collect()).unwrap_or_default();
        let Some(selected) = &mut self.selected else { return Ok(()) };
        let gone: Vec<usize> =
            selected.uids.iter().enumerate().filter(|(_, uid)| !now.contains(uid)).map(|(at, _)| at).collect();
        let known = selected.uids.len() - gone.len();
        selected.uids.clone_from(&now);
        for at in gone.into_iter().rev() {
            if let Some(seq) = u32::try_from(at + 1).ok().and_then(NonZeroU32::new) {
                self.data(Data::Expunge(seq)).await?;
            }
        }
        if now.len() != known {
            self.data(Data::Exists(u32::try_from(now.len()).unwrap_or(u32::MAX))).await?;
        }
        Ok(())
    }

    /// Sequence number and UID of a set's messages, as the client knows them.
    pub(super) fn resolve(&self, set: &SequenceSet, uid: bool) -> Vec<(u32, u32)> {
        let Some(selected) = &self.selected else { return Vec::new() };
        let numbered =
            selected.uids.iter().enumerate().filter_map(|(at, uid)| Some((u32::try_from(at + 1).ok()?, *uid)));
        let largest = if uid { selected.uids.last().copied() } else { u32::try_from(selected.uids.len()).ok() };
        let Some(largest) = largest.and_then(NonZeroU32::new) else { return Vec::new() };
        numbered.filter(|(seq, id)| search::in_set(set, if uid { *id } else { *seq }, largest)).collect()
    }

    pub(super) async fn search(&mut self, tag: &Tag<'_>, criteria: &Vec1<SearchKey<'_>>, uid: bool) -> io::Result<()> {
        self.announce().await?;
        let Some(selected) = &self.selected else { return Ok(()) };
        let uids = selected.uids.clone();
        let found: Vec<NonZeroU32> = self
            .with_folder(&selected.folder, |folder| {
                folder
                    .mails
                    .iter()
                    .filter_map(|mail| {
                        let seq = u32::try_from(uids.iter().position(|known| *known == mail.uid)? + 1).ok()?;
                        let context = search::Context {
                            seq,
                            largest_seq: uids.len(),
                            largest_uid: uids.last().copied().unwrap_or(0),
                        };
                        let hit = criteria.as_ref().iter().all(|key| search::matches(key, mail, &context));
                        if hit { NonZeroU32::new(if uid { mail.uid } else { seq }) } else { None }
                    })
                    .collect()
            })
            .unwrap_or_default();
        self.data(Data::Search(found)).await?;
        self.ok(tag, None, "SEARCH completed.").await
    }

    pub(super) async fn fetch(
        &mut self,
        tag: &Tag<'_>,
        set: &SequenceSet,
        names: &[fetch::Name<'_>],
        uid: bool,
    ) -> io::Result<()> {
        let broken = self.shared.faults().imap_broken_uid;
        for (seq, id) in self.resolve(set, uid) {
            let Some(selected) = &self.selected else { break };
            if broken == id && names.iter().any(fetch::reads) {
                return self.no(tag, "The message could not be converted.").await;
            }
            let mail = self
                .with_folder(&selected.folder, |folder| folder.mails.iter().find(|mail| mail.uid == id).cloned())
                .flatten();
            let (Some(mail), Some(seq)) = (mail, NonZeroU32::new(seq)) else { continue };
            if names.iter().any(fetch::sets_seen) && !has(&mail, "\\Seen") {
                self.change(id, |mail| mail.flags.push("\\Seen".into()));
            }
            let items: Vec<_> = names.iter().filter_map(|name| fetch::item(name, &mail)).collect();
            if let Ok(items) = Vec1::try_from(items) {
                self.data(Data::Fetch { seq, items }).await?;
            }
        }
        self.ok(tag, None, "FETCH completed.").await
    }

    fn change(&self, uid: u32, change: impl FnOnce(&mut Mail)) {
        let (Some(upn), Some(selected)) = (&self.upn, &self.selected) else { return };
        let mut world = self.shared.world();
        world.touch();
        let mail = world
            .account_mut(upn)
            .and_then(|account| account.folders.get_mut(&selected.folder))
            .and_then(|folder| folder.mails.iter_mut().find(|mail| mail.uid == uid));
        if let Some(mail) = mail {
            change(mail);
        }
    }

    pub(super) async fn store(
        &mut self,
        tag: &Tag<'_>,
        set: &SequenceSet,
        kind: StoreType,
        answer: StoreResponse,
        flags: &[Flag<'_>],
        uid: bool,
    ) -> io::Result<()> {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        for (seq, id) in self.resolve(set, uid) {
            let mut after = Vec::new();
            self.change(id, |mail| {
                match kind {
                    StoreType::Replace => mail.flags.clone_from(&flags),
                    StoreType::Add => {
                        mail.flags.extend(flags.iter().filter(|flag| !has(mail, flag)).cloned().collect::<Vec<_>>());
                    }
                    StoreType::Remove => mail.flags.retain(|flag| !flags.contains(flag)),
                }
                after.clone_from(&mail.flags);
            });
            if answer == StoreResponse::Answer
                && let Some(seq) = NonZeroU32::new(seq)
            {
                let mut items = vec![fetch::flags(&after)];
                if uid && let Some(id) = NonZeroU32::new(id) {
                    items.push(MessageDataItem::Uid(id));
                }
                self.data(Data::Fetch { seq, items: Vec1::unvalidated(items) }).await?;
            }
        }
        self.shared.changed.notify_waiters();
        self.ok(tag, None, "STORE completed.").await
    }

    pub(super) async fn move_to(
        &mut self,
        tag: &Tag<'_>,
        set: &SequenceSet,
        mailbox: &Mailbox<'_>,
        uid: bool,
    ) -> io::Result<()> {
        let target = folder_name(mailbox);
        let ids: Vec<u32> = self.resolve(set, uid).into_iter().map(|(_, id)| id).collect();
        let (mut from, mut to, mut validity) = (Vec::new(), Vec::new(), 0);
        let moved = {
            let (Some(upn), Some(selected)) = (self.upn.clone(), &self.selected) else { return Ok(()) };
            let mut world = self.shared.world();
            world.touch();
            world.account_mut(&upn).is_some_and(|account| {
                if !account.folders.contains_key(&target) {
                    return false;
                }
                let Some(source) = account.folders.get_mut(&selected.folder) else { return false };
                let (taken, kept): (Vec<_>, Vec<_>) = source.mails.drain(..).partition(|mail| ids.contains(&mail.uid));
                source.mails = kept;
                if let Some(folder) = account.folders.get_mut(&target) {
                    validity = folder.validity;
                    for mut mail in taken {
                        from.push(mail.uid.to_string());
                        to.push(folder.next_uid.to_string());
                        mail.uid = folder.next_uid;
                        folder.next_uid += 1;
                        folder.mails.push(mail);
                    }
                }
                true
            })
        };
        if !moved {
            return self.no(tag, &format!("{target} doesn't exist.")).await;
        }
        if !to.is_empty() {
            // RFC 6851, 4.3: COPYUID precedes the EXPUNGE responses.
            let told = format!("* OK [COPYUID {validity} {} {}] Moved\r\n", from.join(","), to.join(","));
            self.stream.write_all(told.as_bytes()).await?;
        }
        self.announce().await?;
        self.shared.changed.notify_waiters();
        self.ok(tag, None, "MOVE completed.").await
    }

    /// Expunges marked messages, optionally only given UIDs.
    pub(super) async fn expunge(&mut self, only: Option<Vec<u32>>) -> io::Result<()> {
        {
            let (Some(upn), Some(selected)) = (self.upn.clone(), &self.selected) else { return Ok(()) };
            let mut world = self.shared.world();
            world.touch();
            if let Some(folder) = world.account_mut(&upn).and_then(|account| account.folders.get_mut(&selected.folder))
            {
                let named = |uid: u32| only.as_ref().is_none_or(|only| only.contains(&uid));
                folder.mails.retain(|mail| !(has(mail, "\\Deleted") && named(mail.uid)));
            }
        }
        self.announce().await
    }

    pub(super) async fn idle(&mut self, tag: &Tag<'_>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.stream.write_all(b"+ IDLE accepted, awaiting DONE command.\r\n").await?;
        self.stream.flush().await?;
        loop {
            // Registered before checking, to miss no notification.
            let changed = shared.changed.notified();
            if self.is_over() {
                self.end().await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.announce().await?;
            self.stream.flush().await?;
            if IdleDoneCodec::default().decode(&self.buffer).is_ok() {
                break;
            }
            let filled = tokio::select! {
                () = changed => continue,
                filled = self.fill() => filled,
            };
            filled?;
        }
        let used = self.buffer.windows(2).position(|pair| pair == b"\r\n").map_or(self.buffer.len(), |at| at + 2);
        self.buffer.drain(..used);
        self.ok(tag, None, "IDLE completed.").await
    }
}
