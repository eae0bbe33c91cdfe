//! Sending through Microsoft Graph (<https://learn.microsoft.com/graph/api/user-sendmail>), for mailboxes whose SMTP is switched off.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{DATA_LIMIT, GraphRefusal, MailError, Step};
use crate::message::detach::Detached;
use crate::trust::Trust;
use crate::vault::Secret;

/// Largest message that one request takes, in bytes: base64 of it stays below 4 MB.
pub const ONE_REQUEST: usize = 2_900_000;
/// Largest file that is added with one request.
const SMALL_FILE: usize = 2_900_000;
/// Bytes of an upload at one time: a multiple of 320 KiB below 4 MB
/// (<https://learn.microsoft.com/graph/outlook-large-attachments>).
const RANGE: usize = 10 * 320 * 1024;
/// Longest text of an answer that is kept, in characters.
const ANSWER: usize = 500;
/// Bytes of an answer that are read.
const MOST_ANSWER: usize = 64 * 1024;
/// Deadline of a request that carries no message.
const LITTLE: Duration = Duration::from_secs(30);
/// How long a connection is kept: one that something on the way dropped meanwhile would leave a delivery unknown.
const POOLED: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub struct Graph {
    http: reqwest::Client,
}

/// A mailbox at Graph, and a token for it.
#[derive(Clone, Copy)]
pub struct GraphLogin<'a> {
    pub graph: &'a Url,
    pub token: &'a Secret,
}

/// A draft that waits to be sent.
pub struct Draft {
    id: String,
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    is_draft: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upload {
    upload_url: Url,
}

#[derive(Deserialize)]
struct List<T> {
    value: Vec<T>,
}

#[derive(Deserialize, Default)]
struct Wrong {
    #[serde(default)]
    error: WrongError,
}

#[derive(Deserialize, Default)]
struct WrongError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Graph {
    pub fn new(trust: &Trust) -> Result<Self, reqwest::Error> {
        Ok(Self { http: trust.http().timeout(DATA_LIMIT).pool_idle_timeout(POOLED).build()? })
    }

    fn request(&self, method: Method, login: GraphLogin<'_>, path: &[&str]) -> RequestBuilder {
        let mut url = login.graph.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v1.0", "me"]).extend(path);
        }
        // Ids stay the same when a draft moves to Sent Items.
        self.http.request(method, url).bearer_auth(login.token.expose()).header("Prefer", "IdType=\"ImmutableId\"")
    }

    /// Sends a whole message. Its recipients are those of its header. Returns the answer.
    pub async fn send(&self, login: GraphLogin<'_>, message: &[u8]) -> Result<String, MailError> {
        let request = self.request(Method::POST, login, &["sendMail"]);
        let request = request.header(CONTENT_TYPE, "text/plain").body(BASE64_STANDARD.encode(message));
        self.ask(Step::AfterData, request, login).await.map(|_| "accepted by Microsoft Graph".to_owned())
    }

    /// Stores a draft.
    pub async fn draft(&self, login: GraphLogin<'_>, message: &[u8]) -> Result<Draft, MailError> {
        let request = self.request(Method::POST, login, &["messages"]);
        let request = request.header(CONTENT_TYPE, "text/plain").body(BASE64_STANDARD.encode(message));
        let made: Identified = self.read(Step::Data, request, login).await?;
        Ok(Draft { id: made.id })
    }

