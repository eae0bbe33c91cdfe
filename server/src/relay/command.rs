//! Commands, as devices write them. smtp-proto parses; what it refuses and devices send is put right before.

use smtp_proto::Request;

/// Longest command, in bytes; RFC 5321, 4.5.3.1.4, asks for 512.
pub const MOST_COMMAND: usize = 4_096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Hello {
        extended: bool,
        name: String,
    },
    StartTls,
    /// Mechanism in capitals, and the initial response.
    Auth {
        mechanism: String,
        initial: Option<String>,
    },
    /// Address as it was said, and SIZE.
    Mail {
        from: String,
        size: u64,
    },
    Recipient {
        to: String,
    },
    Data,
    Reset,
    Noop,
    Verify,
    Help,
    Quit,
    NotImplemented,
    Unknown,
    /// The words of a known command are wrong.
    Malformed,
}

/// A line without its end.
pub fn parse(line: &[u8]) -> Command {
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    match verb.to_ascii_uppercase().as_str() {
        // Names without brackets, with underscores or blanks, or none at all.
        "EHLO" | "LHLO" => Command::Hello { extended: true, name: name(rest) },
        "HELO" => Command::Hello { extended: false, name: name(rest) },
        "AUTH" => {
            let (mechanism, initial) = rest.split_once([' ', '\t']).map_or((rest, None), |(m, i)| (m, Some(i.trim())));
            // An unknown mechanism is no syntax error.
            Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial: initial.map(ToOwned::to_owned) }
        }
        "MAIL" => path(rest, "FROM").map_or(Command::Malformed, |(path, rest)| mail(&path, &rest)),
        "RCPT" => path(rest, "TO").map_or(Command::Malformed, |(path, _)| recipient(&path)),
        "TURN" | "ETRN" | "ATRN" | "EXPN" | "BDAT" | "BURL" | "SEND" | "SOML" | "SAML" => Command::NotImplemented,
        _ => match Request::parse(&mut format!("{line}\r\n").as_bytes().iter()) {
            Ok(Request::StartTls) => Command::StartTls,
            Ok(Request::Data) => Command::Data,
            Ok(Request::Rset) => Command::Reset,
            Ok(Request::Noop { .. }) => Command::Noop,
            Ok(Request::Quit) => Command::Quit,
            Ok(Request::Vrfy { .. }) => Command::Verify,
            Ok(Request::Help { .. }) => Command::Help,
            Ok(_) | Err(smtp_proto::Error::UnknownCommand) => Command::Unknown,
            Err(_) => Command::Malformed,
        },
    }
}

fn name(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// The address of `FROM:<a@b> SIZE=1`, without brackets, and what follows. Blanks and missing brackets are put up with.
fn path(text: &str, word: &str) -> Option<(String, String)> {
    let (found, rest) = text.split_once(':')?;
    if !found.trim().eq_ignore_ascii_case(word) {
        return None;
    }
    let rest = rest.trim_start();
    let (path, rest) = match rest.strip_prefix('<') {
        Some(inner) => {
            // A quoted local part may contain a bracket.
            let mut quoted = false;
            let end = inner.char_indices().find(|(_, c)| {
                quoted ^= *c == '"';
                *c == '>' && !quoted
            });
            let (end, _) = end?;
            (inner[..end].trim(), &inner[end + 1..])
        }
        None => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
    };
    Some((path.to_owned(), rest.trim().to_owned()))
}

/// Unknown parameters (`NOTIFY=`, `RET=`, `AUTH=`) are passed over: devices cannot cope with a refusal.
fn mail(path: &str, parameters: &str) -> Command {
    let size = parameters
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .find_map(|(name, value)| name.eq_ignore_ascii_case("SIZE").then(|| value.parse().unwrap_or(u64::MAX)));
    let from = if path.is_empty() { Some(String::new()) } else { address(path) };
    match from {
        Some(from) => Command::Mail { from, size: size.unwrap_or_default() },
        None => Command::Malformed,
    }
}

fn recipient(path: &str) -> Command {
    match address(path) {
        Some(to) if !to.is_empty() => Command::Recipient { to },
        _ => Command::Malformed,
    }
}

/// An address without source route; one without a domain is left to the caller.
fn address(path: &str) -> Option<String> {
    let whole = if path.contains('@') { path.to_owned() } else { format!("{path}@x.example") };
    match Request::parse(&mut format!("RCPT TO:<{whole}>\r\n").as_bytes().iter()) {
        Ok(Request::Rcpt { to }) => {
            let address = to.address.into_owned();
            Some(if path.contains('@') { address } else { path.to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_devices_write_them() {
        let hello = |extended, name: &str| Command::Hello { extended, name: name.into() };
        let mail = |from: &str, size| Command::Mail { from: from.into(), size };
        let to = |to: &str| Command::Recipient { to: to.into() };
        for (line, expected) in [
            ("EHLO scanner.local", hello(true, "scanner.local")),
            ("EHLO", hello(true, "")),
            ("HELO 192.168.1.5", hello(false, "192.168.1.5")),
            ("helo my_scanner 2nd floor ", hello(false, "my_scanner 2nd floor")),
            ("MAIL FROM:<a@b.example>", mail("a@b.example", 0)),
            ("mail from: a@b.example", mail("a@b.example", 0)),
            ("MAIL FROM: <a@b.example> SIZE=1234 BODY=8BITMIME RET=HDRS ENVID=x AUTH=<>", mail("a@b.example", 1234)),
            ("MAIL FROM :<>", mail("", 0)),
            ("MAIL FROM:<scanner>", mail("scanner", 0)),
            ("RCPT TO:<a@b.example> NOTIFY=NEVER ORCPT=rfc822;a@b.example", to("a@b.example")),
            ("RCPT TO:a@b.example", to("a@b.example")),
            ("rcpt to: <a@b.example>", to("a@b.example")),
            ("RCPT TO:<@relay.example:a@b.example>", to("a@b.example")),
            ("RCPT TO:<office>", to("office")),
            ("RCPT TO:<żaneta@b.example>", to("żaneta@b.example")),
            ("MAIL FROM:<żaneta@b.example> SMTPUTF8", mail("żaneta@b.example", 0)),
            ("DATA", Command::Data),
            ("data ", Command::Data),
            ("STARTTLS", Command::StartTls),
            ("RSET", Command::Reset),
            ("NOOP x", Command::Noop),
            ("QUIT", Command::Quit),
            ("VRFY x", Command::Verify),
            ("EXPN x", Command::NotImplemented),
            ("HELP", Command::Help),
            ("AUTH plain AGEAYg==", Command::Auth { mechanism: "PLAIN".into(), initial: Some("AGEAYg==".into()) }),
            ("AUTH LOGIN", Command::Auth { mechanism: "LOGIN".into(), initial: None }),
            ("GET / HTTP/1.1", Command::Unknown),
            ("\u{0}\u{1}", Command::Unknown),
            ("MAIL", Command::Malformed),
            ("MAIL FROM", Command::Malformed),
            ("MAIL TO:<a@b.example>", Command::Malformed),
            ("RCPT TO:<>", Command::Malformed),
            ("RCPT TO:<a@b.example", Command::Malformed),
            ("RCPT TO:<a b@c.example>", Command::Malformed),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }
}
