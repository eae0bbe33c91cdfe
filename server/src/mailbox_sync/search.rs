//! Search on servers that support ASCII only, such as Exchange Online (`BADCHARSET (US-ASCII)`): the server searches for the ASCII
//! part, and this module filters the results.

use std::collections::BTreeMap;

use app::model::{HeaderView, SEARCHED_TEXTS};

use super::{KEPT_HEADERS, folders, headers};
use crate::mail::MailError;
use crate::mail::imap::Session;
use crate::message::{self, ParsedMessage, html_text};

/// Bytes of each.
const SEARCHED_BYTES: u32 = 128 * 1024;
/// Fewest ASCII letters to ask for; fewer match everything.
const MIN_ASCII_LETTERS: usize = 2;

/// Matches, newest first: by header in the kept ones, by text in the newest.
pub(super) async fn look_through(session: &mut Session, exists: u32, text: &str) -> Result<Vec<HeaderView>, MailError> {
    let wanted = text.to_lowercase();
    let newest: Vec<u32> = session.newest(exists, KEPT_HEADERS).await?.into_iter().map(|(uid, _)| uid).collect();
    let mut found: BTreeMap<u32, HeaderView> = BTreeMap::new();
    for some in newest.chunks(100) {
        let given = folders::listed(session, some, None).await?.0;
        let holding = given.iter().map(headers::header).filter(|header| names(header, &wanted));
        found.extend(holding.map(|header| (header.uid, header)));
    }
    let stretches: Vec<&str> = text
        .split(|c: char| !c.is_ascii())
        .map(str::trim)
        .filter(|stretch| stretch.len() >= MIN_ASCII_LETTERS)
        .collect();
    let mut candidates = if stretches.is_empty() { newest } else { session.search_all(&stretches).await? };
    candidates.sort_unstable_by_key(|uid| std::cmp::Reverse(*uid));
    candidates.retain(|uid| !found.contains_key(uid));
    let mut holding = Vec::new();
    for uid in candidates.into_iter().take(SEARCHED_TEXTS) {
        let Some(bytes) = session.bytes(uid, 0, SEARCHED_BYTES).await? else { continue };
        let wanted = wanted.clone();
        let holds = tokio::task::spawn_blocking(move || says(&message::parse(&bytes, true), &wanted)).await;
        holding.extend(holds.unwrap_or(false).then_some(uid));
    }
    for some in holding.chunks(100) {
        let given = folders::listed(session, some, None).await?.0;
        found.extend(given.iter().map(headers::header).map(|header| (header.uid, header)));
    }
    Ok(found.into_values().rev().collect())
}

fn names(header: &HeaderView, wanted: &str) -> bool {
    [&header.subject, &header.from, &header.from_address, &header.recipients]
        .into_iter()
        .any(|field| field.to_lowercase().contains(wanted))
}

fn says(opened: &ParsedMessage, wanted: &str) -> bool {
    let plain = opened.text.as_deref().is_some_and(|text| text.to_lowercase().contains(wanted));
    plain || opened.html.as_deref().is_some_and(|html| html_text(html).to_lowercase().contains(wanted))
}
