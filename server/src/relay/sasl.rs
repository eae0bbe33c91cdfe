//! PLAIN (RFC 4616) and LOGIN, which is only a draft, yet what devices speak.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::vault::Secret;

/// Longest line of an answer, in bytes (RFC 4954, 4).
pub const MOST_LINE: usize = 12_288;
/// Longest user name, in bytes.
const MOST_NAME: usize = 320;

/// Devices leave pads out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub struct Credentials {
    pub user_name: String,
    pub password: Secret,
}

#[derive(Debug, PartialEq, Eq)]
pub enum SaslError {
    /// `*`
    Cancelled,
    Malformed,
}

/// The text of a line of base64. `=` is an empty one.
pub fn decoded(line: &str) -> Result<Secret, SaslError> {
    match line.trim() {
        "*" => Err(SaslError::Cancelled),
        "=" | "" => Ok(Secret::new(String::new())),
        line => {
            let bytes = BASE64.decode(line).map_err(|_| SaslError::Malformed)?;
            Ok(Secret::new(String::from_utf8_lossy(&bytes).into_owned()))
        }
    }
}

/// `authzid NUL authcid NUL password`
pub fn plain(message: &Secret) -> Result<Credentials, SaslError> {
    let mut parts = message.expose().splitn(3, '\0');
    let (Some(acts_as), Some(name), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(SaslError::Malformed);
    };
    // No one acts for another.
    if !acts_as.is_empty() && acts_as != name {
        return Err(SaslError::Malformed);
    }
    login(name, Secret::new(password.to_owned()))
}

pub fn login(name: &str, password: Secret) -> Result<Credentials, SaslError> {
    if name.is_empty() || name.len() > MOST_NAME {
        return Err(SaslError::Malformed);
    }
    Ok(Credentials { user_name: name.to_owned(), password })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(String, String), SaslError> {
        let Credentials { user_name, password } = plain(&decoded(line)?)?;
        Ok((user_name, password.expose().to_owned()))
    }

    #[test]
    fn plain_is_read_with_and_without_pads() {
        let pair = |name: &str, password: &str| Ok((name.to_owned(), password.to_owned()));
        assert_eq!(read("AGFAYgBj"), pair("a@b", "c"));
        assert_eq!(read("AGFAYgBjZA=="), pair("a@b", "cd"));
        assert_eq!(read("AGFAYgBjZA"), pair("a@b", "cd"));
        assert_eq!(read("YUBiAGFAYgBj"), pair("a@b", "c"));
        for wrong in ["YUBiAHgAYw==", "AAA=", "!!", "=", "YWJj"] {
            assert_eq!(read(wrong), Err(SaslError::Malformed), "{wrong}");
        }
        assert_eq!(read("*"), Err(SaslError::Cancelled));
    }
}
