//! Octets of a message as they are downloaded: fetched piece by piece, decoded on the way, never whole in memory.

use std::sync::Arc;

use app::model::{InstitutionId, MailboxId};
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::Engine;

use super::{Answer, Ask, Encoding, Inbox, InboxError, Part};

/// What encoders get wrong at the end is no reason to lose what stands before it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Octets fetched at once.
const PIECE: u32 = 256 * 1024;

/// Reads a part, or the whole message.
pub struct PartReader {
    inbox: Arc<Inbox>,
    mailbox: (InstitutionId, MailboxId),
    at: (String, u32, u32),
    from: u32,
    left: u32,
    encoding: Encoding,
    /// Encoded octets that wait for the rest of their group or line.
    rest: Vec<u8>,
}

impl PartReader {
    /// A reader of a part, or (without one) of the whole message. `at`: folder, UIDVALIDITY, UID.
    #[must_use]
    pub fn new(
        inbox: Arc<Inbox>,
        mailbox: (InstitutionId, MailboxId),
        at: (String, u32, u32),
        part: Option<&Part>,
    ) -> Self {
        let (from, left, encoding) =
            part.map_or((0, u32::MAX, Encoding::Identity), |part| (part.from, part.length, part.encoding));
        Self { inbox, mailbox, at, from, left, encoding, rest: Vec::new() }
    }

    /// The same, with nothing left to read.
    #[must_use]
    pub fn ended(self) -> Self {
        Self { left: 0, rest: Vec::new(), ..self }
    }

    /// The next octets; none at the end.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, InboxError> {
        loop {
            if self.left == 0 {
                let last = decode(self.encoding, &mut self.rest, &[], true);
                return Ok((!last.is_empty()).then_some(last));
            }
            let length = self.left.min(PIECE);
            let (folder, validity, uid) = self.at.clone();
            let ask = Ask::Octets { folder, validity, uid, from: self.from, length };
            let Answer::Octets(octets) = self.inbox.ask(self.mailbox.0, self.mailbox.1, ask).await? else {
                return Err(InboxError::NoMessage);
            };
            let got = u32::try_from(octets.len()).unwrap_or(u32::MAX);
            self.from = self.from.saturating_add(got);
            self.left = if got < length { 0 } else { self.left.saturating_sub(got) };
            let decoded = decode(self.encoding, &mut self.rest, &octets, self.left == 0);
            if !decoded.is_empty() {
                return Ok(Some(decoded));
            }
        }
    }
}

/// Decodes what is complete; the rest waits for more.
pub(super) fn decode(encoding: Encoding, rest: &mut Vec<u8>, octets: &[u8], last: bool) -> Vec<u8> {
    match encoding {
        Encoding::Identity => octets.to_vec(),
        Encoding::Base64 => {
            rest.extend(octets.iter().filter(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/')));
            let whole = if last { rest.len() } else { rest.len() / 4 * 4 };
            let group: Vec<u8> = rest.drain(..whole).collect();
            // What a broken encoder left over is dropped rather than everything.
            let even = if group.len() % 4 == 1 { &group[..group.len() - 1] } else { &group[..] };
            LENIENT.decode(even).unwrap_or_default()
        }
        Encoding::QuotedPrintable => {
            rest.extend_from_slice(octets);
            let whole =
                if last { rest.len() } else { rest.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1) };
            let lines: Vec<u8> = rest.drain(..whole).collect();
            mail_parser::decoders::quoted_printable::quoted_printable_decode(&lines).unwrap_or(lines)
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    fn piecewise(encoding: Encoding, text: &[u8], size: usize) -> Vec<u8> {
        let (mut rest, mut all) = (Vec::new(), Vec::new());
        for piece in text.chunks(size) {
            all.extend(decode(encoding, &mut rest, piece, false));
        }
        all.extend(decode(encoding, &mut rest, &[], true));
        all
    }

    #[test]
    fn pieces_of_any_size_make_the_same_file() {
        let file: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let lines: Vec<String> = BASE64_STANDARD
            .encode(&file)
            .as_bytes()
            .chunks(76)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let encoded = lines.join("\r\n") + "\r\n";
        for size in [1, 3, 7, 76, 1_000] {
            assert_eq!(piecewise(Encoding::Base64, encoded.as_bytes(), size), file, "{size}");
            let text = piecewise(Encoding::QuotedPrintable, b"Sch=C3=B6n, a long =\r\nline\r\n", size);
            assert_eq!(String::from_utf8_lossy(&text).trim_end(), "Schön, a long line", "{size}");
        }
        assert_eq!(piecewise(Encoding::Base64, b"QUJD!!Q", 2), b"ABC");
        assert_eq!(piecewise(Encoding::Base64, b"QUJDQR==", 3), b"ABCA", "bits too many");
    }
}
