//! Microsoft Graph, as far as mail needs it: sendMail, drafts, uploads, Sent Items; with its errors and limits.

#![allow(clippy::result_large_err, reason = "a refusal is an answer")]

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use base64::prelude::{BASE64_STANDARD, Engine};
use mail_parser::{Address, MessageParser};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Shared;
use crate::smtp::submit;
use crate::token::access_upn;
use crate::world::{Draft, Upload, now, random};

/// Bytes of a request.
const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// Requests of a mailbox at one time.
const MAX_OPEN: usize = 4;

/// Serves until the sandbox stops; while a fault says so, nothing listens.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener, address: SocketAddr) {
    let mut listener = Some(listener);
    loop {
        let changed = shared.faulted.notified();
        let is_plugged = shared.faults().unplugged != "graph";
        match listener.take() {
            Some(listener) if is_plugged => {
                let (this, router) = (Arc::clone(&shared), router(Arc::clone(&shared)));
                let router = router.layer(axum::middleware::from_fn(crate::portal::only_from_here));
                let ended = async move {
                    loop {
                        let changed = this.faulted.notified();
                        if this.faults().unplugged == "graph" {
                            return;
                        }
                        tokio::select! {
                            () = this.stop.cancelled() => return,
                            () = changed => {}
                        }
                    }
                };
                if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(ended).await {
                    tracing::error!("the sandbox's Graph stopped: {error}");
                }
            }
            None if is_plugged => listener = TcpListener::bind(address).await.ok(),
            _ => {
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = changed => {}
                }
            }
        }
        if shared.stop.is_cancelled() {
            return;
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1.0/me/sendMail", post(send_mail))
        .route("/v1.0/me/messages", post(create_draft))
        .route("/v1.0/me/messages/{id}", get(read_draft).delete(delete_draft))
        .route("/v1.0/me/messages/{id}/send", post(send_draft))
        .route("/v1.0/me/messages/{id}/attachments", post(attach))
        .route("/v1.0/me/messages/{id}/attachments/createUploadSession", post(create_upload))
        .route("/v1.0/me/mailFolders/sentitems/messages", get(sent_items))
        .route("/upload/{id}", put(upload))
        .layer(DefaultBodyLimit::max(2 * MAX_REQUEST))
        .with_state(shared)
}

fn wrong(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let body =
        json!({ "error": { "code": code, "message": message, "innerError": { "request-id": uuid::Uuid::new_v4() } } });
    (status, axum::Json(body)).into_response()
}

/// A request of a mailbox that is under way.
struct Open {
    shared: Arc<Shared>,
    upn: String,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(open) = self.shared.world().graph.open.get_mut(&self.upn) {
            *open = open.saturating_sub(1);
        }
    }
}

