//! The portal: app registration, accounts, mail, faults; with an HTTP API for tests.

use std::sync::Arc;

use axum::extract::{Form, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mail_parser::MessageParser;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Shared;
use crate::assertion::fingerprint;
use crate::dns::DnsRecord;
use crate::faults::Faults;
use crate::html::{escape, page};
use crate::world::Federated;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/portal/faults", post(set_faults_form))
        .route("/portal/redirect-uris", post(add_redirect_uri))
        .route("/portal/certificates", post(add_certificate))
        .route("/portal/federated", post(add_federated))
        .route("/portal/revoke", post(revoke))
        .route("/portal/mail/{id}", get(mail))
        .route("/portal/mail/{id}/raw", get(raw))
        .route("/portal/mail/{id}/html", get(rendered))
        .route("/portal/mail/{id}/reply", post(reply))
        .route("/sandbox/faults", get(faults).post(set_faults))
        .route("/sandbox/state", get(state))
        .route("/sandbox/mail", get(mails))
        .route("/sandbox/reset", post(reset))
        .route("/sandbox/client-id", post(new_client_id))
        .route("/sandbox/secret", post(new_secret))
        .route("/sandbox/claims", post(set_claims))
        .route("/sandbox/redirect-uris", post(add_redirect_uri_json))
        .route("/sandbox/deliver", post(deliver))
        .route("/sandbox/accounts", post(add_accounts))
        .route("/sandbox/powershell", post(powershell))
        .route("/sandbox/dns", post(set_dns))
        .route("/sandbox/imap/end", post(end_imap))
        .route("/sandbox/imap/renumber", post(renumber))
        .with_state(shared)
}

/// Refuses cross-site requests: Host must be loopback, Origin the sandbox's own.
pub(crate) async fn only_from_here(request: Request, next: Next) -> Response {
    let allowed = {
        let text = |name| request.headers().get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let loopback = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
        loopback && text(header::ORIGIN).is_none_or(|origin| origin == format!("http://{host}"))
    };
    if allowed {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "The sandbox answers only to this machine.").into_response()
    }
}

async fn home(State(shared): State<Arc<Shared>>) -> Response {
    let world = shared.world();
    let app = &world.app;
    let row = |name: &str, value: &str| format!("<tr><th>{name}</th><td><code>{}</code></td></tr>", escape(value));
    let item = |text: String| format!("<li><code>{}</code></li>", escape(&text));
    let certificates: String = app
        .certificates
        .iter()
        .map(|pem| item(format!("Certificate {}", fingerprint(pem).unwrap_or_default())))
        .collect();
    let federated: String = app
        .federated
        .iter()
        .map(|known| item(format!("Issuer {}, subject {}, audience {}", known.issuer, known.subject, known.audience)))
        .collect();
    let uris: String = app.redirect_uris.iter().map(|uri| format!("<li><code>{}</code></li>", escape(uri))).collect();
    let accounts: String = world
        .accounts
        .iter()
        .map(|account| {
            format!(
                "<tr><td>{}</td><td><code>{}</code></td><td><code>{}</code>{}</td><td>{}</td></tr>",
                escape(&account.name),
                escape(&account.upn),
                escape(&account.address),
                account.aliases.iter().map(|alias| format!(", <code>{}</code>", escape(alias))).collect::<String>(),
                account
                    .password
                    .as_deref()
                    .map_or("cannot sign in".to_owned(), |password| format!("<code>{}</code>", escape(password)))
            )
        })
        .collect();
    let mails: String = world
        .mails()
        .into_iter()
        .take(100)
        .map(|(mailbox, folder, mail)| {
            let parsed = MessageParser::default().parse(&mail.raw);
            let subject = parsed
                .as_ref()
                .and_then(|message| message.subject().map(ToOwned::to_owned))
                .unwrap_or_else(|| "(no subject)".into());
            let from = parsed
                .as_ref()
                .and_then(|message| message.from()?.first()?.address().map(ToOwned::to_owned))
                .unwrap_or_default();
            format!(
                "<tr><td><a href=\"/portal/mail/{}\">{}</a></td><td>{}</td><td>{} / {}</td></tr>",
                mail.id,
                escape(&subject),
                escape(&from),
                escape(&mailbox),
                escape(&folder)
            )
        })
        .collect();
    let mails = if mails.is_empty() {
        "<tr><td>No mail yet. Press Configure &amp; Test in Entrepost.</td></tr>".to_owned()
    } else {
        mails
    };
    let body = format!(
        "<h1>Sandbox portal</h1><p class=\"soft\">A local stand-in for Entra ID and Exchange Online. Nothing here leaves this machine.</p>\
         <section><h2>App registration</h2><table>{}{}{}{}{}</table></section>\
         <section><h2>Redirect URIs (Web)</h2><ul>{uris}</ul><form method=\"post\" action=\"/portal/redirect-uris\">\
         <label>Add a redirect URI<input name=\"uri\" type=\"url\" required></label><button>Add redirect URI</button></form></section>\
         <section><h2>Certificates &amp; secrets</h2><ul>{certificates}{federated}</ul>\
         <form method=\"post\" action=\"/portal/certificates\"><label>Upload a certificate (.cer, its text)<textarea name=\"pem\" rows=\"4\" required></textarea></label><button>Add certificate</button></form>\
         <form method=\"post\" action=\"/portal/federated\"><label>Issuer<input name=\"issuer\" required></label><label>Subject<input name=\"subject\" required></label>\
         <label>Audience<input name=\"audience\" required></label><button>Add federated credential</button></form></section>\
         <section><h2>Accounts</h2><table><tr><th>Name</th><th>Sign-in name</th><th>Addresses</th><th>Password</th></tr>{accounts}</table></section>\
         <section><h2>Faults</h2>{}</section><section><h2>Mail</h2><table><tr><th>Subject</th><th>From</th><th>Where</th></tr>{mails}</table></section>",
        row("Name", &app.name),
        row("Application (client) ID", &app.client_id.to_string()),
        row("Directory (tenant) ID", &world.tenant_id.to_string()),
        row("Secret ID", &app.secret_id.to_string()),
        row("Secret Value", &app.secret_value),
        faults_form(&world.faults)
    );
    page("Sandbox portal", false, &body).into_response()
}

