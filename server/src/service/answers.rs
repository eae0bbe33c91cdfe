//! Answers: to whom they go, what they quote, and what goes along.

use app::backend::{NewFile, SignedIn};
use app::error::AppError;
use app::model::{Answer, ComposeForm, DraftId, Edit, MessagePlace, size_in_words};

use super::Services;
use super::drafts::{Body, MOST_FILES};
use crate::inbox::{self, Ask, Opened};
use crate::mail::compose::utc;

/// Characters of a message that an answer quotes.
const MOST_QUOTED: usize = 100_000;

impl Services {
    /// Begins an answer: its draft is stored, with what it quotes and (forwarded) the files.
    pub(super) async fn begin_answer(
        &self,
        me: &SignedIn,
        place: &MessagePlace,
        how: Answer,
    ) -> Result<DraftId, AppError> {
        let mailbox = self.own_mailbox(me, place.mailbox).await?;
        let opened = self.open_message(me, &mailbox, place).await?;
        let draft = DraftId(self.clock.uuid());
        let (to, cc) = match how {
            Answer::Forward => (String::new(), String::new()),
            Answer::Reply => (written(&answered(&opened, &mailbox.address)), String::new()),
            Answer::ReplyAll => everybody(&opened, &mailbox.address),
        };
        let form = ComposeForm {
            mailbox: mailbox.id.to_string(),
            to,
            cc,
            subject: subject(how, &opened.subject),
            text: quoted(how, &opened),
            key: draft.to_string(),
            ..ComposeForm::default()
        };
        let mut references = Vec::new();
        if how != Answer::Forward {
            references.clone_from(&opened.references);
            references.extend(opened.message_id.clone());
        }
        let answers =
            (how != Answer::Forward).then(|| (place.mailbox, place.folder.clone(), place.validity, place.uid));
        self.put_body(me, draft, &Body { form, references, answers }, &Edit::default()).await?;
        if how == Answer::Forward {
            let copied = self.copy_files(me, draft, (&mailbox, place), &opened).await;
            if let Err(error) = copied {
                self.throw_away(me, draft).await?;
                return Err(error);
            }
        }
        Ok(draft)
    }

    /// Attaches the files of a message to the draft that forwards it.
    async fn copy_files(
        &self,
        me: &SignedIn,
        draft: DraftId,
        (mailbox, place): (&crate::store::Mailbox, &MessagePlace),
        opened: &Opened,
    ) -> Result<(), AppError> {
        let total: u64 = opened.parts.iter().map(inbox::Part::size).sum();
        if total > self.config.attachment_limit {
            return Err(AppError::refused(format!(
                "The attachments of this message have more than {} together: download them, and send them as a link.",
                size_in_words(self.config.attachment_limit)
            )));
        }
        if opened.parts.len() > MOST_FILES {
            return Err(AppError::refused(format!(
                "This message has more than {MOST_FILES} attachments: download them, and put them into an archive."
            )));
        }
        for part in &opened.parts {
            let mut reader = self.part_reader(mailbox, place, part);
            let mut octets = Vec::new();
            while let Some(some) = reader.next().await.map_err(|error| self.inbox_trouble(me, mailbox, &error))? {
                octets.extend(some);
            }
            let file = NewFile { name: part.name.clone(), content_type: part.content_type.clone(), octets };
            self.attach_files(me, draft, vec![file], &Edit::default()).await?;
        }
        Ok(())
    }

    /// Marks the message that was answered: a failure of that harms nobody.
    pub(super) fn mark_answered(&self, me: &SignedIn, body: &Body) {
        let Some((mailbox, folder, validity, uid)) = body.answers.clone() else { return };
        let (inbox, institution, store) = (std::sync::Arc::clone(&self.inbox), me.institution().id, self.store.clone());
        self.tasks.spawn(async move {
            let noted = store.note_flags(institution, mailbox, (&folder, &[uid]), (None, None, Some(true))).await;
            if let Err(error) = noted {
                tracing::warn!("{error}");
            }
            let flag = crate::mail::imap::Flag::Answered;
            let ask = Ask::Flag { folder, validity, uids: vec![uid], flag, set: true };
            if let Err(error) = inbox.ask(institution, mailbox, ask).await {
                tracing::debug!("an answered message could not be marked: {error}");
            }
        });
    }
}

