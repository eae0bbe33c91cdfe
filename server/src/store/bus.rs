//! News between tasks and replicas: SQLite has one process, PostgreSQL hands them on with LISTEN and NOTIFY.
//!
//! News may be lost (a connection that broke): whoever waits for them looks again by itself now and then.

use std::sync::Arc;
use std::time::Duration;

use app::model::{MailboxId, UserId};
use sqlx::postgres::PgListener;
use tokio::sync::broadcast;

use super::{Result, Store};

const CHANNEL: &str = "entrepost";
/// PostgreSQL's limit is 8,000 octets.
const MOST: usize = 7_900;
/// News that a slow listener may fall behind.
const BACKLOG: usize = 1_024;
/// Pause before a broken listener connects again.
const AGAIN: Duration = Duration::from_secs(2);

/// Something happened that others wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// What a person sees of their mail changed.
    Mail(UserId),
    /// A refresh ended: the access token, sealed. It passes through and is stored nowhere.
    Token(MailboxId, String),
}

impl News {
    fn to_text(&self) -> String {
        match self {
            Self::Mail(user) => format!("mail {user}"),
            Self::Token(mailbox, sealed) => format!("token {mailbox} {sealed}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        match (words.next()?, words.next()?, words.next()) {
            ("mail", user, None) => Some(Self::Mail(user.parse().ok()?)),
            ("token", mailbox, Some(sealed)) => Some(Self::Token(mailbox.parse().ok()?, sealed.to_owned())),
            _ => None,
        }
    }
}

/// Hands news on within this process.
#[derive(Debug, Clone)]
pub(super) struct Bus {
    here: broadcast::Sender<News>,
    /// Ends with the last clone.
    _listener: Option<Arc<Listener>>,
}

#[derive(Debug)]
struct Listener(tokio::task::AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bus {
    /// `postgres`: the address of the server that other replicas use too. It listens when this returns.
    pub(super) async fn open(postgres: Option<&str>) -> Result<Self> {
        let (here, _) = broadcast::channel(BACKLOG);
        let Some(url) = postgres else { return Ok(Self { here, _listener: None }) };
        let first = connect(url).await?;
        let task = tokio::spawn(listen(url.to_owned(), first, here.clone()));
        Ok(Self { here, _listener: Some(Arc::new(Listener(task.abort_handle()))) })
    }
}

async fn connect(url: &str) -> Result<PgListener> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn listen(url: String, first: PgListener, here: broadcast::Sender<News>) {
    let mut listener = first;
    loop {
        while let Ok(note) = listener.recv().await {
            if let Some(news) = News::parse(note.payload()) {
                let _ = here.send(news);
            }
        }
        tracing::warn!("news of other replicas are late: the database's LISTEN ended, and is tried again");
        listener = loop {
            tokio::time::sleep(AGAIN).await;
            if let Ok(listener) = connect(&url).await {
                break listener;
            }
        };
    }
}

impl Store {
    /// Hands news on to this process and to other replicas. What cannot be handed on is no failure: others look by themselves.
    pub async fn publish(&self, news: News) {
        if self.backend == super::Backend::Postgres {
            let text = news.to_text();
            if text.len() <= MOST {
                let sent: Result<_> = sqlx::query("SELECT CAST(pg_notify($1, $2) AS TEXT)")
                    .bind(CHANNEL)
                    .bind(text)
                    .execute(&self.pool)
                    .await
                    .map_err(Into::into);
                if let Err(error) = sent {
                    tracing::warn!("news for other replicas: {error}");
                }
            }
        }
        let _ = self.bus.here.send(news);
    }

    /// News from now on.
    #[must_use]
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.bus.here.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_survive_the_way() {
        for news in [
            News::Mail(UserId(uuid::Uuid::from_u128(1))),
            News::Token(MailboxId(uuid::Uuid::from_u128(2)), "v1.key.c2VhbGVk".into()),
        ] {
            assert_eq!(News::parse(&news.to_text()), Some(news));
        }
        for other in ["", "mail", "mail x", "token 1", "other 1"] {
            assert_eq!(News::parse(other), None, "{other}");
        }
    }
}