const SWITCHES: [(&str, &str); 19] = [
    ("secret_expired", "Client secret expired"),
    ("secrets_forbidden", "Client secrets forbidden by a policy"),
    ("imap_disabled", "IMAP disabled"),
    ("consent_missing", "Admin consent missing"),
    ("wrong_account", "Another account signs in"),
    ("throttled", "SMTP throttled"),
    ("cut_before_data", "Connection cut before DATA"),
    ("cut_in_data", "Connection cut in the middle of DATA"),
    ("cut_after_data", "Connection cut after DATA, before the answer"),
    ("grants_revoked", "Grants revoked"),
    ("unavailable", "Entra unavailable"),
    ("token_busy", "Token endpoint busy for two minutes"),
    ("send_as_denied", "Send As denied"),
    ("message_id_replaced", "Message-ID replaced on the way"),
    ("smtp_scope_missing", "SMTP.Send missing in the token"),
    ("bounced", "Accepted mail comes back"),
    ("imap_throttled", "IMAP throttled"),
    ("no_smtputf8", "No international addresses (SMTPUTF8)"),
    ("strict_rotation", "A used refresh token is revoked"),
];

fn faults_form(faults: &Faults) -> String {
    let now = serde_json::to_value(faults).unwrap_or_default();
    let checks: String = SWITCHES
        .iter()
        .map(|(name, label)| {
            let checked = if now[name] == json!(true) { " checked" } else { "" };
            format!("<label class=\"check\"><input type=\"checkbox\" name=\"{name}\" value=\"true\"{checked}> {label}</label>")
        })
        .collect();
    let select = |name: &str, label: &str, options: &[(&str, &str)]| {
        let options: String = options
            .iter()
            .map(|(value, label)| {
                let selected = if now[name] == json!(value) { " selected" } else { "" };
                format!("<option value=\"{value}\"{selected}>{label}</option>")
            })
            .collect();
        format!("<label>{label}<select name=\"{name}\">{options}</select></label>")
    };
    let number = |name: &str, label: &str| {
        format!("<label>{label}<input type=\"number\" min=\"0\" name=\"{name}\" value=\"{}\"></label>", now[name])
    };
    let plain = if faults.plain_errors { " checked" } else { "" };
    format!(
        "<form method=\"post\" action=\"/portal/faults\"><div class=\"grid\">{checks}\
         <label class=\"check\"><input type=\"checkbox\" name=\"plain_errors\" value=\"true\"{plain}> Errors without AADSTS numbers</label></div><div class=\"grid\">{}{}{}{}{}<label>MAIL FROM is answered with (empty: as usual)<input name=\"smtp_reply\" value=\"{}\"></label></div>\
         <button>Set faults</button></form><form method=\"post\" action=\"/portal/revoke\"><button class=\"plain\">Revoke the grants that exist now</button></form>",
        select(
            "smtp_auth",
            "Authenticated SMTP",
            &[
                ("on", "On"),
                ("mailbox", "Off for the mailbox"),
                ("tenant", "Off for the tenant"),
                ("security_defaults", "Off by security defaults")
            ]
        ),
        select(
            "delivery",
            "Accepted mail goes to",
            &[("inbox", "INBOX"), ("junk", "Junk Email"), ("folder", "another folder"), ("nowhere", "nowhere yet")]
        ),
        number("slow_ms", "Every answer takes (milliseconds)"),
        number("token_slow_ms", "The token endpoint takes (milliseconds)")
            + &number("token_seconds", "Access tokens live (seconds; 0: as usual)")
            + &number("token_error", "Token endpoint refuses with AADSTS number (0: no)"),
        number("app_error", "Save is refused with AADSTS number (0: no)"),
        escape(&faults.smtp_reply)
    )
}

