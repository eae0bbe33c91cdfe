//! Replies and forwards: recipients, quotes, and forwarded files.

use app::backend::{NewFile, Result, SignedIn};
use app::error::AppError;
use app::model::{
    ComposeForm, DraftId, EventTime, FormVersion, Invitation, MessageRef, ReplyKind, UtcOffset, size_in_words,
};

use super::Services;
use super::drafts::{DraftBody, MOST_FILES};
use crate::mailbox_sync::{Command, MessageSet};
use crate::message::{self, ParsedMessage, Part, Party, html_text};
use crate::store::{FlagChange, Mailbox, MailboxKey};

/// Longest quote, in characters.
const MOST_QUOTED: usize = 100_000;

impl Services {
    /// Begins a reply or forward as a draft, with its quote and (for a forward) the files.
    pub(super) async fn start_reply(
        &self,
        user: &SignedIn,
        place: &MessageRef,
        how: ReplyKind,
        zone: Option<UtcOffset>,
    ) -> Result<DraftId> {
        let mailbox = self.own_mailbox(user, place.mailbox).await?;
        let opened = self.open_message(user, &mailbox, place).await?;
        let draft = DraftId(self.clock.uuid());
        let own = self.own_addresses(user, &mailbox).await?;
        let (to, cc) = match how {
            ReplyKind::Forward => (String::new(), String::new()),
            ReplyKind::Reply => (written(&answered(&opened, &own)), String::new()),
            ReplyKind::ReplyAll => everybody(&opened, &own),
        };
        let form = ComposeForm {
            mailbox: mailbox.id.to_string(),
            to,
            cc,
            subject: subject(how, &opened.subject),
            text: quoted(how, &opened, zone),
            key: draft.to_string(),
            ..ComposeForm::default()
        };
        let mut references = Vec::new();
        if how != ReplyKind::Forward {
            references.clone_from(&opened.references);
            references.extend(opened.message_id.clone());
        }
        let answers =
            (how != ReplyKind::Forward).then(|| (place.mailbox, place.folder.clone(), place.uid_validity, place.uid));
        self.put_body(user, draft, &DraftBody { form, references, answers }, &FormVersion::default()).await?;
        if how == ReplyKind::Forward {
            let copied = self.copy_files(user, draft, &mailbox, place, &opened).await;
            if let Err(error) = copied {
                self.discard_draft(user, draft).await?;
                return Err(error);
            }
        }
        Ok(draft)
    }

    /// The user's own addresses: of mailboxes, sign-in names, further addresses, and of the account.
    async fn own_addresses(&self, user: &SignedIn, mailbox: &Mailbox) -> Result<Own> {
        let mine = self.store.mailboxes_of(user.institution().id, user.user_id()).await?;
        let mut all = vec![mailbox.address.to_lowercase(), user.address().to_lowercase()];
        all.extend(mine.iter().flat_map(|one| [one.address.to_lowercase(), one.sign_in_name.to_lowercase()]));
        all.extend(mine.into_iter().flat_map(|one| one.aliases));
        Ok(Own { first: mailbox.address.clone(), all })
    }

    /// Attaches the files of a forwarded message, and the pictures in its text, to the draft.
    async fn copy_files(
        &self,
        user: &SignedIn,
        draft: DraftId,
        mailbox: &Mailbox,
        place: &MessageRef,
        opened: &ParsedMessage,
    ) -> Result<()> {
        let room = MOST_FILES.saturating_sub(opened.parts.len());
        let pictures = message::pictures::of_html(opened.html.as_deref().unwrap_or_default(), room);
        let total: u64 = opened.parts.iter().map(Part::size).sum();
        let total = total + pictures.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        if total > self.config.attachment_limit {
            return Err(AppError::refused(format!(
                "The attachments of this message exceed {} in total: download them, and send them as a link.",
                size_in_words(self.config.attachment_limit)
            ))
            .into());
        }
        if opened.parts.len() > MOST_FILES {
            return Err(AppError::refused(format!(
                "This message has more than {MOST_FILES} attachments: download them, and put them into an archive."
            ))
            .into());
        }
        for part in &opened.parts {
            let mut reader = self.download_part(mailbox, place, Some(part));
            let mut bytes = Vec::new();
            while let Some(some) = reader.next().await.map_err(|error| self.sync_failure(user, mailbox, error))? {
                bytes.extend(some);
            }
            let file = NewFile { name: part.name.clone(), content_type: part.content_type.clone(), bytes };
            self.attach_files(user, draft, vec![file], &FormVersion::default()).await?;
        }
        for (number, (content_type, bytes)) in pictures.into_iter().enumerate() {
            let name = format!("picture-{}.{}", number + 1, message::pictures::ending(content_type));
            let file = NewFile { name, content_type: content_type.to_owned(), bytes };
            self.attach_files(user, draft, vec![file], &FormVersion::default()).await?;
        }
        Ok(())
    }

