//! Opaque-signed S/MIME messages (RFC 8551, 3.5.2): extracts the content, verifies nothing.

use bcder::decode::Constructed;
use bcder::{Mode, OctetString, Oid, Tag};

/// Content of an `application/pkcs7-mime` part.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    Signed(Vec<u8>),
    /// Certificates without a message (RFC 8551, 3.8).
    Certificates,
    Encrypted,
}

/// id-signedData (RFC 5652, 5.1): 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

/// Opens CMS in BER or DER: Outlook writes definite lengths, other programs do not.
pub fn open(cms: &[u8]) -> Content {
    let decoded = Mode::Ber.decode(cms, |cons| {
        cons.take_sequence(|cons| {
            let kind = Oid::take_from(cons)?;
            if kind.0.as_ref() != SIGNED_DATA {
                skip_rest(cons)?;
                return Ok(None);
            }
            cons.take_constructed_if(Tag::CTX_0, |cons| cons.take_sequence(encapsulated)).map(Some)
        })
    });
    match decoded {
        Ok(Some(Some(content))) => Content::Signed(content.to_bytes().to_vec()),
        Ok(Some(None)) => Content::Certificates,
        _ => Content::Encrypted,
    }
}

/// Skips the remaining values. `skip_all` fails at the end of a value of indefinite length.
fn skip_rest<S: bcder::decode::Source>(
    cons: &mut Constructed<'_, S>,
) -> Result<(), bcder::decode::DecodeError<S::Error>> {
    while cons.skip_opt(|_, _, _| Ok(()))?.is_some() {}
    Ok(())
}

/// SignedData (RFC 5652, 5.1): version, digest algorithms, the content, certificates and signatures.
fn encapsulated<S: bcder::decode::Source>(
    cons: &mut Constructed<'_, S>,
) -> Result<Option<OctetString>, bcder::decode::DecodeError<S::Error>> {
    cons.take_u8()?;
    cons.take_set(|algorithms| skip_rest(algorithms))?;
    let content = cons.take_sequence(|cons| {
        Oid::take_from(cons)?;
        cons.take_opt_constructed_if(Tag::CTX_0, |content| OctetString::take_from(content))
    })?;
    skip_rest(cons)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value with its length in advance (DER), or without (BER).
    fn tlv(tag: u8, content: &[u8], indefinite: bool) -> Vec<u8> {
        if indefinite {
            return [&[tag, 0x80], content, &[0, 0]].concat();
        }
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    fn signed(text: &[u8], indefinite: bool) -> Vec<u8> {
        let bytes = if indefinite {
            let pieces: Vec<u8> = text.chunks(5).flat_map(|piece| tlv(0x04, piece, false)).collect();
            tlv(0x24, &pieces, true)
        } else {
            tlv(0x04, text, false)
        };
        let data = tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01], false);
        let content = tlv(0x30, &[data, tlv(0xa0, &bytes, indefinite)].concat(), indefinite);
        let inner = [tlv(0x02, &[1], false), tlv(0x31, &[], false), content, tlv(0x31, &[], false)].concat();
        let outer = [tlv(0x06, SIGNED_DATA, false), tlv(0xa0, &tlv(0x30, &inner, indefinite), indefinite)].concat();
        tlv(0x30, &outer, indefinite)
    }

    #[test]
    fn signed_content_is_taken_out() {
        let text = b"Content-Type: text/plain\r\n\r\nThe dates are confirmed.";
        for indefinite in [false, true] {
            assert_eq!(open(&signed(text, indefinite)), Content::Signed(text.to_vec()), "{indefinite}");
        }
    }

    #[test]
    fn everything_else_is_closed_and_harmless() {
        let enveloped = tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03], false);
        let deep = [0x30, 0x80].repeat(500_000);
        let strings = [&signed(b"x", true)[..20], &[0x24, 0x80].repeat(500_000)].concat();
        for cms in [tlv(0x30, &enveloped, false), Vec::new(), b"no CMS at all".to_vec(), deep, strings] {
            assert_eq!(open(&cms), Content::Encrypted);
        }
        let text = b"The dates are confirmed.";
        for cut in 1..signed(text, false).len() {
            let _ = open(&signed(text, false)[..cut]);
        }
    }
}
