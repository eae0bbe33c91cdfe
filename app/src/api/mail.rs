//! Writing messages, and the outbox.

use leptos::prelude::*;
use leptos::server_fn::codec::{MultipartData, MultipartFormData};

#[cfg(feature = "ssr")]
use super::Request;
use crate::error::AppError;
use crate::model::AttachmentView;
#[cfg(feature = "ssr")]
use crate::model::{
    ComposeForm, DeliveryId, DraftId, Flash, FormVersion, MessageRef, ReplyKind, Resubmission, UtcOffset,
};

#[cfg(feature = "ssr")]
const OUTBOX: &str = "/mail/outbox";
#[cfg(feature = "ssr")]
const COMPOSE: &str = "/mail/compose";

/// Octets of one text field that are read.
#[cfg(feature = "ssr")]
const MOST_TEXT: usize = 2 * 1024 * 1024;

/// The fields of the form, and the files that came with it.
#[cfg(feature = "ssr")]
struct Posted {
    form: ComposeForm,
    edit: FormVersion,
    action: String,
    files: Vec<crate::backend::NewFile>,
}

#[cfg(feature = "ssr")]
impl Posted {
    /// Reads a form as it comes in. Files beyond the limit are left out, and that is said beside what was typed: nothing of it is
    /// lost for them.
    async fn read(data: MultipartData, limit: u64) -> Result<(Self, Result<(), AppError>), AppError> {
        let mut fields = data.into_inner().ok_or(AppError::Malformed)?;
        let edit = FormVersion { pressed: true, ..FormVersion::default() };
        let mut posted = Self { form: ComposeForm::default(), edit, action: String::new(), files: Vec::new() };
        let mut room = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut all_there = Ok(());
        while let Some(mut field) = fields.next_field().await.map_err(|_| AppError::Malformed)? {
            let name = field.name().unwrap_or_default().to_owned();
            let file = field.file_name().map(ToOwned::to_owned);
            let content_type = field.content_type().map(ToString::to_string).unwrap_or_default();
            let most = if file.is_some() { room } else { MOST_TEXT };
            let (mut bytes, mut whole) = (Vec::new(), true);
            while let Some(chunk) = field.chunk().await.map_err(|_| AppError::Malformed)? {
                whole &= bytes.len() + chunk.len() <= most;
                if whole {
                    bytes.extend_from_slice(&chunk);
                } else if file.is_none() {
                    return Err(AppError::Malformed);
                }
            }
            if !whole {
                all_there = Err(too_large(limit));
                continue;
            }
            match file {
                // A browser sends an empty file where none was chosen.
                Some(name) if name.is_empty() && bytes.is_empty() => {}
                Some(name) => {
                    room -= bytes.len();
                    posted.edit.files.push((name.clone(), bytes.len()));
                    posted.files.push(crate::backend::NewFile { name, content_type, bytes });
                }
                None => {
                    let text = String::from_utf8(bytes).map_err(|_| AppError::Malformed)?;
                    let form = &mut posted.form;
                    match name.as_str() {
                        "mailbox" => form.mailbox = text,
                        "to" => form.to = text,
                        "cc" => form.cc = text,
                        "bcc" => form.bcc = text,
                        "subject" => form.subject = text,
                        "text" => form.text = text,
                        "key" => form.key = text,
                        "action" => posted.action = text,
                        "writer" => posted.edit.writer = text,
                        "revision" => posted.edit.revision = text.parse().unwrap_or_default(),
                        _ => {}
                    }
                }
            }
        }
        Ok((posted, all_there))
    }

    fn draft(&self) -> Result<DraftId, AppError> {
        self.form.key.parse().map_err(|_| AppError::Malformed)
    }
}

#[cfg(feature = "ssr")]
fn too_large(limit: u64) -> AppError {
    let limit = crate::model::size_in_words(limit);
    AppError::field("files", "Attachments", format!("Attachments can be {limit} in total. Send large files as a link."))
}

