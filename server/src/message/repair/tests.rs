use app::model::{Repair, SenderRule, Timestamp};

use super::{Refusal, Repaired, Rules, repair};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const DATE: &str = "Date: Fri, 15 Jan 2027 08:00:00 +0000";

fn rules(rule: SenderRule) -> Rules<'static> {
    Rules {
        mailbox: "scan@school.example",
        aliases: &[],
        rule,
        display_name: "",
        mail_from: "",
        now: NOW,
        message_id: "<own@school.example>",
        keep_message_id: true,
        host: "mail.school.example",
        id: "Q1",
    }
}

fn rewritten(raw: &[u8]) -> Repaired {
    repair(raw, &rules(SenderRule::Rewrite)).unwrap()
}

fn text(raw: &[u8]) -> String {
    String::from_utf8(rewritten(raw).bytes).unwrap()
}

/// A field of what the parser reads, decoded.
fn field(bytes: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(bytes).unwrap().replace("\r\n ", " ");
    let head = text.split("\r\n\r\n").next().unwrap().to_owned();
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

#[test]
fn a_message_that_is_fine_only_gets_a_trace() {
    let raw = format!(
        "From: Scanner <scan@school.example>\r\nTo: \"Brook, Ann\" <ann@school.example>\r\n{DATE}\r\nMessage-ID: <1@scanner>\r\nSubject: folded\r\n  subject\r\nX-Odd :  kept \r\n\r\nline\r\n.\r\n"
    );
    let Repaired { bytes, message_id, repairs } = rewritten(raw.as_bytes());
    assert_eq!((message_id.as_str(), repairs), ("<1@scanner>", Vec::new()));
    let trace = "Received: by mail.school.example with ESMTP id Q1; Fri, 15 Jan 2027 08:00:00 +0000\r\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{trace}{}", raw.replace("X-Odd :", "X-Odd:")));
}

#[test]
fn an_unquoted_at_in_a_name_is_quoted() {
    for (from, expected) in [
        ("scan@school.example <scan@school.example>", "\"scan@school.example\" <scan@school.example>"),
        ("Scan Room. 2 <scan@school.example>", "\"Scan Room. 2\" <scan@school.example>"),
        ("scan@school.example", "scan@school.example"),
        ("Scanner scan@school.example", "Scanner <scan@school.example>"),
        ("\"Scanner\" <scan@school.example", "Scanner <scan@school.example>"),
        ("<SCAN@school.example>", "<SCAN@school.example>"),
        ("Kopierer S\u{fc}d <scan@school.example>", "=?utf-8?b?S29waWVyZXIgU8O8ZA==?= <scan@school.example>"),
    ] {
        let found = rewritten(format!("From: {from}\r\nTo: a@x.example\r\n\r\n.\r\n").as_bytes());
        assert_eq!(field(&found.bytes, "From").as_deref(), Some(expected), "{from}");
        assert!(!found.repairs.contains(&Repair::FromRewritten), "{from}");
    }
    // 8 bits without a charset.
    let found = rewritten(b"From: Kopierer S\xfcd <scan@school.example>\r\nTo: a@x.example\r\n\r\n.\r\n");
    assert!(field(&found.bytes, "From").unwrap().ends_with(" <scan@school.example>") && found.bytes.is_ascii());
}

#[test]
fn another_sender_is_rewritten_or_refused() {
    let raw = b"From: Jane Doe <jane@school.example>\r\nTo: a@x.example\r\nSender: x@y.example\r\n\r\n.\r\n";
    let found = rewritten(raw);
    assert_eq!(field(&found.bytes, "From").unwrap(), "Jane Doe <scan@school.example>");
    assert_eq!(field(&found.bytes, "Reply-To").unwrap(), "Jane Doe <jane@school.example>");
    assert_eq!(field(&found.bytes, "X-Original-From").unwrap(), "Jane Doe <jane@school.example>");
    assert_eq!(field(&found.bytes, "Sender"), None);
    assert!(found.repairs.contains(&Repair::FromRewritten));
    let refused = repair(raw, &rules(SenderRule::Refuse));
    assert_eq!(refused, Err(Refusal::Sender("jane@school.example".into())));
    // Of several, the first counts: the second cannot hide another sender.
    let two =
        b"From: scan@school.example, jane@school.example\r\nFrom: jane@school.example\r\nTo: a@x.example\r\n\r\n.\r\n";
    let found = repair(two, &rules(SenderRule::Refuse)).unwrap();
    let text = String::from_utf8(found.bytes).unwrap();
    assert!(!text.contains("jane@school.example"), "{text}");
    // An own answer address stays, and the display name of the settings wins.
    let raw = b"From: jane@school.example\r\nReply-To: office@school.example\r\nTo: a@x.example\r\n\r\n.\r\n";
    let found = repair(raw, &Rules { display_name: "Copier north", ..rules(SenderRule::Rewrite) }).unwrap();
    assert_eq!(field(&found.bytes, "From").unwrap(), "Copier north <scan@school.example>");
    assert_eq!(field(&found.bytes, "Reply-To").unwrap(), "office@school.example");
    // An alias that the mailbox may send as stays.
    let aliases = ["office@school.example".to_owned()];
    let found = repair(
        b"From: office@school.example\r\nTo: a@x.example\r\n\r\n.\r\n",
        &Rules { aliases: &aliases, ..rules(SenderRule::Refuse) },
    );
    assert_eq!(field(&found.unwrap().bytes, "From").unwrap(), "office@school.example");
}

