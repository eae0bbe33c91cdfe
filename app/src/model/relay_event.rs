//! What happens on connections of programs and devices, in words.

use serde::{Deserialize, Serialize};

/// What the relay changed in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    FromRepaired,
    FromRewritten,
    FromAdded,
    RecipientsRepaired,
    ToAdded,
    DateAdded,
    DateReplaced,
    MessageIdAdded,
    /// The same Message-ID was sent before.
    MessageIdRepeated,
    LineEnds,
    NulRemoved,
    HeaderEncoded,
    /// A line in the header was no field.
    HeaderEnded,
    BodyEncoded,
}

impl Repair {
    pub fn words(self) -> &'static str {
        match self {
            Self::FromRepaired => "From repaired: unquoted @, missing brackets or letters that mail doesn't carry",
            Self::FromRewritten => "From changed to the mailbox's address",
            Self::FromAdded => "From added",
            Self::RecipientsRepaired => "To or Cc repaired",
            Self::ToAdded => "To added: the message named no recipient",
            Self::DateAdded => "date added",
            Self::DateReplaced => "date replaced: the clock was more than a day off",
            Self::MessageIdAdded => "Message-ID added",
            Self::MessageIdRepeated => "Message-ID replaced: it was used before",
            Self::LineEnds => "line ends repaired",
            Self::NulRemoved => "zero bytes removed",
            Self::HeaderEncoded => "header letters encoded",
            Self::HeaderEnded => "blank line after the header added",
            Self::BodyEncoded => "long lines or 8-bit text encoded",
        }
    }
}

/// What happened on a connection. Never content, subjects, passwords or whole addresses of recipients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RelayEvent {
    /// Before TLS, on a listener that begins with it.
    SpokePlain,
    /// TLS on a listener that begins without.
    SpokeTls,
    /// The newest version that was offered: `TLS 1.0`.
    OldTls {
        offered: String,
    },
    /// No cipher in common: RSA or CBC only.
    OldCiphers,
    CertificateRefused,
    /// TLS began, and nothing was said.
    LeftAfterTls,
    TlsFailed {
        why: String,
    },
    Secured {
        version: String,
    },
    SignedIn {
        hello: String,
    },
    /// Recognised by its network address.
    Recognised {
        hello: String,
    },
    WrongPassword,
    PasswordEnded,
    TooManyTries,
    NoTls,
    NotSignedIn,
    UnknownAddress,
    /// Several devices claim the address.
    AmbiguousAddress,
    WrongNetwork,
    Paused,
    Expired,
    NoMailbox,
    SenderRefused {
        address: String,
    },
    /// Masked.
    RecipientRefused {
        address: String,
    },
    RecipientMalformed,
    TooManyRecipients {
        limit: usize,
    },
    TooLarge {
        limit: u64,
    },
    TooManyMessages {
        limit: i64,
    },
    Loop,
    HeaderTooLarge,
    Repaired {
        repairs: Vec<Repair>,
    },
    Queued {
        delivery: String,
    },
    SentBefore {
        delivery: String,
    },
    Asked {
        answer: String,
    },
    QueueFull,
    NotStored,
    Busy,
    /// No command, or no end of a message, in time.
    TimedOut {
        in_message: bool,
    },
    Broken {
        in_message: bool,
    },
    NotUnderstood,
    TooManyErrors,
}