async fn set_faults_form(State(shared): State<Arc<Shared>>, Form(fields): Form<Vec<(String, String)>>) -> Response {
    let mut value = serde_json::Map::new();
    for (name, text) in fields {
        let parsed = match text.as_str() {
            "true" => json!(true),
            other => other.parse::<u64>().map_or_else(|_| json!(other), |number| json!(number)),
        };
        value.insert(name, parsed);
    }
    match apply(&shared, &Value::Object(value), true) {
        Ok(_) => Redirect::to("/").into_response(),
        Err(text) => (StatusCode::BAD_REQUEST, text).into_response(),
    }
}

/// Sets the faults in `change`. With `whole` the others are reset.
fn apply(shared: &Shared, change: &Value, whole: bool) -> Result<Faults, String> {
    let mut world = shared.world();
    let base = if whole { Faults::default() } else { world.faults.clone() };
    let mut value = serde_json::to_value(base).map_err(|error| error.to_string())?;
    for (name, new) in change.as_object().ok_or("an object of switches is expected")? {
        value[name] = new.clone();
    }
    world.faults = serde_json::from_value(value).map_err(|error| error.to_string())?;
    world.touch();
    let faults = world.faults.clone();
    drop(world);
    shared.changed.notify_waiters();
    shared.faulted.notify_waiters();
    Ok(faults)
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<Faults> {
    Json(shared.faults())
}

async fn set_faults(State(shared): State<Arc<Shared>>, Json(change): Json<Value>) -> Response {
    match apply(&shared, &change, false) {
        Ok(faults) => Json(faults).into_response(),
        Err(text) => (StatusCode::BAD_REQUEST, text).into_response(),
    }
}

/// Resets faults, consent and sessions for a test.
async fn reset(State(shared): State<Arc<Shared>>) -> StatusCode {
    let mut world = shared.world();
    world.faults = Faults::default();
    world.app.admin_consent = false;
    world.app.certificates.clear();
    world.app.federated.clear();
    world.browsers.clear();
    world.submissions.clear();
    world.accounts.iter_mut().for_each(|account| account.consented = false);
    world.touch();
    StatusCode::NO_CONTENT
}

/// Replaces the secret: the one before is refused from now on.
async fn new_secret(State(shared): State<Arc<Shared>>) -> StatusCode {
    let mut world = shared.world();
    world.app.renew_secret();
    world.touch();
    StatusCode::NO_CONTENT
}

/// Claims of id_tokens in place of the true ones.
async fn set_claims(
    State(shared): State<Arc<Shared>>,
    Json(claims): Json<std::collections::BTreeMap<String, String>>,
) -> StatusCode {
    shared.world().claims = claims;
    StatusCode::NO_CONTENT
}

/// Replaces the app: a new Client ID with the same secret. Grants stay bound to the old one.
async fn new_client_id(State(shared): State<Arc<Shared>>) -> StatusCode {
    let mut world = shared.world();
    world.app.client_id = uuid::Uuid::new_v4();
    world.touch();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Certificate {
    pem: String,
}

async fn add_certificate(State(shared): State<Arc<Shared>>, Form(form): Form<Certificate>) -> Response {
    if fingerprint(&form.pem).is_none() {
        return (StatusCode::BAD_REQUEST, "This is no certificate.").into_response();
    }
    let mut world = shared.world();
    world.app.certificates.push(form.pem);
    world.touch();
    Redirect::to("/").into_response()
}

async fn add_federated(State(shared): State<Arc<Shared>>, Form(form): Form<Federated>) -> Redirect {
    let mut world = shared.world();
    world.app.federated.push(form);
    world.touch();
    Redirect::to("/")
}

#[derive(Deserialize)]
struct RedirectUri {
    uri: String,
}

async fn add_redirect_uri(State(shared): State<Arc<Shared>>, Form(form): Form<RedirectUri>) -> Redirect {
    shared.world().add_redirect_uri(form.uri.trim());
    Redirect::to("/")
}

async fn add_redirect_uri_json(State(shared): State<Arc<Shared>>, Json(form): Json<RedirectUri>) -> StatusCode {
    shared.world().add_redirect_uri(form.uri.trim());
    StatusCode::NO_CONTENT
}

async fn revoke(State(shared): State<Arc<Shared>>) -> Redirect {
    shared.world().revoke_all();
    Redirect::to("/")
}

async fn state(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let world = shared.world();
    Json(json!({
        "client_id": world.app.client_id, "tenant_id": world.tenant_id, "tenant_domain": world.tenant_domain,
        "secret_id": world.app.secret_id, "secret_value": world.app.secret_value, "redirect_uris": world.app.redirect_uris,
        "admin_consent": world.app.admin_consent, "token_requests": world.token_requests,
        "imap_sessions": world.imap_sessions,
    }))
}

async fn mails(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let world = shared.world();
    let list: Vec<Value> = world
        .mails()
        .into_iter()
        .map(|(mailbox, folder, mail)| json!({ "id": mail.id, "mailbox": mailbox, "folder": folder, "raw": String::from_utf8_lossy(&mail.raw) }))
        .collect();
    Json(json!(list))
}

fn find(shared: &Shared, id: &str) -> Option<Vec<u8>> {
    shared
        .world()
        .mails()
        .into_iter()
        .find(|(_, _, mail)| mail.id.to_string() == id)
        .map(|(_, _, mail)| mail.raw.clone())
}

async fn mail(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let place = {
        let world = shared.world();
        let found = world.mails().into_iter().find(|(_, _, mail)| mail.id.to_string() == id);
        found.map(|(mailbox, folder, _)| (mailbox, folder)).unwrap_or_default()
    };
    let Some(raw) = find(&shared, &id) else {
        return (StatusCode::NOT_FOUND, page("No such mail", true, "<section><h1>No such mail</h1></section>"))
            .into_response();
    };
    let parsed = MessageParser::default().parse(&raw);
    let subject = parsed.as_ref().and_then(|message| message.subject()).unwrap_or("(no subject)");
    let text = parsed.as_ref().and_then(|message| message.body_text(0)).unwrap_or_default();
    let id = escape(&id);
    // Copies of sent mail can't be replied to.
    let answer = if place.1 == "Sent Items" {
        "<p class=\"soft\">This is the sender's own copy. To answer, open the one that was received.</p>".to_owned()
    } else {
        let who = if place.0 == "(outside)" { "the recipient".to_owned() } else { escape(&place.0) };
        format!(
            "<section><h2>Answer as {who}</h2><form method=\"post\" action=\"/portal/mail/{id}/reply\">\
             <label>Text<textarea name=\"text\" rows=\"4\" required></textarea></label><button>Send the answer</button></form></section>"
        )
    };
    let body = format!(
        "<p><a href=\"/\">Sandbox portal</a></p><h1>{}</h1><section><h2>As HTML</h2><iframe title=\"The message as HTML\" sandbox src=\"/portal/mail/{id}/html\"></iframe></section>\
         <section><h2>As text</h2><pre>{}</pre></section>{answer}\
         <section><h2>Raw</h2><pre>{}</pre><p><a href=\"/portal/mail/{id}/raw\">Download</a></p></section>",
        escape(subject),
        escape(&text),
        escape(&String::from_utf8_lossy(&raw))
    );
    page(subject, false, &body).into_response()
}

#[derive(Deserialize)]
struct Reply {
    text: String,
}

/// Replies from the mailbox that has the message.
async fn reply(State(shared): State<Arc<Shared>>, Path(id): Path<String>, Form(form): Form<Reply>) -> Response {
    let mut world = shared.world();
    let found = world.mails().into_iter().find(|(_, _, mail)| mail.id.to_string() == id);
    let Some((mailbox, raw)) = found.map(|(mailbox, _, mail)| (mailbox, mail.raw.clone())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let parsed = MessageParser::default().parse(&raw);
    let one_line = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    let header =
        |name: &str| parsed.as_ref().and_then(|message| message.header_raw(name)).map(one_line).unwrap_or_default();
    let to = parsed.as_ref().and_then(|message| message.from()?.first()?.address().map(one_line)).unwrap_or_default();
    let subject = parsed.as_ref().and_then(|message| message.subject()).map(one_line).unwrap_or_default();
    // External recipients reply from the address the message went to.
    let outside = || parsed.as_ref().and_then(|message| message.to()?.first()?.address().map(one_line));
    let from = if mailbox == "(outside)" { outside().unwrap_or_default() } else { mailbox };
    let (answered, references) = (header("Message-ID"), header("References"));
    let text = form.text.replace("\r\n", "\n").replace('\n', "\r\n");
    let answer = format!(
        "From: {from}\r\nTo: {to}\r\nSubject: Re: {subject}\r\nMessage-ID: <{}@sandbox.example>\r\nIn-Reply-To: {}\r\nReferences: {} {}\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n",
        uuid::Uuid::new_v4(),
        answered.trim(),
        references.trim(),
        answered.trim()
    );
    world.deliver(&to, "INBOX", answer.as_bytes());
    drop(world);
    shared.changed.notify_waiters();
    Redirect::to("/").into_response()
}

/// Accounts whose sign-in name is their address; authenticated SMTP is off, as in a new tenant.
async fn add_accounts(State(shared): State<Arc<Shared>>, Json(addresses): Json<Vec<String>>) -> StatusCode {
    let mut world = shared.world();
    for address in addresses {
        world.add_account(&address, &address);
        world.smtp_auth_off.insert(address);
    }
    world.touch();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct DnsName {
    name: String,
    /// Empty: the name does not exist.
    records: Vec<DnsRecord>,
}

async fn set_dns(State(shared): State<Arc<Shared>>, Json(form): Json<DnsName>) -> StatusCode {
    let mut world = shared.world();
    if form.records.is_empty() {
        world.dns.remove(&form.name);
    } else {
        world.dns.insert(form.name, form.records);
    }
    world.touch();
    StatusCode::NO_CONTENT
}

/// What a command for Exchange Online PowerShell would change; says how many mailboxes it switched on.
async fn powershell(State(shared): State<Arc<Shared>>, command: String) -> Response {
    if !command.contains("Set-CASMailbox") || !command.contains("-SmtpClientAuthenticationDisabled $false") {
        return (StatusCode::BAD_REQUEST, "The sandbox knows Set-CASMailbox -SmtpClientAuthenticationDisabled $false.")
            .into_response();
    }
    let is_in_name = |c: char| c.is_alphanumeric() || "@.-_+".contains(c);
    let named: Vec<&str> = command.split(|c: char| !is_in_name(c)).filter(|word| word.contains('@')).collect();
    let mut world = shared.world();
    let before = world.smtp_auth_off.len();
    world.smtp_auth_off.retain(|address| !named.contains(&address.as_str()));
    let switched = before - world.smtp_auth_off.len();
    world.touch();
    Json(json!({ "switched_on": switched })).into_response()
}

#[derive(Deserialize)]
struct Deliver {
    to: String,
    raw: String,
}

/// Delivers external mail.
async fn deliver(State(shared): State<Arc<Shared>>, Json(mail): Json<Deliver>) -> StatusCode {
    shared.world().deliver(&mail.to, "INBOX", mail.raw.as_bytes());
    shared.changed.notify_waiters();
    StatusCode::NO_CONTENT
}

async fn end_imap(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.world().end_imap_sessions();
    shared.changed.notify_waiters();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Renumber {
    address: String,
}

async fn renumber(State(shared): State<Arc<Shared>>, Json(which): Json<Renumber>) -> StatusCode {
    shared.world().renumber(&which.address);
    shared.changed.notify_waiters();
    StatusCode::NO_CONTENT
}

async fn raw(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match find(&shared, &id) {
        Some(raw) => (
            [
                (header::CONTENT_TYPE, "message/rfc822"),
                (header::CONTENT_DISPOSITION, "attachment; filename=message.eml"),
            ],
            raw,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn rendered(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let Some(raw) = find(&shared, &id) else { return StatusCode::NOT_FOUND.into_response() };
    let html = MessageParser::default()
        .parse(&raw)
        .and_then(|message| message.body_html(0).map(std::borrow::Cow::into_owned))
        .unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        axum::http::HeaderValue::from_static("sandbox; default-src 'none'; style-src 'unsafe-inline'"),
    );
    (headers, axum::response::Html(html)).into_response()
}