#[test]
fn what_is_missing_is_added_and_what_is_private_goes() {
    let found = rewritten(b"Subject: scan\r\nBcc: secret@x.example\r\nReturn-Path: <x@y.example>\r\n\r\ntext");
    for (name, value) in [
        ("From", "scan@school.example"),
        ("To", "undisclosed-recipients:;"),
        ("Message-ID", "<own@school.example>"),
        ("Date", "Fri, 15 Jan 2027 08:00:00 +0000"),
    ] {
        assert_eq!(field(&found.bytes, name).as_deref(), Some(value));
    }
    let text = String::from_utf8(found.bytes).unwrap();
    assert!(!text.contains("secret@") && !text.contains("Return-Path") && text.ends_with("\r\n\r\ntext\r\n"), "{text}");
    for wrong in ["scanner", "<a b@c>", "<>", "<@>", "<a@b", "\u{fc}@x"] {
        let found = rewritten(format!("Message-ID: {wrong}\r\n\r\n.\r\n").as_bytes());
        assert_eq!(found.message_id, "<own@school.example>", "{wrong}");
    }
}

#[test]
fn a_clock_that_is_off_is_corrected() {
    for (date, kept) in [
        ("Fri, 15 Jan 2027 00:30:00 +0000", true),
        ("Sat, 16 Jan 2027 03:00:00 +0200", true),
        ("Thu, 1 Jan 1970 00:00:00 +0000", false),
        ("Mon, 18 Jan 2027 08:00:00 +0000", false),
        ("yesterday", false),
        ("", false),
    ] {
        let found = rewritten(format!("Date: {date}\r\n\r\n.\r\n").as_bytes());
        assert_eq!(field(&found.bytes, "Date").as_deref() == Some(date), kept, "{date}");
        assert_eq!(found.repairs.contains(&Repair::DateReplaced), !kept, "{date}");
    }
}

#[test]
fn recipients_without_domains_brackets_or_commas_are_repaired() {
    for (to, expected) in [
        ("office", "office@school.example"),
        ("a@x.example; b@x.example", "a@x.example, b@x.example"),
        ("a@x.example <a@x.example>", "\"a@x.example\" <a@x.example>"),
        ("Ann a@x.example", "Ann <a@x.example>"),
        ("Staff: a@x.example, b@x.example;", "Staff: a@x.example, b@x.example;"),
        ("undisclosed-recipients:;", "undisclosed-recipients:;"),
        ("\"a, b\" <a@x.example>", "\"a, b\" <a@x.example>"),
        ("=?utf-8?q?S=C3=BCd?= <a@x.example>", "=?utf-8?q?S=C3=BCd?= <a@x.example>"),
        (",,", "undisclosed-recipients:;"),
        ("<>", "undisclosed-recipients:;"),
        ("Żaneta <żaneta@x.example>", "=?utf-8?b?xbthbmV0YQ==?= <żaneta@x.example>"),
    ] {
        let found = rewritten(format!("From: scan@school.example\r\nTo: {to}\r\n\r\n.\r\n").as_bytes());
        assert_eq!(field(&found.bytes, "To").as_deref(), Some(expected), "{to}");
    }
}

#[test]
fn lines_end_with_both_letters_and_headers_are_ascii() {
    let found = rewritten(b"Subject: Gr\xfc\xdfe\nTo: a@x.example\n\none\rtwo\n.\nthr\0ee");
    let text = String::from_utf8(found.bytes.clone()).unwrap();
    assert!(text.ends_with("\r\n\r\none\r\ntwo\r\n.\r\nthree\r\n"), "{text}");
    assert!(text.is_ascii() && text.contains("Subject: =?utf-8?b?"), "{text}");
    for repair in [Repair::LineEnds, Repair::NulRemoved, Repair::HeaderEncoded] {
        assert!(found.repairs.contains(&repair), "{repair:?}");
    }
    assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
}

#[test]
fn a_line_that_is_no_field_ends_the_header() {
    let text = text(b"Subject: s\r\nThis is text\r\nTo: not@a.field\r\n");
    assert!(text.contains("To: undisclosed-recipients:;\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nThis is text\r\nTo: not@a.field\r\n"), "{text}");
}