    /// Adds a file to a draft.
    pub async fn attach(&self, login: GraphLogin<'_>, draft: &Draft, file: &Detached) -> Result<(), MailError> {
        let Detached { name, content_type, content_id, bytes } = file;
        if bytes.len() <= SMALL_FILE {
            let body = json!({
                "@odata.type": "#microsoft.graph.fileAttachment", "name": name, "contentType": content_type,
                "contentBytes": BASE64_STANDARD.encode(bytes), "contentId": content_id, "isInline": content_id.is_some(),
            });
            let request = self.request(Method::POST, login, &["messages", &draft.id, "attachments"]);
            let request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
            return self.ask(Step::Data, request, login).await.map(drop);
        }
        let item = json!({ "AttachmentItem": {
            "attachmentType": "file", "name": name, "size": bytes.len(), "contentType": content_type,
            "contentId": content_id, "isInline": content_id.is_some(),
        }});
        let path = ["messages", &draft.id, "attachments", "createUploadSession"];
        let request = self.request(Method::POST, login, &path);
        let request = request.header(CONTENT_TYPE, "application/json").body(item.to_string());
        let upload: Upload = self.read(Step::Data, request, login).await?;
        let mut from = 0;
        for range in bytes.chunks(RANGE) {
            let to = from + range.len();
            // The address itself is the permission.
            let request = self.http.put(upload.upload_url.clone());
            let request = request.header(CONTENT_RANGE, format!("bytes {from}-{}/{}", to - 1, bytes.len()));
            let request = request.header(CONTENT_TYPE, "application/octet-stream").body(range.to_vec());
            // Another host than Graph's: its troubles concern this message.
            self.ask(Step::Data, request, login).await.map_err(|error| match error.step {
                Step::Connect => MailError::network(Step::Data, error.text),
                _ => error,
            })?;
            from = to;
        }
        Ok(())
    }

    pub async fn send_draft(&self, login: GraphLogin<'_>, draft: &Draft) -> Result<String, MailError> {
        let request = self.request(Method::POST, login, &["messages", &draft.id, "send"]);
        let request = request.header(reqwest::header::CONTENT_LENGTH, 0);
        self.ask(Step::AfterData, request, login).await.map(|_| "accepted by Microsoft Graph".to_owned())
    }

    /// Whether a draft has left. `None`: Graph does not say.
    pub async fn has_left(&self, login: GraphLogin<'_>, draft: &Draft) -> Option<bool> {
        let request = self.request(Method::GET, login, &["messages", &draft.id]).timeout(LITTLE);
        let request = request.query(&[("$select", "isDraft")]);
        let state: State = self.read(Step::Fetch, request, login).await.ok()?;
        Some(!state.is_draft)
    }

    /// Removes a draft that will not be sent.
    pub async fn give_up(&self, login: GraphLogin<'_>, draft: &Draft) {
        let request = self.request(Method::DELETE, login, &["messages", &draft.id]).timeout(LITTLE);
        if let Err(error) = self.ask(Step::Data, request, login).await {
            tracing::warn!("cannot remove a draft at Microsoft Graph: {error}");
        }
    }

    /// Whether a message is in Sent Items.
    pub async fn is_sent(&self, login: GraphLogin<'_>, message_id: &str) -> Result<bool, MailError> {
        let filter = format!("internetMessageId eq '{}'", message_id.replace('\'', "''"));
        let path = ["mailFolders", "sentitems", "messages"];
        let request = self.request(Method::GET, login, &path).timeout(LITTLE);
        let request = request.query(&[("$filter", filter.as_str()), ("$select", "id"), ("$top", "1")]);
        let found: List<Identified> = self.read(Step::Search, request, login).await?;
        Ok(!found.value.is_empty())
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        step: Step,
        request: RequestBuilder,
        login: GraphLogin<'_>,
    ) -> Result<T, MailError> {
        let answer = self.ask(step, request, login).await?;
        let bytes = read(answer).await.map_err(|error| MailError::network(step, told(error)))?;
        serde_json::from_slice(&bytes).map_err(|error| MailError::network(step, error.to_string()))
    }