    /// Flags the replied message \Answered; a failure is ignored.
    pub(super) fn mark_answered(&self, user: &SignedIn, body: &DraftBody) {
        let Some((mailbox, folder, uid_validity, uid)) = body.answers.clone() else { return };
        let (mailbox_sync, institution, store) =
            (std::sync::Arc::clone(&self.mailbox_sync), user.institution().id, self.store.clone());
        self.tasks.spawn(async move {
            let change = FlagChange { answered: Some(true), ..FlagChange::default() };
            let noted = store.note_flags(MailboxKey { institution, id: mailbox }, &folder, &[uid], change).await;
            if let Err(error) = noted {
                tracing::warn!("cannot note a flag in the list: {error}");
            }
            let flag = crate::mail::imap::Flag::Answered;
            let messages = MessageSet { folder, uid_validity, uids: vec![uid] };
            let flag = Command::Flag { messages, flag, set: true };
            if let Err(error) = mailbox_sync.execute(MailboxKey { institution, id: mailbox }, flag).await {
                tracing::debug!("cannot mark a message as answered: {error}");
            }
        });
    }
}

/// Addresses as people type them. Names without an address are left out.
pub(super) fn written(all: &[Party]) -> String {
    let each = all.iter().filter(|party| !party.address.is_empty()).map(|Party { name, address }| {
        let name = name.replace(['"', '\\'], "");
        if name.is_empty() || name == *address {
            address.clone()
        } else if name.contains(['(', ')', '<', '>', '[', ']', ':', ';', '@', ',', '.']) {
            format!("\"{name}\" <{address}>")
        } else {
            format!("{name} <{address}>")
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

struct Own {
    first: String,
    all: Vec<String>,
}

impl Own {
    /// Whether an address is the user's own, also with a tag (`jane+news@…`, RFC 5233), which Exchange Online delivers.
    fn has(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        let untagged = address.split_once('@').and_then(|(local, domain)| {
            let (local, _) = local.split_once('+').filter(|(local, _)| !local.is_empty())?;
            Some(format!("{local}@{domain}"))
        });
        self.all.contains(&address) || untagged.is_some_and(|address| self.all.contains(&address))
    }

    /// The likely alias through which a message came that names none of the known addresses: in the same domain, with the display
    /// name of the user's own address, and the only one. Exchange does not reveal the aliases of a mailbox.
    fn alias<'a>(&self, named: impl Iterator<Item = &'a Party> + Clone) -> Option<String> {
        if named.clone().any(|party| self.has(&party.address)) {
            return None;
        }
        let (local, domain) = self.first.split_once('@')?;
        let words = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            // `Brook, Ada` equals `Ada Brook`.
            let mut words: Vec<String> = words.map(str::to_lowercase).collect();
            words.sort();
            words
        };
        let mine = words(local);
        let mut alike = named.filter(|party| {
            let Some((other, at)) = party.address.split_once('@') else { return false };
            let other = words(other);
            at.eq_ignore_ascii_case(domain)
                && words(&party.name) == mine
                && (mine.iter().all(|word| other.contains(word)) || other.iter().all(|word| mine.contains(word)))
        });
        alike.next().filter(|_| alike.next().is_none()).map(|party| party.address.to_lowercase())
    }
}

/// Recipients of a reply: Reply-To or From; for the user's own message, its recipients.
fn answered(opened: &ParsedMessage, own: &Own) -> Vec<Party> {
    // Invalid addresses are ignored.
    let is_address = |party: &&Party| app::model::EmailAddress::parse(&party.address).is_ok();
    let reachable = |all: &[Party]| all.iter().filter(is_address).cloned().collect::<Vec<_>>();
    let (from, reply_to) = (reachable(&opened.from), reachable(&opened.reply_to));
    let own_message = !from.is_empty() && from.iter().all(|party| own.has(&party.address));
    if own_message {
        reachable(&opened.to)
    } else if reply_to.iter().all(|party| own.has(&party.address)) {
        // No Reply-To, or the user's own, as lists and forms set it: reply to the author.
        from
    } else {
        reply_to
    }
}

/// Recipients of Reply all, without the user: To and Cc.
fn everybody(opened: &ParsedMessage, own: &Own) -> (String, String) {
    let named = opened.to.iter().chain(&opened.cc);
    let mut seen = own.all.clone();
    seen.extend(own.alias(named.clone()));
    let mut once = |all: Vec<Party>| {
        let kept = all.into_iter().filter(|party| {
            let address = party.address.to_lowercase();
            let new = !address.is_empty() && !seen.contains(&address) && !own.has(&address);
            if new {
                seen.push(address);
            }
            new
        });
        kept.collect::<Vec<_>>()
    };
    let to = once(answered(opened, own));
    let cc = once(named.cloned().collect());
    // A message to oneself alone: the reply goes there.
    if to.is_empty() && cc.is_empty() {
        return (own.first.clone(), String::new());
    }
    (written(&to), written(&cc))
}

fn subject(how: ReplyKind, subject: &str) -> String {
    let (prefix, known): (&str, &[&str]) = match how {
        ReplyKind::Reply | ReplyKind::ReplyAll => ("Re: ", &["re:", "aw:", "sv:"]),
        ReplyKind::Forward => ("Fwd: ", &["fwd:", "fw:", "wg:"]),
    };
    let lower = subject.to_lowercase();
    if known.iter().any(|known| lower.starts_with(known)) { subject.to_owned() } else { format!("{prefix}{subject}") }
}

/// The invitation as text, if the message has no other text.
fn invitation_text(invitation: &Invitation) -> String {
    let time = |time: &Option<EventTime>| match time {
        Some(EventTime::Instant(at)) => at.utc_text(),
        Some(EventTime::Day(words) | EventTime::Local(words)) => words.clone(),
        None => String::new(),
    };
    let rows = [
        ("", invitation.summary.clone()),
        ("From: ", time(&invitation.start)),
        ("To: ", time(&invitation.end)),
        ("Where: ", invitation.location.clone()),
        ("Organizer: ", invitation.organizer.clone()),
        ("", invitation.links.join("\n")),
        ("", invitation.description.clone()),
    ];
    let rows = rows.into_iter().filter(|(_, value)| !value.trim().is_empty());
    rows.map(|(name, value)| format!("{name}{value}\n")).collect()
}

/// The text of a reply: space to write, then the quote.
fn quoted(how: ReplyKind, opened: &ParsedMessage, zone: Option<UtcOffset>) -> String {
    let text = match (&opened.text, &opened.html) {
        (Some(text), _) => text.clone(),
        (None, Some(html)) => html_text(html),
        (None, None) => String::new(),
    };
    let text = match &opened.invitation {
        Some(invitation) if text.trim().is_empty() => invitation_text(invitation),
        _ => text,
    };
    let text: String = text.replace("\r\n", "\n").chars().take(MOST_QUOTED).collect();
    let sender = super::inbox::joined(&opened.from);
    let when = opened.date.map(|at| at.text(zone)).unwrap_or_default();
    if how == ReplyKind::Forward {
        let to = written(&opened.to);
        return format!(
            "\n\n---------- Forwarded message ----------\nFrom: {sender}\nDate: {when}\nSubject: {}\nTo: {to}\n\n{text}",
            opened.subject
        );
    }
    let lines = text
        .trim_end()
        .lines()
        .map(|line| if line.starts_with('>') { format!(">{line}") } else { format!("> {line}") });
    let before = if when.is_empty() { format!("{sender} wrote:") } else { format!("On {when}, {sender} wrote:") };
    format!("\n\n{before}\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, address: &str) -> Party {
        Party { name: name.to_owned(), address: address.to_owned() }
    }

    fn own(all: &[&str]) -> Own {
        Own { first: all[0].to_owned(), all: all.iter().map(|one| (*one).to_owned()).collect() }
    }

    fn message() -> ParsedMessage {
        ParsedMessage {
            from: vec![person("Ann \"A\"", "ann@x.example")],
            to: vec![person("", "me@demo.example"), person("Bob", "bob@x.example")],
            cc: vec![person("", "ANN@x.example"), person("", "cy@x.example")],
            subject: "Plan".into(),
            text: Some("One\r\n> two".into()),
            ..ParsedMessage::default()
        }
    }

    #[test]
    fn an_answer_to_everybody_leaves_out_oneself_and_names_nobody_twice() {
        let (to, cc) = everybody(&message(), &own(&["me@demo.example"]));
        assert_eq!(to, "Ann A <ann@x.example>");
        assert_eq!(cc, "Bob <bob@x.example>, cy@x.example");
        assert_eq!(crate::message::addresses::parse_list(&format!("{to}, {cc}")).unwrap().len(), 3);
    }

    #[test]
    fn all_own_addresses_are_left_out_of_an_answer_to_everybody() {
        let mut opened = message();
        opened.to.push(person("", "SignIn@demo.example"));
        opened.cc.push(person("", "office@demo.example"));
        let mine = own(&["me@demo.example", "signin@demo.example", "office@demo.example"]);
        assert_eq!(everybody(&opened, &mine).1, "Bob <bob@x.example>, cy@x.example");
    }

    #[test]
    fn an_alias_is_known_by_the_persons_own_name_and_colleagues_are_not_mistaken_for_it() {
        let mine = own(&["user@demo.example"]);
        let cc = |to: Vec<Party>| everybody(&ParsedMessage { to, cc: Vec::new(), ..message() }, &mine).1;
        let alias = person("User", "first.user@demo.example");
        assert_eq!(cc(vec![alias.clone(), person("", "kai@x.example")]), "kai@x.example");
        let two = cc(vec![alias.clone(), person("User", "second.user@demo.example")]);
        assert!(two.contains("first.user") && two.contains("second.user"), "{two}");
        assert!(cc(vec![person("User", "user@other.example")]).contains("user@other.example"));
        assert!(cc(vec![person("Super User", "super.user@demo.example")]).contains("super.user"));
        assert!(
            cc(vec![person("", "user@demo.example"), alias]).contains("first.user"),
            "it came to the address itself"
        );
    }

    #[test]
    fn names_are_typed_as_they_are_read() {
        for name in
            ["Müller, Ann", "Dr. Ann (7a)", "Ann O'Neill & Co", "班主任", "a@b.example", "Staff: all;", "[x] <y>"]
        {
            let typed = written(&[person(name, "ann@x.example")]);
            let read = crate::message::addresses::parse_list(&typed).unwrap();
            assert_eq!((read.len(), read[0].address.as_str()), (1, "ann@x.example"), "{typed}");
            assert_eq!(read[0].name.as_deref(), Some(name), "{typed}");
        }
    }

    #[test]
    fn an_answer_goes_where_its_authors_want_it() {
        let mine = own(&["me@demo.example"]);
        let mut opened = message();
        opened.from.push(person("Co", "co@x.example"));
        assert_eq!(written(&answered(&opened, &mine)), "Ann A <ann@x.example>, Co <co@x.example>", "both authors");
        opened.reply_to = vec![person("School Office", "")];
        assert_eq!(answered(&opened, &mine).len(), 2, "a name alone is no address");
        opened.reply_to.push(person("", "list@x.example"));
        assert_eq!(written(&answered(&opened, &mine)), "list@x.example");
        opened.reply_to = vec![person("", "me@demo.example")];
        assert_eq!(answered(&opened, &mine).len(), 2, "oneself, as forms and lists set it: the authors");
        let ann = own(&["ann@x.example", "co@x.example"]);
        assert_eq!(answered(&opened, &ann).len(), 2, "of one's own message: to whom that went");
    }

    #[test]
    fn subjects_and_quotes() {
        assert_eq!(subject(ReplyKind::Reply, "Plan"), "Re: Plan");
        assert_eq!(subject(ReplyKind::Reply, "RE: Plan"), "RE: Plan");
        assert_eq!(subject(ReplyKind::Forward, "Plan"), "Fwd: Plan");
        let text = quoted(ReplyKind::Reply, &message(), None);
        assert!(text.starts_with("\n\nAnn") && text.contains("\n> One\n>> two\n"), "{text}");
        assert!(quoted(ReplyKind::Forward, &message(), None).contains("Subject: Plan"));
    }

    #[test]
    fn tags_names_in_another_order_and_what_is_no_address() {
        let own = own(&["ada.brook@school.example"]);
        let message = ParsedMessage {
            from: vec![person("Kai", "kai@far.example")],
            reply_to: vec![person("Info", "Info @ School")],
            to: vec![person("", "Ada.Brook+news@School.example"), person("", "lea@far.example")],
            ..ParsedMessage::default()
        };
        assert_eq!(everybody(&message, &own), ("Kai <kai@far.example>".to_owned(), "lea@far.example".to_owned()));
        let message = ParsedMessage {
            from: vec![person("Kai", "kai@far.example")],
            to: vec![person("Brook, Ada", "ada.m.brook@school.example"), person("", "lea@far.example")],
            ..ParsedMessage::default()
        };
        assert_eq!(everybody(&message, &own), ("Kai <kai@far.example>".to_owned(), "lea@far.example".to_owned()));
    }
}