/// Who asks, with a scope; and what the sandbox was told to answer.
async fn admitted(shared: &Arc<Shared>, headers: &HeaderMap, scope: &str, size: usize) -> Result<Open, Response> {
    let faults = shared.faults();
    if faults.slow_ms > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(faults.slow_ms)).await;
    }
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let upn = {
        let world = shared.world();
        let Some(any) = access_upn(&world, token, "/Mail.Send") else {
            return Err(wrong(401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience."));
        };
        let Some(upn) = access_upn(&world, token, scope) else {
            return Err(wrong(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."));
        };
        drop(any);
        if world.account_by_sign_in(&upn).is_none() {
            return Err(wrong(
                404,
                "MailboxNotEnabledForRESTAPI",
                "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            ));
        }
        upn
    };
    // `STATUS CODE [SECONDS]`
    let mut told = faults.graph_reply.split(' ');
    if let Some(status) = told.next().and_then(|status| status.parse().ok()) {
        let mut answer = wrong(status, told.next().unwrap_or_default(), "The sandbox was told to refuse.");
        if let Some(seconds) = told.next().and_then(|seconds| seconds.parse().ok()) {
            answer.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        return Err(answer);
    }
    if size > MAX_REQUEST {
        return Err(wrong(413, "", "The request is too large."));
    }
    let mut world = shared.world();
    let open = world.graph.open.entry(upn.clone()).or_default();
    *open += 1;
    let open = *open;
    world.graph.most_open = world.graph.most_open.max(open);
    drop(world);
    let held = Open { shared: Arc::clone(shared), upn };
    if open > MAX_OPEN {
        return Err(wrong(429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit."));
    }
    Ok(held)
}

fn mime(body: &Bytes) -> Result<Vec<u8>, Response> {
    BASE64_STANDARD
        .decode(body.trim_ascii())
        .map_err(|_| wrong(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content."))
}

/// Recipients of a header, and the message without Bcc.
fn addressed(mime: &[u8]) -> (Vec<String>, Vec<u8>) {
    let end = mime.windows(4).position(|four| four == b"\r\n\r\n").map_or(mime.len(), |at| at + 2);
    let parsed = MessageParser::default().parse_headers(&mime[..end]);
    let of = |address: Option<&Address<'_>>| -> Vec<String> {
        let all: Vec<_> = match address {
            Some(Address::List(list)) => list.iter().collect(),
            Some(Address::Group(groups)) => groups.iter().flat_map(|group| &group.addresses).collect(),
            None => Vec::new(),
        };
        all.into_iter().filter_map(|one| one.address.as_deref().map(ToOwned::to_owned)).collect()
    };
    let recipients =
        parsed.as_ref().map_or_else(Vec::new, |parsed| [of(parsed.to()), of(parsed.cc()), of(parsed.bcc())].concat());
    let (mut without, mut in_bcc) = (Vec::with_capacity(mime.len()), false);
    for line in mime[..end].split_inclusive(|byte| *byte == b'\n') {
        in_bcc = if line.starts_with(b" ") || line.starts_with(b"\t") {
            in_bcc
        } else {
            line.to_ascii_lowercase().starts_with(b"bcc:")
        };
        if !in_bcc {
            without.extend_from_slice(line);
        }
    }
    without.extend_from_slice(&mime[end..]);
    (recipients, without)
}

/// Takes a message as Exchange does: its sender and recipients are those of the header.
fn take(shared: &Shared, upn: &str, mime: &[u8]) -> Result<(), Response> {
    let (recipients, message) = addressed(mime);
    if recipients.is_empty() {
        return Err(wrong(400, "ErrorInvalidRecipients", "At least one recipient isn't valid."));
    }
    let from = MessageParser::default()
        .parse(&message[..])
        .and_then(|message| message.from()?.first()?.address().map(ToOwned::to_owned));
    {
        let mut world = shared.world();
        let may =
            world.account_by_sign_in(upn).zip(from.as_deref()).is_some_and(|(account, from)| account.may_send_as(from));
        if !may || world.faults.send_as_denied {
            return Err(wrong(
                403,
                "ErrorSendAsDenied",
                "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account.",
            ));
        }
        let most = world.messages_per_minute;
        let minute = world.submissions.entry(upn.to_owned()).or_default();
        minute.retain(|at| now() - at < 60);
        if minute.len() >= most {
            let mut answer = wrong(429, "ApplicationThrottled", "The sender's submission rate is exceeded.");
            answer.headers_mut().insert(header::RETRY_AFTER, 5.into());
            return Err(answer);
        }
        world.graph.sent += 1;
    }
    submit(shared, upn, &recipients, &message);
    shared.changed.notify_waiters();
    Ok(())
}

fn accepted(shared: &Shared) -> Response {
    if shared.faults().graph_cut {
        // Ends the connection without an answer.
        std::panic::resume_unwind(Box::new("cut"));
    }
    StatusCode::ACCEPTED.into_response()
}

async fn send_mail(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let sent = async {
        let open = admitted(&shared, &headers, "/Mail.Send", body.len()).await?;
        let mime = mime(&body)?;
        take(&shared, &open.upn, &mime)
    };
    match sent.await {
        Ok(()) => accepted(&shared),
        Err(answer) => answer,
    }
}

async fn create_draft(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let made = async {
        let open = admitted(&shared, &headers, "/Mail.ReadWrite", body.len()).await?;
        let draft = Draft { upn: open.upn.clone(), mime: mime(&body)?, ..Draft::default() };
        let id = random("draft");
        shared.world().graph.drafts.insert(id.clone(), draft);
        Ok((StatusCode::CREATED, axum::Json(json!({ "id": id, "isDraft": true }))).into_response())
    };
    made.await.unwrap_or_else(|answer: Response| answer)
}

/// The draft of the account that asks.
async fn own(shared: &Arc<Shared>, headers: &HeaderMap, id: &str, size: usize) -> Result<(Open, Draft), Response> {
    let open = admitted(shared, headers, "/Mail.ReadWrite", size).await?;
    let draft = shared.world().graph.drafts.get(id).filter(|draft| draft.upn == open.upn).cloned();
    match draft {
        Some(draft) => Ok((open, draft)),
        None => Err(wrong(404, "ErrorItemNotFound", "The specified object was not found in the store.")),
    }
}

async fn read_draft(State(shared): State<Arc<Shared>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match own(&shared, &headers, &id, 0).await {
        Ok((_, draft)) => axum::Json(json!({ "id": id, "isDraft": !draft.sent })).into_response(),
        Err(answer) => answer,
    }
}

async fn delete_draft(State(shared): State<Arc<Shared>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match own(&shared, &headers, &id, 0).await {
        Ok(_) => {
            shared.world().graph.drafts.remove(&id);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(answer) => answer,
    }
}

/// The whole message of a draft.
fn assembled(draft: &Draft) -> Vec<u8> {
    if draft.files.is_empty() {
        return draft.mime.clone();
    }
    let end = draft.mime.windows(4).position(|four| four == b"\r\n\r\n").map_or(draft.mime.len(), |at| at + 2);
    let (mut head, mut own, mut is_own) = (Vec::new(), Vec::new(), false);
    for line in draft.mime[..end].split_inclusive(|byte| *byte == b'\n') {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            is_own = line.to_ascii_lowercase().starts_with(b"content-");
        }
        if is_own { own.extend_from_slice(line) } else { head.extend_from_slice(line) }
    }
    let boundary = random("");
    let mut out = head;
    out.extend_from_slice(
        format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n").as_bytes(),
    );
    out.extend_from_slice(&own);
    out.extend_from_slice(&draft.mime[end..]);
    for (name, content_type, bytes) in &draft.files {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        for line in BASE64_STANDARD.encode(bytes).as_bytes().chunks(76) {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

async fn send_draft(State(shared): State<Arc<Shared>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let sent = async {
        let (open, draft) = own(&shared, &headers, &id, 0).await?;
        take(&shared, &open.upn, &assembled(&draft))?;
        if let Some(draft) = shared.world().graph.drafts.get_mut(&id) {
            draft.sent = true;
        }
        Ok(())
    };
    match sent.await {
        Ok(()) => accepted(&shared),
        Err(answer) => answer,
    }
}

async fn attach(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let attached = async {
        own(&shared, &headers, &id, body.len()).await?;
        let file: Value = serde_json::from_slice(&body).map_err(|_| wrong(400, "ErrorInvalidRequest", "Not JSON."))?;
        let text = |name: &str| file[name].as_str().unwrap_or_default().to_owned();
        let bytes = BASE64_STANDARD
            .decode(text("contentBytes"))
            .map_err(|_| wrong(400, "ErrorInvalidRequest", "Not base64."))?;
        if let Some(draft) = shared.world().graph.drafts.get_mut(&id) {
            draft.files.push((text("name"), text("contentType"), bytes));
        }
        Ok(StatusCode::CREATED.into_response())
    };
    attached.await.unwrap_or_else(|answer: Response| answer)
}

async fn create_upload(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let made = async {
        own(&shared, &headers, &id, body.len()).await?;
        let asked: Value = serde_json::from_slice(&body).map_err(|_| wrong(400, "ErrorInvalidRequest", "Not JSON."))?;
        let item = &asked["AttachmentItem"];
        let size = item["size"].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
        if !(3 * 1024 * 1024 / 2..=150 * 1024 * 1024).contains(&size) {
            return Err(wrong(
                400,
                "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize",
                "The size does not fit an upload session.",
            ));
        }
        let upload = Upload {
            draft: id.clone(),
            name: item["name"].as_str().unwrap_or_default().to_owned(),
            content_type: item["contentType"].as_str().unwrap_or("application/octet-stream").to_owned(),
            size,
            bytes: Vec::new(),
        };
        let session = random("");
        shared.world().graph.uploads.insert(session.clone(), upload);
        let url = format!("{}/upload/{session}", shared.graph);
        Ok((StatusCode::CREATED, axum::Json(json!({ "uploadUrl": url }))).into_response())
    };
    made.await.unwrap_or_else(|answer: Response| answer)
}

/// Takes the next range: in order, and without a token.
async fn upload(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return wrong(401, "InvalidAuthenticationToken", "The address itself is the permission.");
    }
    let mut world = shared.world();
    let Some(upload) = world.graph.uploads.get_mut(&id) else {
        return wrong(404, "itemNotFound", "The upload session was not found.");
    };
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let expected =
        format!("bytes {}-{}/{}", upload.bytes.len(), (upload.bytes.len() + body.len()).saturating_sub(1), upload.size);
    if range != expected || body.len() > MAX_REQUEST {
        return wrong(416, "InvalidRange", &expected);
    }
    upload.bytes.extend_from_slice(&body);
    if upload.bytes.len() < upload.size {
        let next = format!("{}", upload.bytes.len());
        return axum::Json(json!({ "nextExpectedRanges": [next] })).into_response();
    }
    let Some(done) = world.graph.uploads.remove(&id) else { return StatusCode::GONE.into_response() };
    if let Some(draft) = world.graph.drafts.get_mut(&done.draft) {
        draft.files.push((done.name, done.content_type, done.bytes));
    }
    StatusCode::CREATED.into_response()
}

#[derive(Deserialize)]
struct Filter {
    #[serde(rename = "$filter", default)]
    filter: String,
}

async fn sent_items(State(shared): State<Arc<Shared>>, headers: HeaderMap, Query(query): Query<Filter>) -> Response {
    let open = match admitted(&shared, &headers, "/Mail.ReadWrite", 0).await {
        Ok(open) => open,
        Err(answer) => return answer,
    };
    let wanted = query.filter.strip_prefix("internetMessageId eq '").and_then(|rest| rest.strip_suffix('\''));
    let wanted = wanted.unwrap_or_default().replace("''", "'").trim_matches(['<', '>']).to_owned();
    let world = shared.world();
    let mails = world.account_by_sign_in(&open.upn).and_then(|account| account.folders.get("Sent Items"));
    let found: Vec<Value> = mails
        .into_iter()
        .flat_map(|folder| &folder.mails)
        .filter(|mail| {
            let parsed = MessageParser::default().parse_headers(&mail.raw[..]);
            parsed.is_some_and(|parsed| parsed.message_id() == Some(wanted.as_str()))
        })
        .map(|mail| json!({ "id": mail.id }))
        .collect();
    axum::Json(json!({ "value": found })).into_response()
}