/// Addresses as they are typed.
pub(super) fn written(all: &[(String, String)]) -> String {
    let each = all.iter().map(|(name, address)| {
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

/// To whom an answer goes: where the writer wants it; of one's own message, to whom that went.
fn answered(opened: &Opened, own: &str) -> Vec<(String, String)> {
    let own_message = opened.from.1.eq_ignore_ascii_case(own);
    if own_message {
        opened.to.clone()
    } else if opened.reply_to.is_empty() {
        vec![opened.from.clone()]
    } else {
        opened.reply_to.clone()
    }
}

/// Everybody a message went to but oneself: To and Cc.
fn everybody(opened: &Opened, own: &str) -> (String, String) {
    let mut seen = vec![own.to_lowercase()];
    let mut once = |all: Vec<(String, String)>| {
        let kept = all.into_iter().filter(|(_, address)| {
            let address = address.to_lowercase();
            let new = !address.is_empty() && !seen.contains(&address);
            if new {
                seen.push(address);
            }
            new
        });
        kept.collect::<Vec<_>>()
    };
    let to = once(answered(opened, own));
    let cc = once([opened.to.clone(), opened.cc.clone()].concat());
    // Written to oneself alone: then the answer goes there.
    if to.is_empty() && cc.is_empty() {
        return (own.to_owned(), String::new());
    }
    (written(&to), written(&cc))
}

fn subject(how: Answer, subject: &str) -> String {
    let (prefix, known): (&str, &[&str]) = match how {
        Answer::Reply | Answer::ReplyAll => ("Re: ", &["re:", "aw:", "sv:"]),
        Answer::Forward => ("Fwd: ", &["fwd:", "fw:", "wg:"]),
    };
    let lower = subject.to_lowercase();
    if known.iter().any(|known| lower.starts_with(known)) { subject.to_owned() } else { format!("{prefix}{subject}") }
}

/// The text of an answer: room to write, then what it answers.
fn quoted(how: Answer, opened: &Opened) -> String {
    let text = match (&opened.text, &opened.html) {
        (Some(text), _) => text.clone(),
        (None, Some(html)) => inbox::as_text(html),
        (None, None) => String::new(),
    };
    let text: String = text.replace("\r\n", "\n").chars().take(MOST_QUOTED).collect();
    let (name, address) = &opened.from;
    let who = if name.is_empty() { address.clone() } else { format!("{name} <{address}>") };
    let when = opened.date.map(utc).unwrap_or_default();
    if how == Answer::Forward {
        let to = written(&opened.to);
        return format!(
            "\n\n---------- Forwarded message ----------\nFrom: {who}\nDate: {when}\nSubject: {}\nTo: {to}\n\n{text}",
            opened.subject
        );
    }
    let lines = text
        .trim_end()
        .lines()
        .map(|line| if line.starts_with('>') { format!(">{line}") } else { format!("> {line}") });
    let before = if when.is_empty() { format!("{who} wrote:") } else { format!("On {when}, {who} wrote:") };
    format!("\n\n{before}\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Opened {
        let person = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        Opened {
            from: person("Ann \"A\"", "ann@x.example"),
            to: vec![person("", "me@demo.example"), person("Bob", "bob@x.example")],
            cc: vec![person("", "ANN@x.example"), person("", "cy@x.example")],
            subject: "Plan".into(),
            text: Some("One\r\n> two".into()),
            ..Opened::default()
        }
    }

    #[test]
    fn an_answer_to_everybody_leaves_out_oneself_and_names_nobody_twice() {
        let (to, cc) = everybody(&message(), "me@demo.example");
        assert_eq!(to, "Ann A <ann@x.example>");
        assert_eq!(cc, "Bob <bob@x.example>, cy@x.example");
        assert_eq!(crate::mail::recipients::parse_list(&format!("{to}, {cc}")).unwrap().len(), 3);
    }

    #[test]
    fn names_are_typed_as_they_are_read() {
        for name in
            ["Müller, Ann", "Dr. Ann (7a)", "Ann O'Neill & Co", "班主任", "a@b.example", "Staff: all;", "[x] <y>"]
        {
            let typed = written(&[(name.to_owned(), "ann@x.example".into())]);
            let read = crate::mail::recipients::parse_list(&typed).unwrap();
            assert_eq!((read.len(), read[0].address.as_str()), (1, "ann@x.example"), "{typed}");
            assert_eq!(read[0].name.as_deref(), Some(name), "{typed}");
        }
    }

    #[test]
    fn an_answer_goes_where_its_writer_wants_it() {
        let mut opened = message();
        opened.reply_to = vec![(String::new(), "list@x.example".into())];
        assert_eq!(written(&answered(&opened, "me@demo.example")), "list@x.example");
        assert_eq!(answered(&opened, "ann@x.example").len(), 2, "of one's own message: to whom that went");
    }

    #[test]
    fn subjects_and_quotes() {
        assert_eq!(subject(Answer::Reply, "Plan"), "Re: Plan");
        assert_eq!(subject(Answer::Reply, "RE: Plan"), "RE: Plan");
        assert_eq!(subject(Answer::Forward, "Plan"), "Fwd: Plan");
        let text = quoted(Answer::Reply, &message());
        assert!(text.starts_with("\n\nAnn") && text.contains("\n> One\n>> two\n"), "{text}");
        assert!(quoted(Answer::Forward, &message()).contains("Subject: Plan"));
    }
}
