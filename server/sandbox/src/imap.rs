//! IMAP as Exchange Online does it: implicit TLS, AUTHENTICATE XOAUTH2, the commands a mail client needs.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use imap_codec::decode::{CommandDecodeError, Decoder};
use imap_codec::encode::Encoder;
use imap_codec::imap_types::auth::{AuthMechanism, AuthenticateData};
use imap_codec::imap_types::command::{Command, CommandBody};
use imap_codec::imap_types::core::{Atom, LiteralMode, QuotedChar, Tag, Vec1};
use imap_codec::imap_types::flag::{Flag, FlagFetch, FlagNameAttribute, FlagPerm, StoreResponse, StoreType};
use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox};
use imap_codec::imap_types::response::{
    Capability, Code, CommandContinuationRequest, Data, Greeting, Response, Status,
};
use imap_codec::imap_types::search::SearchKey;
use imap_codec::imap_types::sequence::SequenceSet;
use imap_codec::imap_types::status::{StatusDataItem, StatusDataItemName};
use imap_codec::imap_types::{IntoStatic, ToStatic};
use imap_codec::{AuthenticateDataCodec, CommandCodec, GreetingCodec, IdleDoneCodec, ResponseCodec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::Shared;
use crate::smtp::parse_sasl;
use crate::token::access_upn;
use crate::world::Mail;

mod fetch;
mod search;

const MAX_BUFFER: usize = 64 * 1024 * 1024;

/// One connection, from the greeting to LOGOUT.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    let stream = shared.acceptor.accept(stream).await?;
    let generation = shared.world().imap_generation;
    let mut session =
        Session { shared, stream, buffer: Vec::new(), upn: None, selected: None, generation, counted: None };
    let greeting =
        Greeting::ok(None, "The Microsoft Exchange IMAP4 service is ready (sandbox).").map_err(io::Error::other)?;
    session.stream.write_all(&GreetingCodec::default().encode(&greeting).dump()).await?;
    session.run().await
}

struct Selected {
    folder: String,
    /// UIDs by sequence number, as the client was told.
    uids: Vec<u32>,
}

struct Session {
    shared: Arc<Shared>,
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    upn: Option<String>,
    selected: Option<Selected>,
    /// Sessions of an older generation are ended.
    generation: u64,
    counted: Option<Counted>,
}

/// One open session of a mailbox; ends with the connection, however that ends.
struct Counted {
    shared: Arc<Shared>,
    upn: String,
}

impl Counted {
    fn new(shared: &Arc<Shared>, upn: &str) -> Self {
        let mut world = shared.world();
        let (open, most) = world.imap_sessions.entry(upn.to_owned()).or_default();
        *open += 1;
        *most = (*most).max(*open);
        Self { shared: Arc::clone(shared), upn: upn.to_owned() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((open, _)) = self.shared.world().imap_sessions.get_mut(&self.upn) {
            *open = open.saturating_sub(1);
        }
    }
}

fn capabilities() -> Vec1<Capability<'static>> {
    let mut all = Vec1::from(Capability::Imap4Rev1);
    for capability in [
        Capability::Auth(AuthMechanism::Plain),
        Capability::Auth(AuthMechanism::XOAuth2),
        Capability::SaslIr,
        Capability::UidPlus,
        Capability::Move,
        Capability::Idle,
        Capability::LiteralPlus,
        Capability::Unselect,
    ] {
        let mut list = all.into_inner();
        list.push(capability);
        all = Vec1::unvalidated(list);
    }
    all
}

impl Session {
    async fn send(&mut self, response: Response<'_>) -> io::Result<()> {
        self.stream.write_all(&ResponseCodec::default().encode(&response).dump()).await
    }

    async fn data(&mut self, data: Data<'_>) -> io::Result<()> {
        self.send(Response::Data(data)).await
    }

    async fn ok(&mut self, tag: &Tag<'_>, code: Option<Code<'_>>, text: &str) -> io::Result<()> {
        let status = Status::ok(Some(tag.to_static()), code, text).map_err(io::Error::other)?;
        self.send(Response::Status(status)).await?;
        self.stream.flush().await
    }

    async fn no(&mut self, tag: &Tag<'_>, text: &str) -> io::Result<()> {
        let status = Status::no(Some(tag.to_static()), None, text).map_err(io::Error::other)?;
        self.send(Response::Status(status)).await?;
        self.stream.flush().await
    }

