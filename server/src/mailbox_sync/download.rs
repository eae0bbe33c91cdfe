//! Downloads of messages: fetched in chunks, decoded while streaming, never whole in memory.

use std::sync::Arc;

use super::{Command, MailboxSync, Reply, SyncError};
use crate::message::{Decoder, Encoding, Part};
use crate::store::MailboxKey;
use app::model::{InstitutionId, MessageRef};

/// Bytes per fetch.
const FETCH_CHUNK: u32 = 256 * 1024;

pub struct PartDownload {
    sync: Arc<MailboxSync>,
    institution: InstitutionId,
    message: MessageRef,
    from: u32,
    left: u32,
    decoder: Decoder,
    ready: Option<Arc<Vec<u8>>>,
}

impl PartDownload {
    /// Reads a part, or without one the whole message.
    pub fn new(sync: Arc<MailboxSync>, institution: InstitutionId, message: MessageRef, part: Option<&Part>) -> Self {
        let (from, left, encoding) =
            part.map_or((0, u32::MAX, Encoding::Identity), |part| (part.from, part.length, part.encoding));
        let ready = part.and_then(|part| part.bytes.clone());
        let left = if ready.is_some() { 0 } else { left };
        Self { sync, institution, message, from, left, decoder: Decoder::new(encoding), ready }
    }

    pub fn ended(self) -> Self {
        Self { left: 0, ready: None, decoder: Decoder::new(Encoding::Identity), ..self }
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, SyncError> {
        if let Some(ready) = self.ready.take() {
            return Ok(Some(ready.to_vec()));
        }
        loop {
            if self.left == 0 {
                let last = self.decoder.finish();
                return Ok((!last.is_empty()).then_some(last));
            }
            let length = self.left.min(FETCH_CHUNK);
            let command = Command::Bytes { message: self.message.clone(), from: self.from, length };
            let Reply::Bytes(bytes) = self
                .sync
                .execute(MailboxKey { institution: self.institution, id: self.message.mailbox }, command)
                .await?
            else {
                return Err(SyncError::NoMessage);
            };
            let got = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.from = self.from.saturating_add(got);
            self.left = if got < length { 0 } else { self.left.saturating_sub(got) };
            let decoded = self.decoder.push(&bytes);
            if !decoded.is_empty() {
                return Ok(Some(decoded));
            }
        }
    }
}