/// Sends what was written, keeps it, takes an attachment away, or throws it away: what the pressed button says.
#[server(name = SendMessage, prefix = "/api", endpoint = "send_message", input = MultipartFormData)]
pub async fn send_message(data: MultipartData) -> Result<(), AppError> {
    let mut request = Request::current().await?;
    let mail = std::sync::Arc::clone(&request.backend.mail);
    // Refused before anything is read; what is read may take long, and who asks is looked up again behind it.
    if let Err(error) = request.visitor.signed_in() {
        request.form(COMPOSE, "compose", &[], async { Err(error) }).await;
        return Ok(());
    }
    let (mut posted, all_there) = match Posted::read(data, mail.attachment_limit()).await {
        Ok(read) => read,
        Err(error) => {
            request.form(COMPOSE, "compose", &[], async { Err(error) }).await;
            return Ok(());
        }
    };
    request.ask_again().await;
    let user = match request.visitor.signed_in().and_then(|user| user.mail()) {
        Ok(user) => user,
        Err(error) => {
            request.form(COMPOSE, "compose", &[], async { Err(error) }).await;
            return Ok(());
        }
    };
    let Ok(mut draft) = posted.draft() else {
        request.form(COMPOSE, "compose", &[], async { Err(AppError::Malformed) }).await;
        return Ok(());
    };
    if posted.action == "discard" {
        request.notice("/mail/drafts", "drafts", async { mail.discard_draft(&user, draft).await }).await;
        return Ok(());
    }
    // A second press waits for the first, and finds what became of it.
    let _turn = mail.lock_draft(draft).await;
    // A page that was sent already and changed since: another message, which nobody decided to send yet.
    let earlier = match mail.earlier(&user, &posted.form, &posted.edit).await {
        Ok(earlier) => earlier,
        Err(error) => {
            request.form(&format!("{COMPOSE}?draft={draft}"), "compose", &[], async { Err(error) }).await;
            return Ok(());
        }
    };
    if let Resubmission::Changed(new) = earlier {
        draft = new;
        posted.form.key = new.to_string();
    }
    let page = format!("{COMPOSE}?draft={draft}");
    // Kept first, so that nothing typed or attached is lost, whatever comes next.
    let files = std::mem::take(&mut posted.files);
    let kept = async {
        mail.save_draft(&user, posted.form.clone(), posted.edit.clone()).await?;
        if !files.is_empty() {
            mail.attach(&user, draft, files, &posted.edit).await?;
        }
        all_there
    };
    if let Err(error) = kept.await {
        request.form(&page, "compose", &[], async { Err(error) }).await;
        return Ok(());
    }
    if matches!(earlier, Resubmission::Changed(_)) {
        let kept = Flash::notice(crate::model::Notice::new(
            crate::model::Tone::Warning,
            "You already sent this message.",
            "Your later changes are saved here as a new draft. Send it if you want to.",
        ));
        request.form(&page, "compose", &[], async { Ok(kept) }).await;
    } else if posted.action == "save" && earlier == Resubmission::Same {
        let sent = Flash::notice(crate::model::Notice::new(
            crate::model::Tone::Warning,
            "You already sent this message.",
            "Its delivery status is below.",
        ));
        request.form(OUTBOX, "outbox", &[], async { Ok(sent) }).await;
    } else if posted.action == "save" {
        let kept =
            Flash::notice(crate::model::Notice::new(crate::model::Tone::Success, "Draft saved.", "It's in Drafts."));
        request.form(&page, "compose", &[], async { Ok(kept) }).await;
    } else if let Some(which) = posted.action.strip_prefix("remove:") {
        let which = which.parse().map_err(|_| AppError::NotFound);
        request.notice(&page, "compose", async { mail.detach(&user, draft, which?).await }).await;
    } else {
        match mail.send(&user, posted.form, &posted.edit).await {
            Ok(notice) => request.form(OUTBOX, "outbox", &[], async { Ok(Flash::notice(notice)) }).await,
            Err(error) => request.form(&page, "compose", &[], async { Err(error) }).await,
        }
    }
    Ok(())
}

/// Keeps what is written so far.
#[server(name = SaveDraft, prefix = "/api", endpoint = "save_draft")]
pub async fn save_draft(
    #[server(default)] mailbox: String,
    #[server(default)] to: String,
    #[server(default)] cc: String,
    #[server(default)] bcc: String,
    #[server(default)] subject: String,
    #[server(default)] text: String,
    key: String,
    #[server(default)] writer: String,
    #[server(default)] revision: i64,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let form = ComposeForm { mailbox, to, cc, bcc, subject, text, key };
    let work = async {
        let user = request.visitor.signed_in()?.mail()?;
        let mail = &request.backend.mail;
        let _turn = mail.lock_draft(form.key.parse().map_err(|_| AppError::Malformed)?).await;
        mail.save_draft(&user, form, FormVersion { writer, revision, ..FormVersion::default() }).await
    };
    request.answer(work.await)
}