    async fn bad(&mut self, tag: Option<&Tag<'_>>, text: &str) -> io::Result<()> {
        let status = Status::bad(tag.map(ToStatic::to_static), None, text).map_err(io::Error::other)?;
        self.send(Response::Status(status)).await?;
        self.stream.flush().await
    }

    async fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).await?;
        if read == 0 || self.buffer.len() > MAX_BUFFER {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }

    async fn command(&mut self) -> io::Result<Command<'static>> {
        let mut answered_literal_at = None;
        loop {
            let decoded = match CommandCodec::default().decode(&self.buffer) {
                Ok((rest, command)) => Ok((self.buffer.len() - rest.len(), command.into_static())),
                Err(error) => Err(match error {
                    CommandDecodeError::LiteralFound { mode, .. } => Some(mode == LiteralMode::Sync),
                    CommandDecodeError::Incomplete => Some(false),
                    CommandDecodeError::Failed => None,
                }),
            };
            match decoded {
                Ok((used, command)) => {
                    self.buffer.drain(..used);
                    return Ok(command);
                }
                Err(Some(wants_continuation)) => {
                    if wants_continuation && answered_literal_at != Some(self.buffer.len()) {
                        answered_literal_at = Some(self.buffer.len());
                        self.stream.write_all(b"+ Ready for additional command text.\r\n").await?;
                        self.stream.flush().await?;
                    }
                    self.fill().await?;
                }
                Err(None) => {
                    let end =
                        self.buffer.windows(2).position(|pair| pair == b"\r\n").map_or(self.buffer.len(), |at| at + 2);
                    self.buffer.drain(..end);
                    self.bad(None, "Command Error. 10").await?;
                }
            }
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        loop {
            let command = self.command().await?;
            let slow = self.shared.faults().slow_ms;
            if slow > 0 {
                tokio::time::sleep(Duration::from_millis(slow)).await;
            }
            if self.is_over() {
                return self.end().await;
            }
            if matches!(command.body, CommandBody::Logout) {
                let bye = Status::bye(None, "Microsoft Exchange Server IMAP4 server signing off.")
                    .map_err(io::Error::other)?;
                self.send(Response::Status(bye)).await?;
                self.ok(&command.tag, None, "LOGOUT completed.").await?;
                return self.stream.shutdown().await;
            }
            self.execute(command).await?;
        }
    }

    /// Whether the session was ended from elsewhere.
    fn is_over(&self) -> bool {
        self.upn.is_some() && self.shared.world().imap_generation != self.generation
    }

    async fn end(&mut self) -> io::Result<()> {
        let bye = Status::bye(None, "Session invalidated - AccessTokenExpired").map_err(io::Error::other)?;
        self.send(Response::Status(bye)).await?;
        self.stream.shutdown().await
    }

    /// Refuses a command, or ends the session at it, where it was told to. `true`: it did.
    async fn faulty(&mut self, command: &Command<'static>) -> io::Result<bool> {
        let name = command.body.name();
        if self.upn.is_some() && self.shared.faults().imap_cut == name {
            self.shared.world().faults.imap_cut.clear();
            self.end().await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.upn.is_some() && self.shared.faults().imap_dropped == name {
            self.shared.world().faults.imap_dropped.clear();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let refused = self.upn.is_some() && self.shared.faults().imap_refused == name;
        if refused {
            self.no(&command.tag, "Server Unavailable. 15").await?;
        }
        Ok(refused)
    }

    async fn execute(&mut self, command: Command<'static>) -> io::Result<()> {
        if self.faulty(&command).await? {
            return Ok(());
        }
        let tag = command.tag;
        match command.body {
            CommandBody::Capability => {
                self.data(Data::Capability(capabilities())).await?;
                self.ok(&tag, None, "CAPABILITY completed.").await
            }
            CommandBody::Noop | CommandBody::Check => {
                self.announce().await?;
                self.ok(&tag, None, "NOOP completed.").await
            }
            CommandBody::Authenticate { mechanism: AuthMechanism::XOAuth2, initial_response } => {
                self.authenticate(&tag, initial_response.map(|secret| secret.declassify().to_vec())).await
            }
            CommandBody::Authenticate { .. } | CommandBody::Login { .. } => self.no(&tag, "LOGIN failed.").await,
            _ if self.upn.is_none() => self.bad(Some(&tag), "Command received in Invalid state.").await,
            CommandBody::List { mailbox_wildcard, .. } => {
                let pattern = match &mailbox_wildcard {
                    ListMailbox::Token(token) => String::from_utf8_lossy(token.as_ref()).into_owned(),
                    ListMailbox::String(string) => String::from_utf8_lossy(string.as_ref()).into_owned(),
                };
                self.list(&tag, &pattern).await
            }
            CommandBody::Select { mailbox } => self.select(&tag, &mailbox, true).await,
            CommandBody::Examine { mailbox } => self.select(&tag, &mailbox, false).await,
            CommandBody::Status { mailbox, item_names } => self.status(&tag, &mailbox, &item_names).await,
            _ if self.selected.is_none() => self.bad(Some(&tag), "Command received in Invalid state.").await,
            CommandBody::Unselect | CommandBody::Close => {
                self.selected = None;
                self.ok(&tag, None, "CLOSE completed.").await
            }
            CommandBody::Search { criteria, uid, .. } => self.search(&tag, &criteria, uid).await,
            CommandBody::Fetch { sequence_set, macro_or_item_names, uid } => {
                let names = fetch::names(macro_or_item_names, uid);
                self.fetch(&tag, &sequence_set, &names, uid).await
            }
            CommandBody::Store { sequence_set, kind, response, flags, uid } => {
                self.store(&tag, &sequence_set, kind, response, &flags, uid).await
            }
            CommandBody::Move { sequence_set, mailbox, uid } => self.move_to(&tag, &sequence_set, &mailbox, uid).await,
            CommandBody::ExpungeUid { sequence_set } => {
                let named = self.resolve(&sequence_set, true).into_iter().map(|(_, uid)| uid).collect();
                self.expunge(Some(named)).await?;
                self.ok(&tag, None, "EXPUNGE completed.").await
            }
            CommandBody::Expunge => {
                self.expunge(None).await?;
                self.ok(&tag, None, "EXPUNGE completed.").await
            }
            CommandBody::Idle => self.idle(&tag).await,
            _ => self.bad(Some(&tag), "Command Error. 12").await,
        }
    }

    async fn authenticate(&mut self, tag: &Tag<'_>, initial: Option<Vec<u8>>) -> io::Result<()> {
        let response = if let Some(response) = initial {
            response
        } else {
            self.send(Response::CommandContinuationRequest(CommandContinuationRequest::base64(&b""[..]))).await?;
            self.stream.flush().await?;
            self.auth_line().await?
        };
        let upn = std::str::from_utf8(&response).ok().and_then(parse_sasl).and_then(|(user, token)| {
            let world = self.shared.world();
            let upn = access_upn(&world, &token, "IMAP.AccessAsUser.All")?;
            world.account_by_sign_in(&user).is_some_and(|account| account.upn.eq_ignore_ascii_case(&upn)).then_some(upn)
        });
        if let Some(upn) = upn {
            self.counted = Some(Counted::new(&self.shared, &upn));
            self.upn = Some(upn);
            return self.ok(tag, None, "AUTHENTICATE completed.").await;
        }
        let challenge =
            br#"{"status":"400","schemes":"Bearer","scope":"https://outlook.office.com/IMAP.AccessAsUser.All"}"#;
        self.send(Response::CommandContinuationRequest(CommandContinuationRequest::base64(&challenge[..]))).await?;
        self.stream.flush().await?;
        self.auth_line().await?;
        self.no(tag, "AUTHENTICATE failed.").await
    }

    async fn auth_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Ok((rest, data)) = AuthenticateDataCodec::default().decode(&self.buffer) {
                let used = self.buffer.len() - rest.len();
                let bytes = match data {
                    AuthenticateData::Continue(secret) => secret.declassify().to_vec(),
                    AuthenticateData::Cancel => Vec::new(),
                };
                self.buffer.drain(..used);
                return Ok(bytes);
            }
            if self.buffer.ends_with(b"\r\n") {
                self.buffer.clear();
                return Ok(Vec::new());
            }
            self.fill().await?;
        }
    }

    async fn list(&mut self, tag: &Tag<'_>, pattern: &str) -> io::Result<()> {
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

    fn with_account<T>(&self, read: impl FnOnce(&crate::Account) -> T) -> T
    where
        T: Default,
    {
        let world = self.shared.world();
        self.upn.as_deref().and_then(|upn| world.account_by_sign_in(upn)).map(read).unwrap_or_default()
    }

    fn with_folder<T>(&self, folder: &str, read: impl FnOnce(&crate::Folder) -> T) -> Option<T> {
        let world = self.shared.world();
        self.upn
            .as_deref()
            .and_then(|upn| world.account_by_sign_in(upn))
            .and_then(|account| account.folders.get(folder))
            .map(read)
    }

    async fn select(&mut self, tag: &Tag<'_>, mailbox: &Mailbox<'_>, writable: bool) -> io::Result<()> {
        if self.shared.faults().imap_disabled {
            return self.bad(Some(tag), "User is authenticated but not connected.").await;
        }
        if self.shared.faults().imap_throttled {
            let text = "Request is throttled. Suggested Backoff Time: 1500 milliseconds";
            return self.bad(Some(tag), text).await;
        }
        let folder = folder_name(mailbox);
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

    async fn status(&mut self, tag: &Tag<'_>, mailbox: &Mailbox<'_>, names: &[StatusDataItemName]) -> io::Result<()> {
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

    /// Tells the client of messages that came and went since it was last told.
    async fn announce(&mut self) -> io::Result<()> {
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

    /// Sequence number, UID of what a sequence set names, as the client knows them.
    fn resolve(&self, set: &SequenceSet, uid: bool) -> Vec<(u32, u32)> {
        let Some(selected) = &self.selected else { return Vec::new() };
        let numbered =
            selected.uids.iter().enumerate().filter_map(|(at, uid)| Some((u32::try_from(at + 1).ok()?, *uid)));
        let largest = if uid { selected.uids.last().copied() } else { u32::try_from(selected.uids.len()).ok() };
        let Some(largest) = largest.and_then(NonZeroU32::new) else { return Vec::new() };
        numbered.filter(|(seq, id)| search::in_set(set, if uid { *id } else { *seq }, largest)).collect()
    }

    async fn search(&mut self, tag: &Tag<'_>, criteria: &Vec1<SearchKey<'_>>, uid: bool) -> io::Result<()> {
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

    async fn fetch(
        &mut self,
        tag: &Tag<'_>,
        set: &SequenceSet,
        names: &[fetch::Name<'_>],
        uid: bool,
    ) -> io::Result<()> {
        for (seq, id) in self.resolve(set, uid) {
            let Some(selected) = &self.selected else { break };
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

    async fn store(
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
                    items.push(imap_codec::imap_types::fetch::MessageDataItem::Uid(id));
                }
                self.data(Data::Fetch { seq, items: Vec1::unvalidated(items) }).await?;
            }
        }
        self.shared.changed.notify_waiters();
        self.ok(tag, None, "STORE completed.").await
    }

    async fn move_to(&mut self, tag: &Tag<'_>, set: &SequenceSet, mailbox: &Mailbox<'_>, uid: bool) -> io::Result<()> {
        let target = folder_name(mailbox);
        let ids: Vec<u32> = self.resolve(set, uid).into_iter().map(|(_, id)| id).collect();
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
                    for mut mail in taken {
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
        self.announce().await?;
        self.shared.changed.notify_waiters();
        self.ok(tag, None, "MOVE completed.").await
    }

    /// Of those that are marked, all or only some.
    async fn expunge(&mut self, only: Option<Vec<u32>>) -> io::Result<()> {
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

    async fn idle(&mut self, tag: &Tag<'_>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.stream.write_all(b"+ IDLE accepted, awaiting DONE command.\r\n").await?;
        self.stream.flush().await?;
        loop {
            // Registered before looking, so that nothing between the look and the wait is missed.
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

fn has(mail: &Mail, flag: &str) -> bool {
    mail.flags.iter().any(|known| known.eq_ignore_ascii_case(flag))
}

fn folder_name(mailbox: &Mailbox<'_>) -> String {
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

/// The flags as FETCH shows them.
fn wire_flags(flags: &[String]) -> Vec<FlagFetch<'static>> {
    flags
        .iter()
        .filter_map(|flag| Flag::try_from(flag.as_str()).ok().map(|flag| FlagFetch::Flag(flag.into_static())))
        .collect()
}
