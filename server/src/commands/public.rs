//! Whether the public address leads here, and what a proxy on the way gets wrong.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};
use server::trust::Trust;

use super::Finding;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A policy value that marks our own pages.
const OURS: &str = "'wasm-unsafe-eval'";

/// Requests the public address as a browser does, through the proxy.
pub(super) async fn look(address: &str, trust: &Trust) -> Vec<Finding> {
    let failed = |text: String| vec![Finding::Failed(format!("{address}: {text}"))];
    let client = match trust.http().timeout(PATIENCE).build() {
        Ok(client) => client,
        Err(error) => return failed(error.to_string()),
    };
    let page = client.get(format!("{address}/login")).header(header::ACCEPT, "text/html").send().await;
    let page = match page {
        Ok(page) => page,
        // Perhaps the server does not run yet, or its public address is not known from here.
        Err(error) => {
            let text = server::identity::describe(&error);
            return vec![Finding::Note(format!("{address} was not checked: {text}"))];
        }
    };
    let (status, headers) = (page.status(), page.headers().clone());
    let body = page.text().await.unwrap_or_default();
    if status == StatusCode::NOT_FOUND && body.contains("There is no institution at this address") {
        return failed("the proxy doesn't pass on the browser's Host header".into());
    }
    if !values(&headers, &header::CONTENT_SECURITY_POLICY).iter().any(|policy| policy.contains(OURS)) {
        return failed(format!("another program answers there (status {status}), or removes our headers"));
    }
    let mut findings = changed(&headers);
    // Posts a form as a browser does; without a session it changes nothing.
    let form = client.post(format!("{address}/api/sign_out")).header(header::ORIGIN, address);
    match form.header(header::ACCEPT, "text/html").header("sec-fetch-site", "same-origin").send().await {
        Ok(answer) if answer.status() == StatusCode::FORBIDDEN => {
            findings.push("it changes or removes the Origin header: no one can sign in".into());
        }
        Ok(_) => {}
        Err(error) => findings.push(format!("a form was not answered: {}", server::identity::describe(&error))),
    }
    if findings.is_empty() {
        return vec![Finding::Fine(format!("{address} leads here"))];
    }
    findings.into_iter().map(|text| Finding::Failed(format!("{address}, the proxy: {text}"))).collect()
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

/// Responses changed on the way.
fn changed(headers: &HeaderMap) -> Vec<String> {
    let mut findings = Vec::new();
    // Of several, the last one counts (Referrer Policy, 4.1).
    if values(headers, &header::REFERRER_POLICY).last().is_none_or(|policy| *policy != "same-origin") {
        findings.push(
            "it sets a Referrer-Policy of its own. With no-referrer, browsers hide where a form comes from and some can't sign in. Remove it".into(),
        );
    }
    if values(headers, &header::CONTENT_SECURITY_POLICY).len() > 1 {
        findings.push("it adds its own Content-Security-Policy: pages won't work. Remove it".into());
    }
    if values(headers, &header::CACHE_CONTROL).iter().all(|value| !value.contains("no-store")) {
        findings
            .push("it changes Cache-Control: one person's pages could be shown to another. Leave it unchanged".into());
    }
    findings
}
