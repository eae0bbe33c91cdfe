//! Writing messages.

use leptos::prelude::*;
use leptos::server_fn::codec::{MultipartData, MultipartFormData};

#[cfg(feature = "ssr")]
use super::request::{Request, id};
#[cfg(feature = "ssr")]
use crate::backend::{ComposeAction, Composed, NewFile, PostedDraft, Result as BackendResult};
use crate::error::AppError;
use crate::model::AttachmentView;
#[cfg(feature = "ssr")]
use crate::model::{
    COMPOSE_PATH, ComposeForm, DRAFTS_PATH, FormName, FormVersion, INBOX_PATH, MessageRef, OUTBOX_PATH, ReplyKind,
    UtcOffset,
};

/// Longest text field, in bytes.
#[cfg(feature = "ssr")]
const MAX_TEXT: usize = 2 * 1024 * 1024;

/// Reads a compose form and the pressed button. Files beyond the limit are left out, so that the text
/// isn't lost.
#[cfg(feature = "ssr")]
async fn read(data: MultipartData, limit: u64) -> BackendResult<(PostedDraft, String)> {
    let mut fields = data.into_inner().ok_or(AppError::Malformed)?;
    let mut form = ComposeForm::default();
    let mut version = FormVersion { pressed: true, ..FormVersion::default() };
    let (mut files, mut left_out, mut action) = (Vec::new(), false, String::new());
    let mut room = usize::try_from(limit).unwrap_or(usize::MAX);
    while let Some(mut field) = fields.next_field().await.map_err(|_| AppError::Malformed)? {
        let field_name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(ToOwned::to_owned);
        let content_type = field.content_type().map(ToString::to_string).unwrap_or_default();
        let max = if file_name.is_some() { room } else { MAX_TEXT };
        let (mut bytes, mut whole) = (Vec::new(), true);
        while let Some(chunk) = field.chunk().await.map_err(|_| AppError::Malformed)? {
            whole &= bytes.len() + chunk.len() <= max;
            if whole {
                bytes.extend_from_slice(&chunk);
            } else if file_name.is_none() {
                return Err(AppError::Malformed.into());
            }
        }
        if !whole {
            left_out = true;
            continue;
        }
        let Some(name) = file_name else {
            let text = String::from_utf8(bytes).map_err(|_| AppError::Malformed)?;
            match field_name.as_str() {
                "mailbox" => form.mailbox = text,
                "to" => form.to = text,
                "cc" => form.cc = text,
                "bcc" => form.bcc = text,
                "subject" => form.subject = text,
                "text" => form.text = text,
                "key" => form.key = text,
                "action" => action = text,
                "writer" => version.writer = text,
                "revision" => version.revision = text.parse().unwrap_or_default(),
                _ => {}
            }
            continue;
        };
        // Browsers send an empty file if none was chosen.
        if !name.is_empty() || !bytes.is_empty() {
            room -= bytes.len();
            version.files.push((name.clone(), bytes.len()));
            files.push(NewFile { name, content_type, bytes });
        }
    }
    Ok((PostedDraft { form, version, files, left_out }, action))
}

/// Sends, saves or discards a message, or removes an attachment, depending on the button.
#[server(name = SendMessage, prefix = "/api", endpoint = "send_message", input = MultipartFormData)]
pub async fn send_message(data: MultipartData) -> Result<(), AppError> {
    let mut request = Request::current().await?;
    // Refuses anonymous requests before reading; checks the session again after.
    let posted = match request.user() {
        Ok(_) => read(data, request.backend.drafts.attachment_limit()).await,
        Err(error) => Err(error),
    };
    request.check_session_again().await;
    let mut page = COMPOSE_PATH.to_owned();
    let work = async {
        let (posted, action) = posted?;
        let action = match action.as_str() {
            "discard" => ComposeAction::Discard,
            "save" => ComposeAction::Save,
            other => match other.strip_prefix("remove:") {
                Some(attachment) => ComposeAction::Detach(id(attachment)?),
                None => ComposeAction::Send,
            },
        };
        let user = request.mail_owner()?;
        page = format!("{COMPOSE_PATH}?draft={}", posted.draft()?);
        request.backend.drafts.submit(&user, posted, action).await
    };
    match work.await {
        Ok(Composed::Outbox(flash)) => request.form(OUTBOX_PATH, FormName::Outbox, &[], async { Ok(flash) }).await,
        Ok(Composed::Drafts(flash)) => request.form(DRAFTS_PATH, FormName::Drafts, &[], async { Ok(flash) }).await,
        Ok(Composed::Draft(draft, result)) => {
            page = format!("{COMPOSE_PATH}?draft={draft}");
            request.form(&page, FormName::Compose, &[], async { result }).await
        }
        Err(error) => request.form(&page, FormName::Compose, &[], async { Err(error) }).await,
    }
}

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
    let version = FormVersion { writer, revision, ..FormVersion::default() };
    let work = async { request.backend.drafts.autosave(&request.mail_owner()?, form, version).await };
    request.answer(work.await)
}

/// Uploads chosen files (called by the island); returns all attachments.
#[server(name = AttachFiles, prefix = "/api", endpoint = "attach_files", input = MultipartFormData)]
pub async fn attach_files(data: MultipartData) -> Result<Vec<AttachmentView>, AppError> {
    let mut request = Request::current().await?;
    let posted = match request.user() {
        Ok(_) => read(data, request.backend.drafts.attachment_limit()).await,
        Err(error) => Err(error),
    };
    request.check_session_again().await;
    let work = async {
        let (mut posted, _) = posted?;
        posted.version.pressed = false;
        request.backend.drafts.attach(&request.mail_owner()?, posted).await
    };
    request.answer(work.await)
}

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
        let kind = ReplyKind::parse(&how).ok_or(AppError::Malformed)?;
        let message = MessageRef { mailbox: id(&mailbox)?, folder, uid_validity: validity, uid };
        let zone = UtcOffset::parse(&utc_offset);
        let draft = request.backend.drafts.reply(&request.mail_owner()?, &message, kind, zone).await?;
        Ok(format!("{COMPOSE_PATH}?draft={draft}"))
    };
    request.next(INBOX_PATH, FormName::Inbox, work).await
}

#[server(name = DiscardDraft, prefix = "/api", endpoint = "discard_draft")]
pub async fn discard_draft(draft: String) -> Result<(), AppError> {
    let request = Request::current().await?;
    let work = async { request.backend.drafts.discard(&request.mail_owner()?, id(&draft)?).await };
    request.notice(DRAFTS_PATH, FormName::Drafts, work).await
}