/// Attaches files to what is written; answers all attachments.
#[server(name = AttachFiles, prefix = "/api", endpoint = "attach_files", input = MultipartFormData)]
pub async fn attach_files(data: MultipartData) -> Result<Vec<AttachmentView>, AppError> {
    let mut request = Request::current().await?;
    let limit = request.backend.mail.attachment_limit();
    let read = match request.visitor.signed_in() {
        Ok(_) => Posted::read(data, limit).await,
        Err(error) => Err(error),
    };
    request.ask_again().await;
    let work = async {
        let (mut posted, all_there) = read?;
        let user = request.visitor.signed_in()?.mail()?;
        let mail = &request.backend.mail;
        let (draft, files) = (posted.draft()?, std::mem::take(&mut posted.files));
        // It goes by itself as soon as the files are chosen.
        let edit = FormVersion { pressed: false, ..posted.edit };
        let _turn = mail.lock_draft(draft).await;
        mail.save_draft(&user, posted.form, edit.clone()).await?;
        all_there?;
        mail.attach(&user, draft, files, &edit).await
    };
    request.answer(work.await)
}

/// Begins an answer to a message.
#[server(name = AnswerMessage, prefix = "/api", endpoint = "answer_message")]
pub async fn answer_message(
    mailbox: String,
    folder: String,
    validity: u32,
    uid: u32,
    how: String,
    #[server(default)] utc_offset: String,
) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let user = request.visitor.signed_in()?.mail()?;
        let mailbox = mailbox.parse().map_err(|_| AppError::NotFound)?;
        let kind = ReplyKind::parse(&how).ok_or(AppError::Malformed)?;
        let message = MessageRef { mailbox, folder, uid_validity: validity, uid };
        request.backend.mail.answer(&user, &message, kind, UtcOffset::parse(&utc_offset)).await
    };
    match work.await {
        Ok(draft) => request.go(&format!("{COMPOSE}?draft={draft}")),
        Err(error) => request.form("/mail/inbox", "inbox", &[], async { Err(error) }).await,
    }
    Ok(())
}

/// Throws away what was written.
#[server(name = DiscardDraft, prefix = "/api", endpoint = "discard_draft")]
pub async fn discard_draft(draft: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let user = request.visitor.signed_in()?.mail()?;
        request.backend.mail.discard_draft(&user, draft.parse().map_err(|_| AppError::NotFound)?).await
    };
    request.notice("/mail/drafts", "drafts", work).await;
    Ok(())
}

/// Begins a message from one that did not leave.
#[server(name = RewriteMessage, prefix = "/api", endpoint = "rewrite_message")]
pub async fn rewrite_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let user = request.visitor.signed_in()?.mail()?;
        let id: DeliveryId = delivery.parse().map_err(|_| AppError::NotFound)?;
        request.backend.mail.rewrite(&user, id).await
    };
    match work.await {
        Ok(draft) => request.go(&format!("{COMPOSE}?draft={draft}")),
        Err(error) => request.form(OUTBOX, "outbox", &[], async { Err(error) }).await,
    }
    Ok(())
}

/// Stops a message that waits.
#[server(name = CancelMessage, prefix = "/api", endpoint = "cancel_message")]
pub async fn cancel_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let user = request.visitor.signed_in()?.mail()?;
        let id: DeliveryId = delivery.parse().map_err(|_| AppError::NotFound)?;
        request.backend.mail.cancel(&user, id).await
    };
    request.notice(OUTBOX, "outbox", work).await;
    Ok(())
}

/// Queues a message again.
#[server(name = RetryMessage, prefix = "/api", endpoint = "retry_message")]
pub async fn retry_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let user = request.visitor.signed_in()?.mail()?;
        let id: DeliveryId = delivery.parse().map_err(|_| AppError::NotFound)?;
        request.backend.mail.retry(&user, id).await
    };
    request.notice(OUTBOX, "outbox", work).await;
    Ok(())
}

/// Looks whether an unknown message was sent.
#[server(name = LookForMessage, prefix = "/api", endpoint = "look_for_message")]
pub async fn look_for_message(delivery: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async {
        let user = request.visitor.signed_in()?.mail()?;
        let id: DeliveryId = delivery.parse().map_err(|_| AppError::NotFound)?;
        request.backend.mail.look_for(&user, id).await
    };
    request.notice(OUTBOX, "outbox", work).await;
    Ok(())
}
