//! Commands of an authenticated session. The library's own commands take a refusal of these for an empty response; here the tagged
//! response decides, and a connection that ends before it counts as lost.

use std::time::Duration;

use app::model::FolderRole;
use async_imap::imap_proto::rfc4315::UidSetMember;
use async_imap::imap_proto::{
    AttributeValue, Capability, MailboxDatum, MessageSection, NameAttribute, Response, ResponseCode, SectionPath,
    Status,
};
use async_imap::types::UnsolicitedResponse;
use mail_parser::DateTime;

use super::bounded::Allow;
use super::wire::{quoted, role, set_of};
use super::{Flag, Flags, Folder, Listed, Mark, Moved, Selected, Session};
use crate::mail::{MailError, STEP_LIMIT, Step};

/// Header fields that lists need, and their largest size in bytes: a hostile message may have any number, an honest one hundreds of
/// recipients.
const LIST_FIELDS: &str =
    "BODY.PEEK[HEADER.FIELDS (FROM SUBJECT CONTENT-TYPE)]<0.8192> BODY.PEEK[HEADER.FIELDS (TO)]<0.4096>";

/// Marks a NO caused by an unsupported SEARCH charset.
const BAD_CHARSET: &str = "[BADCHARSET]";

fn newest_first(mut uids: Vec<u32>) -> Vec<u32> {
    uids.sort_unstable_by_key(|uid| std::cmp::Reverse(*uid));
    uids.dedup();
    uids
}

#[derive(Default)]
struct Fetched {
    uid: Option<u32>,
    flags: Flags,
    deleted: bool,
    size: Option<u32>,
    received_ms: i64,
    headers: Vec<Vec<u8>>,
    body: Option<Vec<u8>>,
}

