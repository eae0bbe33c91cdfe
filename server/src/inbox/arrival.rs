//! Looking for a message that was sent to oneself.

use std::collections::HashSet;

use app::model::FolderRole;

use crate::mail::MailError;
use crate::mail::imap::{Mark, Session};

/// One look: INBOX and Junk each time, the other folders at first and then every fourth time. Answers the folder it lies in.
///
/// # Errors
/// [`MailError`].
pub async fn arrived(session: &mut Session, mark: &Mark<'_>, round: u32) -> Result<Option<String>, MailError> {
    if session.contains("INBOX", mark).await? {
        return Ok(Some("INBOX".into()));
    }
    let mut seen = HashSet::new();
    let folders = session.folders().await?;
    let (junk, others): (Vec<_>, Vec<_>) = folders
        .into_iter()
        .filter(|folder| folder.selectable && folder.role != FolderRole::Sent)
        .partition(|folder| folder.role == FolderRole::Junk);
    let others = others.into_iter().filter(|_| round % 4 == 1).take(100);
    for folder in junk.into_iter().chain(others) {
        if folder.name.eq_ignore_ascii_case("INBOX") || !seen.insert(folder.name.clone()) {
            continue;
        }
        match session.contains(&folder.name, mark).await {
            Ok(true) => return Ok(Some(folder.name)),
            // A folder that cannot be searched (a calendar, say) is no reason to stop.
            Ok(false) => {}
            Err(error) if error.answered => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