    async fn ask(&self, step: Step, request: RequestBuilder, login: GraphLogin<'_>) -> Result<Response, MailError> {
        let answer = request.send().await.map_err(|error| {
            let step = if error.is_connect() { Step::Connect } else { step };
            MailError::network(step, told(error))
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (status, wait) = (answer.status(), wait_ms(&answer));
        let bytes = read(answer).await.unwrap_or_default();
        Err(refusal(step, status, wait, &bytes).without(login.token, ""))
    }
}

/// The beginning of an answer.
async fn read(mut answer: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= MOST_ANSWER {
            break;
        }
    }
    Ok(bytes)
}

/// Milliseconds that an answer asks to wait.
fn wait_ms(answer: &Response) -> Option<u64> {
    let seconds: u64 = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    seconds.checked_mul(1000)
}

/// Without the address, which may be a permission.
fn told(error: reqwest::Error) -> String {
    use std::error::Error as _;
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What a refusal concerns, in the terms of a submission (the table of errors: <https://learn.microsoft.com/graph/errors>).
fn refusal(step: Step, status: StatusCode, wait_ms: Option<u64>, body: &[u8]) -> MailError {
    let WrongError { code, message } = serde_json::from_slice::<Wrong>(body).unwrap_or_default().error;
    let message: String = message.chars().take(ANSWER).collect();
    let mut text = format!("HTTP {} {code} {message}", status.as_u16()).trim_end().to_owned();
    if let Some(wait) = wait_ms {
        text = format!("{text} Suggested Backoff Time: {wait} milliseconds");
    }
    let of_message = ["ErrorSendAsDenied", "ErrorMessageSizeExceeded"].contains(&code.as_str());
    // A draft or an upload that is gone, and not the mailbox.
    let of_item = ["ErrorItemNotFound", "itemNotFound"].contains(&code.as_str());
    let error = match status.as_u16() {
        // Throttled, or busy: also what Graph calls an unhealthy resource.
        429 | 503 | 509 => MailError::later(Step::From, text),
        504 if wait_ms.is_some() => MailError::later(Step::From, text),
        401 | 403 | 404 if !of_message && !of_item => MailError::refused(Step::Auth, None, text),
        501 | 507 => MailError::refused(step, None, text),
        // It may have been done: a gateway that gave up has passed messages on.
        408 | 500.. if step == Step::AfterData => MailError::network(step, text),
        404 | 408 | 409 | 423 | 500.. => MailError::later(step, text),
        _ => MailError::refused(step, None, text),
    };
    error.of_graph(GraphRefusal::Answered { status: status.as_u16(), code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> MailError {
        refusal(Step::AfterData, StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
    }

    #[test]
    fn refusals_concern_the_message_the_mailbox_or_the_moment() {
        let wrong = |code: &str| format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"words\"}}}}");
        for (status, code, step, transient, answered) in [
            (400, "ErrorInvalidRecipients", Step::AfterData, false, true),
            (401, "InvalidAuthenticationToken", Step::Auth, false, true),
            (403, "ErrorAccessDenied", Step::Auth, false, true),
            (403, "ErrorSendAsDenied", Step::AfterData, false, true),
            (404, "MailboxNotEnabledForRESTAPI", Step::Auth, false, true),
            (413, "", Step::AfterData, false, true),
            (429, "ApplicationThrottled", Step::From, true, true),
            (503, "ResourceUnhealthy", Step::From, true, true),
            (509, "", Step::From, true, true),
            (404, "ErrorItemNotFound", Step::AfterData, true, true),
            (507, "ErrorQuotaExceeded", Step::AfterData, false, true),
            (504, "", Step::AfterData, true, false),
            (500, "ErrorInternalServerError", Step::AfterData, true, false),
            (502, "", Step::AfterData, true, false),
        ] {
            let error = of(status, &wrong(code));
            assert_eq!(
                (error.step, error.is_transient(), error.answered),
                (step, transient, answered),
                "{status} {code}"
            );
        }
        let busy = |status| refusal(Step::AfterData, StatusCode::from_u16(status).unwrap(), Some(7000), b"");
        assert_eq!((busy(429).backoff_ms(), busy(504).backoff_ms()), (Some(7000), Some(7000)));
        assert!(busy(504).is_throttled(), "it asks to come again");
        assert!(of(429, &wrong("x")).is_throttled());
        assert!(of(502, "<html>bad gateway</html>").text.contains("HTTP 502"));
    }
}