#[test]
fn long_lines_and_8_bits_are_encoded_and_signed_parts_are_not() {
    let long = "ä".repeat(1_200);
    let found = rewritten(format!("Subject: s\r\n\r\n{long}\r\nshort=\r\n").as_bytes());
    let out = String::from_utf8(found.bytes.clone()).unwrap();
    let body = out.split("\r\n\r\n").nth(1).unwrap();
    assert!(out.is_ascii() && body.lines().all(|line| line.len() <= 76), "{out}");
    let read = mail_parser::MessageParser::default().parse(&found.bytes).unwrap();
    assert_eq!(read.body_text(0).unwrap().replace("\r\n", "\n"), format!("{long}\nshort=\n"));
    // Windows-1252 without a word about it.
    let found = rewritten(b"Subject: s\r\n\r\nGr\xfc\xdfe\r\n");
    let read = mail_parser::MessageParser::default().parse(&found.bytes).unwrap();
    assert_eq!(read.body_text(0).unwrap().trim(), "Grüße");
    // In parts: text becomes quoted-printable, a file base64, and what is fine stays.
    let raw = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--b\r\nContent-Type: text/plain\r\n\r\nfine\r\n--b--\r\n",
        "QUJD".repeat(500)
    );
    let found = rewritten(raw.as_bytes());
    let read = mail_parser::MessageParser::default().parse(&found.bytes).unwrap();
    assert_eq!(read.parts.len(), 4);
    assert_eq!(read.body_text(0).unwrap().trim(), "Grüße");
    assert_eq!(read.parts[2].contents(), "ABC".repeat(500).as_bytes());
    let out = String::from_utf8(found.bytes).unwrap();
    assert!(out.is_ascii() && out.lines().all(|line| line.len() <= 998));
    assert!(out.contains("--b\r\nContent-Type: text/plain\r\n\r\nfine\r\n--b--\r\n"), "{out}");
    let signed = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße {long}\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nsig\r\n--b--\r\n"
    );
    let found = rewritten(signed.as_bytes());
    assert!(String::from_utf8(found.bytes).unwrap().contains(&format!("Grüße {long}")));
}

/// Attached messages within attached messages, and very many parts: neither the stack nor the time has an end otherwise.
#[test]
fn what_is_nested_or_cut_up_beyond_measure_stays_as_it_is() {
    let started = std::time::Instant::now();
    for raw in [
        format!("{}\r\n\r\nü\r\n", "Content-Type: message/rfc822\r\n\r\n".repeat(300_000)),
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n", "--b\r\n\r\nü\r\n".repeat(300_000)),
        format!("Content-Type: multipart/digest; boundary=b\r\n\r\n{}ü\r\n", "--b\r\n\r\n".repeat(300_000)),
        "a:\r\n".repeat(2_000_000),
    ] {
        let _ = repair(raw.as_bytes(), &rules(SenderRule::Rewrite));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn circles_and_huge_headers_are_refused() {
    let raw = "Received: from x by y; z\r\n".repeat(51) + "\r\n.\r\n";
    assert_eq!(repair(raw.as_bytes(), &rules(SenderRule::Rewrite)), Err(Refusal::Loop));
    let raw = format!("X: {}\r\n\r\n.\r\n", "a".repeat(300_000));
    assert_eq!(repair(raw.as_bytes(), &rules(SenderRule::Rewrite)), Err(Refusal::HeaderTooLarge));
}

/// Bytes that nobody chose: never a panic, and always one message that a server takes.
#[test]
fn anything_becomes_a_message() {
    use rand::{Rng, SeedableRng};
    let pieces: [&[u8]; 24] = [
        b"From: ",
        b"To: ",
        b"Subject: ",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\xff\xfe",
        b"<",
        b">",
        b"@",
        b"\"",
        b",",
        b";",
        b":",
        b" ",
        b"=?utf-8?q?",
        b"?=",
        b"scan@school.example",
        b"(",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"--b--",
        b"Message-ID: <a@b>",
    ];
    let mut random = rand::rngs::StdRng::seed_from_u64(14);
    for _ in 0..3_000 {
        let mut raw = Vec::new();
        for _ in 0..random.random_range(0..60) {
            if random.random_bool(0.02) {
                raw.extend(std::iter::repeat_n(b'x', random.random_range(0..2_000)));
            }
            raw.extend_from_slice(pieces[random.random_range(0..pieces.len())]);
        }
        let Ok(found) = repair(&raw, &rules(SenderRule::Rewrite)) else { continue };
        let shown = || String::from_utf8_lossy(&raw).into_owned();
        let end = found.bytes.windows(4).position(|part| part == b"\r\n\r\n").expect("a header");
        let head = &found.bytes[..end];
        // Other letters only in addresses, as UTF-8.
        assert!(std::str::from_utf8(head).is_ok(), "{}", shown());
        let text = String::from_utf8_lossy(&found.bytes).replace("\r\n", "");
        assert!(!text.contains(['\r', '\n', '\0']), "{}", shown());
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        for name in ["from:", "date:", "message-id:", "received:"] {
            let count = head.split("\r\n").filter(|line| line.starts_with(name)).count();
            assert!(count == 1 || (name == "received:" && count > 1), "{name} {count}: {}", shown());
        }
        let from = mail_parser::MessageParser::default().parse(&found.bytes).unwrap();
        let from =
            from.from().and_then(|from| from.first()).and_then(|from| from.address.as_deref()).unwrap_or_default();
        assert!(from.eq_ignore_ascii_case("scan@school.example"), "{from}: {}", shown());
    }
}