impl RelayEvent {
    pub fn words(&self) -> String {
        match self {
            Self::SpokePlain => "connected without encryption to the port that begins with TLS".into(),
            Self::SpokeTls => "began with TLS on the port that begins without (STARTTLS)".into(),
            Self::OldTls { offered } => format!("offered {offered} only"),
            Self::OldCiphers => "offered no encryption in common, only old ciphers (RSA key exchange, CBC)".into(),
            Self::CertificateRefused => "does not trust the certificate".into(),
            Self::LeftAfterTls => {
                "disconnected when encryption began, as many devices do that don't trust the certificate".into()
            }
            Self::TlsFailed { why } => format!("encryption failed: {why}"),
            Self::Secured { version } => format!("encrypted with {version}"),
            Self::SignedIn { hello } if hello.is_empty() => "signed in".into(),
            Self::SignedIn { hello } => format!("signed in, calls itself {hello}"),
            Self::Recognised { hello } if hello.is_empty() => "recognised by its address".into(),
            Self::Recognised { hello } => format!("recognised by its address, calls itself {hello}"),
            Self::WrongPassword => "wrong user name or password".into(),
            Self::PasswordEnded => "signed in with a password that was withdrawn or has ended".into(),
            Self::TooManyTries => "too many wrong passwords: disconnected".into(),
            Self::NoTls => "tried to sign in without encryption".into(),
            Self::NotSignedIn => "tried to send without signing in".into(),
            Self::UnknownAddress => "connected without sign-in from an address that no device has".into(),
            Self::AmbiguousAddress => "connected without sign-in from an address that several devices have".into(),
            Self::WrongNetwork => "signed in from a network that isn't allowed".into(),
            Self::Paused => "refused: it is paused".into(),
            Self::Expired => "refused: it has expired".into(),
            Self::NoMailbox => "refused for now: its mailbox isn't connected".into(),
            Self::SenderRefused { address } => format!("refused: it may not send as {address}"),
            Self::RecipientRefused { address } => format!("refused: it may not write to {address}"),
            Self::RecipientMalformed => "refused: a recipient is no email address".into(),
            Self::TooManyRecipients { limit } => format!("more than {limit} recipients: the rest was refused"),
            Self::TooLarge { limit } => format!("refused: larger than {}", super::size_in_words(*limit)),
            Self::TooManyMessages { limit } => format!("refused for now: more than {limit} messages an hour"),
            Self::Loop => "refused: the message goes in a circle".into(),
            Self::HeaderTooLarge => "refused: the header is too large".into(),
            Self::Repaired { repairs } => repairs.iter().map(|repair| repair.words()).collect::<Vec<_>>().join("; "),
            Self::Queued { .. } => "queued".into(),
            Self::SentBefore { .. } => "sent the same message again after a lost answer: it is queued once".into(),
            Self::Asked { answer } => format!("Microsoft refused: {answer}"),
            Self::QueueFull => "refused for now: too many messages wait".into(),
            Self::NotStored => "refused for now: it couldn't be stored".into(),
            Self::Busy => "refused for now: too many connections".into(),
            Self::TimedOut { in_message: true } => "never ended its message (CR LF . CR LF)".into(),
            Self::TimedOut { in_message: false } => "said nothing for some minutes: disconnected".into(),
            Self::Broken { in_message: true } => "disconnected within a message".into(),
            Self::Broken { in_message: false } => "disconnected without a word".into(),
            Self::NotUnderstood => "sent something that is no command".into(),
            Self::TooManyErrors => "sent too many commands that are wrong or do nothing: disconnected".into(),
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::SpokePlain => {
                "Choose “SSL/TLS” (not “STARTTLS”, not “None”) in its mail settings for this port, or enter the other port."
            }
            Self::SpokeTls => {
                "Choose “STARTTLS” (some panels: “TLS”, “Auto”) for this port, or enter the port for SSL/TLS."
            }
            Self::OldTls { .. } => {
                "Look for newer firmware and switch TLS 1.2 on. If there is none, it can only use the port without encryption, from the local network: ask your Entrepost host."
            }
            Self::OldCiphers => {
                "Look for newer firmware; it needs ciphers with ECDHE and GCM. If there is none, it can only use the port without encryption, from the local network: ask your Entrepost host."
            }
            Self::CertificateRefused | Self::LeftAfterTls => {
                "Switch “verify certificate” off in it, or import the relay's certificate (your Entrepost host has it), or have your Entrepost host install one of a public authority."
            }
            Self::TlsFailed { .. } => {
                "Look for newer firmware, or choose the other kind of encryption in its mail settings."
            }
            Self::WrongPassword => {
                "Type the user name and the password again: 20 letters and digits, without blanks. If it's lost, make a new password."
            }
            Self::PasswordEnded => "Enter the new password into it.",
            Self::TooManyTries => "Enter the right password: it works right away.",
            Self::NoTls => "Switch encryption on in its mail settings: “STARTTLS” or “SSL/TLS”.",
            Self::NotSignedIn => {
                "Switch “SMTP authentication” on in its mail settings, and enter user name and password."
            }
            Self::UnknownAddress => {
                "Enter this address under “Allowed networks” of the device, and tick “Recognise it by its address”."
            }
            Self::AmbiguousAddress => "Give each device an address of its own, or let it sign in.",
            Self::WrongNetwork => "Add the address to “Allowed networks”, or look who uses its password.",
            Self::Paused => "Press Resume when it may send again.",
            Self::Expired => "Enter a later date under “Expires on”, or none.",
            Self::NoMailbox => {
                "Connect the mailbox: its owner opens User Account › Email and presses Configure & Test."
            }
            Self::SenderRefused { .. } => {
                "Enter the mailbox's address as the sender in its settings, or change the sender rule to “Rewrite”."
            }
            Self::RecipientRefused { .. } => "Change “Recipients allowed”, if it should write there.",
            Self::RecipientMalformed => "Correct the address in its address book.",
            Self::TooManyRecipients { .. } => {
                "Many programs drop the rest without a word: split the list, or use a group of Exchange."
            }
            Self::TooLarge { .. } => "Scan with a lower resolution, or in black and white; or send a link.",
            Self::TooManyMessages { .. } => {
                "Programs try again; most copiers don't: then scan again later. Raise the limit if that is its normal use."
            }
            Self::Loop => "Look for a rule that forwards mail back to its sender.",
            Self::QueueFull | Self::NotStored | Self::Busy => {
                "Programs try again; most copiers don't: then scan again. If it lasts, tell your Entrepost host."
            }
            Self::TimedOut { in_message: true } => {
                "Its network connection broke off, or its firmware ends messages wrongly: update it."
            }
            Self::NotUnderstood | Self::TooManyErrors => "Check that it is set to SMTP, and not to another protocol.",
            _ => return None,
        })
    }

    pub fn is_problem(&self) -> bool {
        !matches!(
            self,
            Self::Secured { .. }
                | Self::SignedIn { .. }
                | Self::Recognised { .. }
                | Self::Repaired { .. }
                | Self::Queued { .. }
                | Self::SentBefore { .. }
                | Self::Broken { in_message: false }
                | Self::TimedOut { in_message: false }
        )
    }

    pub fn delivery(&self) -> Option<&str> {
        match self {
            Self::Queued { delivery } | Self::SentBefore { delivery } => Some(delivery),
            _ => None,
        }
    }
}

/// The first letter of the local part, and the domain.
pub fn masked(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}…@{domain}", local.chars().next().unwrap_or('…')),
        None => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_masked() {
        assert_eq!(masked("jane.doe@school.example"), "j…@school.example");
        assert_eq!(masked("élan@x.example"), "é…@x.example");
        assert_eq!(masked("@x.example"), "……@x.example");
        assert_eq!(masked("nothing"), "…");
    }
}