impl Fetched {
    fn of(attributes: &[AttributeValue<'_>]) -> Self {
        let mut fetched = Self::default();
        for attribute in attributes {
            match attribute {
                AttributeValue::Uid(uid) => fetched.uid = Some(*uid),
                AttributeValue::Rfc822Size(size) => fetched.size = Some(*size),
                AttributeValue::Flags(flags) => {
                    let has = |wanted: &str| flags.iter().any(|flag| flag.eq_ignore_ascii_case(wanted));
                    fetched.flags =
                        Flags { seen: has("\\Seen"), flagged: has("\\Flagged"), answered: has("\\Answered") };
                    fetched.deleted = has("\\Deleted");
                }
                AttributeValue::InternalDate(date) => fetched.received_ms = milliseconds(date),
                AttributeValue::BodySection {
                    section: Some(SectionPath::Full(MessageSection::Header)),
                    data: Some(data),
                    ..
                } => fetched.headers.push(data.to_vec()),
                AttributeValue::BodySection { section: None, data: Some(data), .. } => {
                    fetched.body = Some(data.to_vec());
                }
                _ => {}
            }
        }
        fetched
    }

    /// The header fields, which were requested separately, as one header.
    fn header(&self) -> Vec<u8> {
        let mut whole = Vec::new();
        for part in &self.headers {
            whole.extend_from_slice(part.trim_ascii_end());
            whole.extend_from_slice(b"\r\n");
        }
        whole.extend_from_slice(b"\r\n");
        whole
    }
}

fn uids_of(member: &UidSetMember) -> std::ops::RangeInclusive<u32> {
    match member {
        UidSetMember::Uid(uid) => *uid..=*uid,
        UidSetMember::UidRange(range) => *range.start().min(range.end())..=*range.end().max(range.start()),
    }
}

/// `17-Jul-1996 02:44:25 -0700` (RFC 3501, date-time) in milliseconds since the epoch.
fn milliseconds(date: &str) -> i64 {
    DateTime::parse_rfc822(&date.trim().replacen('-', " ", 2))
        .map_or(0, |date| date.to_timestamp().saturating_mul(1000))
}

impl Session {
    /// Sends a command and passes on its responses up to the tagged one.
    async fn exchange(
        &mut self,
        step: Step,
        allow: Allow,
        command: &str,
        mut each: impl FnMut(&Response<'_>),
    ) -> Result<(), MailError> {
        self.inner(allow)?;
        self.exchange_within(step, STEP_LIMIT, command, &mut each).await.inspect_err(|error| {
            // The rest of the response would be taken for that of the next command.
            if !error.answered {
                self.inner = None;
            }
        })
    }

    async fn exchange_within(
        &mut self,
        step: Step,
        limit: Duration,
        command: &str,
        each: &mut impl FnMut(&Response<'_>),
    ) -> Result<(), MailError> {
        let lost = |error: &dyn std::fmt::Display| {
            MailError::network(step, format!("the connection was lost: {}", super::without_quote(&error.to_string())))
        };
        let Some(inner) = self.inner.as_mut() else { return Err(MailError::network(step, "the connection was lost")) };
        let (event, selected) = (&mut self.event, self.selected.is_some());
        let exchanged = async {
            let tag = inner.run_command(command).await.map_err(|error| lost(&error))?;
            loop {
                let answer = inner.read_response().await.map_err(|error| lost(&error))?;
                let answer = answer.ok_or_else(|| MailError::network(step, "the connection was lost"))?;
                match answer.parsed() {
                    Response::Done { tag: answered, status, outcome } if *answered == tag => {
                        let words = outcome.information.as_deref().unwrap_or_default();
                        return match status {
                            Status::Ok => {
                                each(answer.parsed());
                                Ok(())
                            }
                            Status::No if matches!(outcome.code, Some(ResponseCode::BadCharset(_))) => {
                                Err(MailError::refused(step, None, format!("NO {BAD_CHARSET} {words}")))
                            }
                            Status::No => Err(MailError::refused(step, None, format!("NO {words}"))),
                            _ => Err(MailError::refused(step, None, format!("BAD {words}"))),
                        };
                    }
                    Response::Data { status: Status::Bye, outcome } => return Err(super::ended(step, outcome)),
                    answer => {
                        // An unsolicited response: messages arrived or left.
                        let told = matches!(
                            answer,
                            Response::MailboxData(MailboxDatum::Exists(_))
                                | Response::Expunge(_)
                                | Response::Vanished { .. }
                        );
                        *event |= told && selected;
                        each(answer);
                    }
                }
            }
        };
        let late = format!("no answer within {} seconds", limit.as_secs());
        tokio::time::timeout(limit, exchanged).await.unwrap_or_else(|_| Err(MailError::network(step, late)))
    }

    async fn fetch(&mut self, allow: Allow, command: &str, mut each: impl FnMut(Fetched)) -> Result<(), MailError> {
        self.exchange(Step::Fetch, allow, command, |answer| {
            if let Response::Fetch(_, attributes) = answer {
                each(Fetched::of(attributes));
            }
        })
        .await
    }

    /// Reads whether messages can be moved in one command (RFC 6851) and expunged by UID (RFC 4315).
    pub(super) async fn read_capabilities(&mut self) -> Result<(), MailError> {
        let mut found = Vec::new();
        let asked = self.exchange(Step::Auth, Allow::LITTLE, "CAPABILITY", |answer| {
            if let Response::Capabilities(capabilities) = answer {
                found.extend(capabilities.iter().map(|one| match one {
                    Capability::Atom(name) => name.to_ascii_uppercase(),
                    _ => String::new(),
                }));
            }
        });
        match asked.await {
            // A server that refuses to say has no extensions.
            Err(error) if error.answered => {}
            other => other?,
        }
        self.can_move = found.iter().any(|name| name == "MOVE");
        self.can_expunge_by_uid = found.iter().any(|name| name == "UIDPLUS");
        Ok(())
    }

    /// Selects INBOX: only this proves access, since AUTHENTICATE may succeed without it.
    pub async fn open_inbox(&mut self) -> Result<u32, MailError> {
        Ok(self.select("INBOX").await?.exists)
    }

    pub async fn select(&mut self, folder: &str) -> Result<Selected, MailError> {
        self.selected = None;
        self.event = true;
        let (mut exists, mut uid_validity) = (0, None);
        self.exchange(Step::Select, Allow::LITTLE, &format!("SELECT {}", quoted(folder)), |answer| match answer {
            Response::MailboxData(MailboxDatum::Exists(count)) => exists = *count,
            Response::Data { outcome, .. } => {
                if let Some(ResponseCode::UidValidity(number)) = outcome.code {
                    uid_validity = Some(number);
                }
            }
            _ => {}
        })
        .await?;
        let uid_validity =
            uid_validity.ok_or_else(|| MailError::refused(Step::Select, None, "the answer has no UIDVALIDITY"))?;
        let selected = Selected { exists, uid_validity };
        self.selected = Some((folder.to_owned(), selected));
        Ok(selected)
    }

    /// Selects a folder unless it is selected.
    pub async fn ensure(&mut self, folder: &str) -> Result<Selected, MailError> {
        match &self.selected {
            Some((open, selected)) if open == folder && self.inner.is_some() => Ok(*selected),
            _ => self.select(folder).await,
        }
    }

    /// Whether the selected folder may have changes that [`Session::newest`] has not seen: it was selected since, or the server sent
    /// an unsolicited response. IDLE repeats neither.
    pub fn has_event(&mut self) -> bool {
        while let Some(told) = self.inner.as_mut().and_then(|inner| inner.unsolicited_responses.try_recv().ok()) {
            self.event |= matches!(told, UnsolicitedResponse::Exists(_) | UnsolicitedResponse::Expunge(_));
        }
        self.event
    }

    /// All folders, with their names on the server. A special-use attribute outranks a role derived from the name.
    pub async fn folders(&mut self) -> Result<Vec<Folder>, MailError> {
        let mut folders = Vec::new();
        self.exchange(Step::Search, Allow::LISTS, "LIST \"\" \"*\"", |answer| {
            if let Response::MailboxData(MailboxDatum::List(found)) = answer {
                let (role, told) = role(&found.name, &found.name_attributes);
                let selectable = !found.name_attributes.contains(&NameAttribute::NoSelect);
                folders.push((Folder { name: found.name.to_string(), role, selectable }, told));
            }
        })
        .await?;
        let told: Vec<FolderRole> = folders.iter().filter(|(_, told)| *told).map(|(folder, _)| folder.role).collect();
        let ranked = folders.into_iter().map(|(folder, by_server)| match folder.role {
            role if !by_server && told.contains(&role) => Folder { role: FolderRole::Other, ..folder },
            _ => folder,
        });
        Ok(ranked.collect())
    }

    async fn uids(&mut self, query: &str) -> Result<Vec<u32>, MailError> {
        let mut found = Vec::new();
        self.exchange(Step::Search, Allow::NUMBERS, &format!("UID SEARCH {query}"), |answer| {
            if let Response::MailboxData(MailboxDatum::Search(uids)) = answer {
                found.extend_from_slice(uids);
            }
        })
        .await?;
        Ok(found)
    }

    pub async fn contains(&mut self, folder: &str, mark: &Mark<'_>) -> Result<bool, MailError> {
        self.select(folder).await?;
        let marks = [("Message-ID", Some(mark.message_id)), ("X-Entrepost-Attempt", mark.attempt)];
        for (header, value) in marks.into_iter().filter_map(|(header, value)| Some((header, value?))) {
            if !self.uids(&format!("HEADER {header} {}", quoted(value))).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// UIDs of messages in the selected folder that contain a text, newest first. `None`: the server supports only ASCII (RFC 3501,
    /// 6.4.4), as Exchange does.
    pub async fn search(&mut self, text: &str) -> Result<Option<Vec<u32>>, MailError> {
        if text.is_ascii() {
            return self.search_all(&[text]).await.map(Some);
        }
        if self.ascii_only {
            return Ok(None);
        }
        // Other bytes than ASCII need a literal; `+` means non-synchronizing (RFC 7888).
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        match self.uids(&format!("CHARSET UTF-8 TEXT {{{}+}}\r\n{clean}", clean.len())).await {
            Err(error) if error.answered && error.text.contains(BAD_CHARSET) => {
                self.ascii_only = true;
                Ok(None)
            }
            other => other.map(newest_first).map(Some),
        }
    }

    /// UIDs of messages in the selected folder that contain all of these ASCII texts, newest first.
    pub async fn search_all(&mut self, texts: &[&str]) -> Result<Vec<u32>, MailError> {
        let keys: Vec<String> = texts.iter().map(|text| format!("TEXT {}", quoted(text))).collect();
        self.uids(&keys.join(" ")).await.map(newest_first)
    }

    /// UIDs and flags of the newest messages in the selected folder.
    pub async fn newest(&mut self, exists: u32, count: u32) -> Result<Vec<(u32, Flags)>, MailError> {
        // The response includes everything reported so far.
        self.has_event();
        self.event = false;
        let mut found = Vec::new();
        if exists > 0 {
            let oldest = exists.saturating_sub(count.saturating_sub(1)).max(1);
            self.fetch(Allow::LISTS, &format!("FETCH {oldest}:* (UID FLAGS)"), |one| {
                found.extend(one.uid.filter(|_| !one.deleted).map(|uid| (uid, one.flags)));
            })
            .await?;
        }
        Ok(found)
    }

    /// UIDs in a range of positions of the selected folder; `from` is the oldest position, counted from 1.
    pub async fn stretch(&mut self, from: u32, to: u32) -> Result<Vec<u32>, MailError> {
        let mut found = Vec::new();
        self.fetch(Allow::LISTS, &format!("FETCH {from}:{to} (UID FLAGS)"), |one| {
            found.extend(one.uid.filter(|_| !one.deleted));
        })
        .await?;
        Ok(found)
    }

    /// List data of some messages in the selected folder.
    pub async fn list(&mut self, uids: &[u32]) -> Result<Vec<Listed>, MailError> {
        let mut found = Vec::new();
        if uids.is_empty() {
            return Ok(found);
        }
        let command = format!("UID FETCH {} (UID FLAGS INTERNALDATE RFC822.SIZE {LIST_FIELDS})", set_of(uids));
        self.fetch(Allow::LISTS, &command, |one| {
            // Changes of other messages may come in between.
            if let (Some(uid), false) = (one.uid, one.headers.is_empty()) {
                found.push(Listed {
                    uid,
                    flags: one.flags,
                    received_ms: one.received_ms,
                    size: one.size.unwrap_or(0),
                    header: one.header(),
                });
            }
        })
        .await?;
        Ok(found)
    }

    /// Size of a message in the selected folder; `None` if it is gone. Exchange may be off by some bytes.
    pub async fn size(&mut self, uid: u32) -> Result<Option<u32>, MailError> {
        let mut size = None;
        self.fetch(Allow::LISTS, &format!("UID FETCH {uid} (UID RFC822.SIZE)"), |one| {
            size = size.or(one.size.filter(|_| one.uid == Some(uid)));
        })
        .await?;
        Ok(size)
    }

    /// Bytes of a message in the selected folder, without setting \Seen. Shorter at its end; `None` if it is gone.
    pub async fn bytes(&mut self, uid: u32, from: u32, length: u32) -> Result<Option<Vec<u8>>, MailError> {
        let mut bytes = None;
        self.fetch(Allow::OCTETS, &format!("UID FETCH {uid} (UID BODY.PEEK[]<{from}.{length}>)"), |one| {
            if one.uid == Some(uid) && one.body.is_some() {
                bytes = one.body;
            }
        })
        .await?;
        Ok(bytes)
    }

    /// Sets or clears a flag of messages in the selected folder.
    pub async fn flag(&mut self, uids: &[u32], flag: Flag, set: bool) -> Result<(), MailError> {
        let sign = if set { '+' } else { '-' };
        let command = format!("UID STORE {} {sign}FLAGS.SILENT ({})", set_of(uids), flag.name());
        self.exchange(Step::Store, Allow::LITTLE, &command, |_| {}).await
    }

    /// Moves messages of the selected folder to another one. Returns their new place if the server reports it (COPYUID, RFC 4315).
    pub async fn move_to(&mut self, uids: &[u32], folder: &str) -> Result<Option<Moved>, MailError> {
        let command = if self.can_move { "MOVE" } else { "COPY" };
        let command = format!("UID {command} {} {}", set_of(uids), quoted(folder));
        let mut moved = None;
        self.exchange(Step::Store, Allow::LITTLE, &command, |answer| {
            // For MOVE it is an untagged response (RFC 6851, 4.3), for COPY part of the tagged one.
            let code = match answer {
                Response::Done { outcome, .. } | Response::Data { outcome, .. } => outcome.code.as_ref(),
                _ => None,
            };
            if let Some(ResponseCode::CopyUid(uid_validity, _, now)) = code {
                let new = now.iter().flat_map(uids_of).take(uids.len());
                let all = moved.get_or_insert_with(|| Moved {
                    folder: folder.to_owned(),
                    uid_validity: *uid_validity,
                    uids: Vec::new(),
                });
                // A server may split it over several responses.
                if all.uid_validity == *uid_validity && all.uids.len() < uids.len() {
                    all.uids.extend(new);
                }
            }
        })
        .await?;
        if !self.can_move {
            self.erase(uids).await?;
        }
        Ok(moved)
    }

    /// Expunges messages of the selected folder. Without UID EXPUNGE (RFC 4315) they only get \Deleted: messages flagged by other
    /// programs must not be expunged with them.
    pub async fn erase(&mut self, uids: &[u32]) -> Result<(), MailError> {
        let set = set_of(uids);
        self.exchange(Step::Store, Allow::LITTLE, &format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"), |_| {})
            .await?;
        if self.can_expunge_by_uid {
            self.exchange(Step::Store, Allow::LITTLE, &format!("UID EXPUNGE {set}"), |_| {}).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(milliseconds("17-Jul-1996 02:44:25 -0700"), 837_596_665_000);
        assert_eq!(milliseconds(" 7-Jul-1996 02:44:25 +0000"), 836_707_465_000);
        assert_eq!(milliseconds("never"), 0);
    }

    #[test]
    fn fields_that_were_asked_for_apart_are_one_header() {
        let fetched = Fetched {
            headers: vec![
                b"From: a@x.example\r\nSubject: S\r\n\r\n".to_vec(),
                b"To: b@x.example,\r\n c@x.exam".to_vec(),
            ],
            ..Fetched::default()
        };
        assert_eq!(fetched.header(), b"From: a@x.example\r\nSubject: S\r\nTo: b@x.example,\r\n c@x.exam\r\n\r\n");
    }
}
