//! Real-world messages and what must be shown of each. The messages are in `messages/`.

use app::model::{EventTime, InvitationKind, Protection, TextPiece, Timestamp};
use server::message::{self, ParsedMessage, header};

fn raw(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/messages/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // SMTP uses CRLF.
    let mut wire = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line {
            [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => {
                wire.extend_from_slice(text);
                wire.extend_from_slice(b"\r\n");
            }
            text => wire.extend_from_slice(text),
        }
    }
    wire
}

fn opened(name: &str) -> ParsedMessage {
    message::parse(&raw(name), false)
}

fn shown(name: &str) -> String {
    let document = message::document(&opened(name), false);
    document.split_once("<body>").unwrap().1.to_owned()
}

fn parsed(text: &str) -> ParsedMessage {
    message::parse(text.replace('\n', "\r\n").as_bytes(), false)
}

fn body_of(message: &ParsedMessage) -> String {
    let document = message::document(message, false);
    document.split_once("<body>").unwrap().1.to_owned()
}

#[test]
fn chinese_japanese_and_korean_are_read_in_list_subject_sender_body_and_file_name() {
    let chinese = opened("12-gb2312");
    assert_eq!(chinese.subject, "家长会通知");
    assert_eq!(chinese.from[0].name, "家长会");
    assert!(chinese.text.unwrap().starts_with("各位家长："));
    let listed = header::summary(&raw("12-gb2312"));
    assert_eq!((listed.from.as_str(), listed.subject.as_str()), ("家长会", "家长会通知"));
    for (charset, text) in [
        ("big5", "課程表"),
        ("euc-kr", "시간표"),
        ("shift_jis", "時間割"),
        ("euc-jp", "時間割"),
        ("gb18030", "课程表"),
        ("windows-1251", "Расписание"),
        ("iso-8859-8-i", "שלום"),
        ("windows-874", "ตาราง"),
    ] {
        let bytes = encoding_rs::Encoding::for_label(charset.as_bytes()).unwrap().encode(text).0.into_owned();
        let word: String = bytes.iter().map(|byte| format!("={byte:02X}")).collect();
        let percent = word.replace('=', "%");
        let wire = [
            format!("From: =?{charset}?Q?{word}?= <a@x.example>\r\nSubject: =?{charset}?q?{word}?=\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: text/plain; charset=\"{charset}\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n").as_bytes(),
            &bytes,
            format!("\r\n--m\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename*={charset}''{percent}.pdf\r\n\r\nx\r\n--m\r\nContent-Type: application/pdf; name=\"=?{charset}?Q?{word}?=.pdf\"\r\n\r\nx\r\n--m--\r\n").as_bytes(),
        ]
        .concat();
        let message = message::parse(&wire, false);
        assert_eq!(message.subject, text, "{charset}");
        assert_eq!(message.from[0].name, text, "{charset}");
        assert_eq!(message.text.as_deref().map(str::trim), Some(text), "{charset}");
        for part in &message.parts {
            assert_eq!(part.name, format!("{text}.pdf"), "{charset}");
        }
        assert_eq!(header::summary(&wire).subject, text, "{charset}");
    }
}

#[test]
fn text_in_eight_bits_is_guessed_where_its_charset_is_missing_unknown_or_wrong() {
    for (kind, bytes, text) in [
        ("", &b"Gr\xfc\xdfe"[..], "Grüße"),
        ("Content-Type: text/plain; charset=nothing\r\n", b"Gr\xfc\xdfe", "Grüße"),
        ("Content-Type: text/plain; charset=utf-8\r\n", b"Gr\xfc\xdfe", "Grüße"),
        ("Content-Type: text/plain; charset=us-ascii\r\n", "Grüße".as_bytes(), "Grüße"),
        ("Content-Type: text/plain; charset=iso-8859-1\r\n", "Grüße".as_bytes(), "Grüße"),
        ("", b"\x1b$B;~4V3d\x1b(B", "時間割"),
    ] {
        let wire =
            [b"Subject: Gr\xfc\xdfe\r\nFrom: J\xfcrgen <j@x.example>\r\n", kind.as_bytes(), b"\r\n", bytes].concat();
        let message = message::parse(&wire, false);
        assert_eq!(message.text.as_deref().map(str::trim), Some(text), "{kind}");
        assert_eq!((message.subject.as_str(), message.from[0].name.as_str()), ("Grüße", "Jürgen"));
    }
    let html =
        [&b"Content-Type: text/html\r\n\r\n<meta charset=koi8-r><p>"[..], &encoding_rs::KOI8_R.encode("Расписание").0]
            .concat();
    assert!(message::parse(&html, false).html.unwrap().contains("Расписание"));
}

#[test]
fn letters_that_are_split_between_encoded_words_are_whole() {
    let split = opened("04-subject-split-char");
    assert_eq!(split.subject, "Kviečiame į mokyklos šventę „Žiemos žiburėliai“ šeštadienį");

    assert!(split.from[0].name.starts_with("Živilė") && !split.from[0].name.contains('\u{fffd}'), "{:?}", split.from);
    let listed = header::summary(&raw("04-subject-split-char"));
    assert_eq!((listed.from, listed.subject), (split.from[0].name.clone(), split.subject));
    let named = parsed("Content-Type: application/pdf; name=\"=?utf-8?B?R3LDvMM=?=\n =?utf-8?B?n2UucGRm?=\"\n\nx");
    assert_eq!(named.parts[0].name, "Grüße.pdf");
    let recipients = parsed("To: =?utf-8?Q?M=C3?= =?utf-8?Q?=BCller=2C_Ann?= <a@x.example>, b@x.example\n\nx");
    assert_eq!(recipients.to.len(), 2);
    assert_eq!(recipients.to[0].name, "Müller, Ann");
}

#[test]
fn colour_and_ground_stay_together() {
    let body = shown("01-background-shorthand");
    assert_eq!(body.matches("background-color:#14213d").count(), 2, "{body}");
    assert!(body.contains("background-color:#0a7d32") && body.contains("Plain words below."), "{body}");
    assert!(!body.contains("url("), "{body}");
    for html in [
        "<body style=\"background-color:#123;color:#fff\"><p>Words</p>",
        "<body bgcolor=\"#112233\" text=\"#ffffff\"><p>Words</p>",
        "<html><head><style>BODY{BACKGROUND:#123 URL(a.png)} p{Color:WHITE}</style></head><body><p>Words</p>",
        "<style>.dark{background:#123}.dark td{color:#fff}</style><table class=dark><tr><td>Words</td></tr></table>",
        "<style>td.h{background:#123 url(x) no-repeat;color:#fff}</style><table><tr><td class=h>Words</td></tr></table>",
        "<table><tr><td background=\"https://x.example/b.png\"><font color=\"#ffffff\">Words</font></td></tr></table>",
        "<div style=\"background:url('https://x.example/b.png');color:white\">Words</div>",
        "<div style=\"background-image:url(cid:none);color:#FFF\"><p>Words</p></div>",
    ] {
        let body = body_of(&parsed(&format!("Content-Type: text/html\n\n{html}")));
        let dark =
            ["#123", "#112233", "#333c4a"].iter().any(|ground| body.contains(&format!("background-color:{ground}")));
        let bg = body.to_lowercase().contains("bgcolor=\"#112233\"");
        assert!((dark || bg) && body.contains("Words"), "{html}: {body}");
        assert!(!body.to_lowercase().contains("url("), "{html}: {body}");
    }
}

#[test]
fn style_sheets_count_and_are_harmless() {
    let body = shown("05-outlook-msonormal");
    assert!(body.contains("margin:0cm") && body.contains("Dear colleagues,"), "{body}");
    assert!(!body.contains("<style") && !body.contains("MsoNormal {"), "{body}");
    let hidden = body_of(&parsed(
        "Content-Type: text/html\n\n<style>.preheader{display:none !important}</style><span class=preheader>Hidden</span><p>Seen</p>",
    ));
    assert!(hidden.contains("display:none"), "{hidden}");
    for css in [
        "@import url(https://x.example/a.css);p{color:red}",
        "p{background:url(https://x.example/a)}",
        "@font-face{font-family:x;src:url(https://x.example/a)}p{color:red}",
        "p::before{content:url(https://x.example/a)}",
        "p{position:fixed;inset:0;color:red}",
        "a[href^=\"https\"]{background:url(https://x.example/a)}",
        "</style><script>alert(1)</script>",
        "p{color:red}</style ><img src=x onerror=alert(1)>",
        "@media all{p{background:url(https://x.example/a)}}",
        "@charset \"utf-7\";p{color:red}",
    ] {
        let html = format!("<link rel=stylesheet href=https://x.example/b.css><style>{css}</style><p>Words</p>");
        let body = body_of(&parsed(&format!("Content-Type: text/html\n\n{html}")));
        for part in ["x.example", "url(", "<script", "onerror", "position", "@import", "<style", "<link"] {
            assert!(!body.contains(part), "{css} left {part}: {body}");
        }
        assert!(body.contains("Words"), "{css}: {body}");
    }
}

#[test]
fn style_sheets_that_are_made_to_be_slow_take_no_long_time() {
    let started = std::time::Instant::now();
    let many = |css: String, html: &str| format!("Content-Type: text/html\r\n\r\n<style>{css}</style>{html}");
    let deep = ":not(".repeat(20_000) + "p" + &")".repeat(20_000) + "{color:red}";
    let rules: String = (0..20_000).map(|at| format!("p.c{at}{{color:red}}")).collect();
    let everything = format!("*{{{}}}", "color:red;".repeat(5_000));
    let siblings = "p~p~p~p~p~p~p~p{color:red}".repeat(50);
    for (css, html) in [
        (deep, "<p>x</p>".repeat(10)),
        (rules, "<p class=c1>x</p>".repeat(5_000)),
        (everything, "<p>x</p>".repeat(6_000)),
        (siblings, "<p>x</p>".repeat(3_000)),
        ("{".repeat(200_000), "<p>x</p>".to_owned()),
        ("p{".repeat(60_000), "<p>x</p>".to_owned()),
        ("<style>".repeat(2_000), "<p>x</p>".to_owned()),
    ] {
        let begun = std::time::Instant::now();
        let body = message::document(&message::parse(many(css.clone(), &html).as_bytes(), false), false);
        assert!(body.len() < 40_000_000);
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?} {}", begun.elapsed(), &css[..20]);
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn pictures_are_what_their_bytes_say() {
    assert!(shown("02-data-uri").contains("src=\"data:image/png;base64,iVBOR"));
    assert!(shown("09-cid-octet-stream").contains("src=\"data:image/png;base64,iVBOR"));
    let listed = |message: &ParsedMessage| message.parts.iter().filter(|part| !part.shown).count();
    assert_eq!(listed(&opened("09-cid-octet-stream")), 0, "it is shown, and not listed beside");
    for hostile in [
        "<img src=\"data:image/svg+xml,<svg onload=alert(1)>\">",
        "<img src=\"data:image/png;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+\">",
        "<img src=\"data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==\">",
    ] {
        let body = body_of(&parsed(&format!("Content-Type: text/html\n\n<p>Words</p>{hostile}")));
        assert!(!body.contains("data:"), "{body}");
    }
    let svg = "Content-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<img src=cid:a>Words\n--r\nContent-Type: image/png\nContent-ID: <a>\n\n<svg onload=alert(1)>\n--r--\n";
    let message = parsed(svg);
    assert!(!body_of(&message).contains("data:"));
    assert_eq!(listed(&message), 1, "what is not shown can be downloaded");
}

#[test]
fn direction_is_kept_and_what_turns_it_is_shown() {
    let body = shown("06-hebrew-body-rtl");
    assert!(body.starts_with("<div dir=\"rtl\""), "{body}");
    assert!(body_of(&parsed("Content-Type: text/html\n\n<p>Words")).starts_with("<div dir=\"auto\""));
    assert!(body_of(&parsed("Content-Type: text/html\n\n<p dir=RTL>Words")).contains("<p dir=\"rtl\""));
    let turned = "From: \u{202e}nnA <a@x.example>\nSubject: Invoice \u{202e}fdp.exe\nContent-Type: application/octet-stream; name=\"=?utf-8?q?Invoice_=E2=80=AEfdp.exe?=\"\n\nx";
    let message = parsed(turned);
    assert_eq!(message.subject, "Invoice [U+202E]fdp.exe");
    assert_eq!(message.from[0].name, "[U+202E]nnA");
    assert_eq!(message.parts[0].name, "Invoice _fdp.exe");
    assert_eq!(header::summary(turned.replace('\n', "\r\n").as_bytes()).subject, "Invoice [U+202E]fdp.exe");
}

#[test]
fn the_first_thing_that_can_be_read_is_shown() {
    assert!(opened("20-no-parts").text.unwrap().contains("2. Trip: in May."));
    let footer = opened("21-base64-body-footer");
    assert!(footer.html.as_deref().unwrap().contains("<b>3 March</b>"), "{footer:?}");
    assert!(!footer.html.unwrap().contains('\u{fffd}'));
    for (wire, text) in [
        (
            "Content-Type: text/plain; name=letter.txt\nContent-Disposition: attachment; filename=letter.txt\n\nWords",
            "Words",
        ),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nV29yZ!HM=", "Words"),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nWords =ZZ =", "Words"),
        ("Content-Type: text\n\nWords", "Words"),
        ("Content-Type: multipart/mixed\n\nWords", "Words"),
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; name=a.txt\n\nWords\n--b--",
            "Words",
        ),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nWords\n", "Words"),
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\nWords\n--b--",
            "Words",
        ),
        (
            "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\n\n--b\nContent-Type: text/html\n\n<p>Words</p>\n--b--",
            "Words",
        ),
        (
            "Content-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: text/plain\n\nWords\n--b\nContent-Type: application/pgp-signature\n\nx\n--b--",
            "Words",
        ),
        ("MIME-Version: 1.0\n\nWords", "Words"),
    ] {
        let message = parsed(wire);
        let read = message.text.clone().unwrap_or_default() + message.html.as_deref().unwrap_or_default();
        assert!(read.contains(text), "{wire}: {message:?}");
    }
    let empty = parsed("Content-Type: text/html\n\n<html><body></body></html>");
    assert!(!body_of(&empty).contains("undefined"));
}

fn bytes(name: &str) -> (Vec<u8>, bool) {
    let raw = raw(name);
    let message = message::parse(&raw, false);
    let part = &message.parts[0];
    (message::bytes_of(&raw, part), part.damaged)
}

#[test]
fn attachments_are_decoded_to_the_last_byte() {
    for name in ["22-base64-pieces", "23-base64-stray"] {
        let (file, damaged) = bytes(name);
        assert!(file.starts_with(b"%PDF-1.4\n") && file.ends_with(b"\n%%EOF\n"), "{name}: {}", file.len());
        assert!(!damaged, "{name}");
    }
    let (pieces, stray) = (bytes("22-base64-pieces").0, bytes("23-base64-stray").0);
    assert_eq!(pieces.len(), stray.len());
    let lost = parsed("Content-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\nQUJDR\n");
    assert!(lost.parts[0].damaged, "a byte is lost, and the page says so");
}

#[test]
fn what_stands_in_the_text_is_known_for_forwarding() {
    let scan = opened("03-inline-cid-forward");
    assert_eq!((scan.pictures.len(), scan.parts.len()), (1, 1));
    assert!(scan.parts[0].shown && scan.parts[0].name == "scan.png");
    assert!(message::html_text(scan.html.as_deref().unwrap()).contains("Please pass it on."));
}

#[test]
fn long_names_keep_their_ending() {
    let name = &opened("25-long-name").parts[0].name;
    assert!(name.starts_with("Protokoll der Gesamtkonferenz") && name.contains("….pdf"), "{name}");
    assert!(name.chars().count() <= 150, "{name}");
    let cut = parsed("Content-Type: application/pdf; name=\"Zeugnis 7/8 \\\\ 2026.pdf\"\n\nx");
    assert_eq!(cut.parts[0].name, "Zeugnis 7_8 _ 2026.pdf");
    let blanks =
        parsed("Content-Type: application/pdf\nContent-Disposition: attachment; filename=Plan of the year.pdf\n\nx");
    assert_eq!(blanks.parts[0].name, "Plan of the year.pdf");
}

#[test]
fn invitations_signed_and_encrypted_mail_say_what_they_are() {
    let invited = opened("26-calendar-only").invitation.unwrap();
    assert_eq!((invited.kind, invited.summary.as_str()), (InvitationKind::Request, "Budget talk"));
    assert_eq!(invited.start, Some(EventTime::Instant(Timestamp(1_796_133_600_000))));
    assert_eq!((invited.location.as_str(), invited.organizer.as_str()), ("Room 12", "ada@example.org"));
    assert_eq!(invited.links, ["https://meet.example.org/budget"]);
    let signed = opened("27-smime-opaque");
    assert_eq!(signed.protection, Some(Protection::Signed));
    assert_eq!(signed.text.as_deref().map(str::trim), Some("The exam dates are confirmed: 4 and 5 May."));
    for wire in [
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nMIIBAAYJKoZIhvcNAQcDoIHyMIHvAgEA\n",
        "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\n\n--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--b\nContent-Type: application/octet-stream\n\n-----BEGIN PGP MESSAGE-----\n--b--\n",
    ] {
        assert_eq!(parsed(wire).protection, Some(Protection::Encrypted), "{wire}");
    }
    let beside = parsed(
        "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\nWords\n--b\nContent-Type: text/calendar; method=CANCEL\n\nBEGIN:VCALENDAR\nMETHOD:CANCEL\nBEGIN:VEVENT\nSUMMARY:Trip\nDTSTART;VALUE=DATE:20260501\nEND:VEVENT\nEND:VCALENDAR\n--b--\n",
    );
    assert_eq!(beside.text.as_deref().map(str::trim), Some("Words"));
    let invitation = beside.invitation.unwrap();
    assert_eq!(
        (invitation.kind, invitation.start),
        (InvitationKind::Cancelled, Some(EventTime::Day("1 May 2026".into())))
    );
}

#[test]
fn plain_text_flows_and_has_links() {
    let text = opened("44-flowed").text.unwrap();
    assert!(text.contains("only broken for the wire, so a narrow window should flow it again: it is soft broken here and there until its end."), "{text}");
    assert!(text.contains("> Somebody asked this question which is also broken softly in two."), "{text}");
    let links: Vec<String> = message::pieces(&text)
        .into_iter()
        .filter_map(|piece| match piece {
            TextPiece::Link { href, .. } => Some(href),
            TextPiece::Words(_) => None,
        })
        .collect();
    assert_eq!(links, ["https://example.org/confirm?token=abc.def&x=(1)", "mailto:help@example.org"]);
}

#[test]
fn answers_go_to_addresses() {
    let named = opened("41-reply-to-name");
    assert_eq!(named.reply_to[0].address, "", "a name is no address");
    assert_eq!(named.from[0].address, "ada@example.org");
    let both = parsed("From: Ann <ann@x.example>, Bo <bo@x.example>\n\nx");
    assert_eq!(both.from.len(), 2);
    assert_eq!(header::summary(b"From: Ann <ann@x.example>, Bo <bo@x.example>\r\n\r\n").from, "Ann, Bo");
}

#[test]
fn messages_within_messages_have_their_subject_as_name_and_open_in_place() {
    let wire = "Subject: Fwd\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nSee below.\n--b\nContent-Type: message/rfc822\n\n\
        From: Ann <ann@x.example>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nInner words\n\
        --c\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\nQUJD\n--c--\n--b--\n";
    let wire = wire.replace('\n', "\r\n");
    let message = message::parse(wire.as_bytes(), false);
    assert_eq!(message.parts[0].name, "Grüße.eml");
    let nested = &message.nested[0];
    assert_eq!((nested.subject.as_str(), nested.from[0].name.as_str()), ("Grüße", "Ann"));
    assert_eq!(nested.text.as_deref().map(str::trim), Some("Inner words"));
    assert_eq!(message::bytes_of(wire.as_bytes(), &nested.parts[0]), b"ABC", "its attachments are found in the whole");
    let scan = parsed(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/octet-stream; name=scan.png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgoAAAANSUhEUg==\n--b--",
    );
    assert!(body_of(&scan).contains("<img src=\"data:image/png"), "the picture is the message: {}", body_of(&scan));
    assert_eq!(scan.parts.len(), 1, "and it can be downloaded");
}

#[test]
fn nothing_of_the_corpus_runs_loads_or_escapes() {
    let mut count = 0;
    for file in std::fs::read_dir(format!("{}/tests/messages", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let raw = std::fs::read(file.unwrap().path()).unwrap();
        count += 1;
        for remote in [false, true] {
            let body = message::document(&message::parse(&raw, false), remote).to_lowercase();
            let body = body.split_once("<body>").unwrap().1;
            for part in ["<script", "url(", "javascript:", "<iframe", "<style", "<link", "position:", "expression("] {
                assert!(!body.contains(part), "{part}: {body}");
            }
            assert!(remote || !body.contains("src=\"http"), "{body}");
        }
        // Truncation anywhere must not fail.
        for cut in (0..raw.len()).step_by(97) {
            let _ = message::document(&message::parse(&raw[..cut], true), false);
        }
    }
    assert!(count >= 18, "{count} messages");
}

/// Messages broken by gateways, scanners and careless programs stay readable.
#[test]
fn sloppy_messages_are_read() {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let text = |raw: &str| parsed(raw).text.unwrap_or_default().trim().to_owned();
    // Content types and encodings without semicolons, with comments, or wrong.
    let html = body_of(&parsed("Content-Type: text/html charset=utf-8\n\n<p>Hello <b>you</b></p>\n"));
    assert!(html.contains("<b>you</b>"), "{html}");
    for encoding in ["base64 (x)", "base64;", "\"base64\"", " BASE64 "] {
        let raw = format!("Content-Type: text/plain\nContent-Transfer-Encoding: {encoding}\n\nSGVsbG8=\n");
        assert_eq!(text(&raw), "Hello", "{encoding}");
    }
    let partless =
        body_of(&parsed("Content-Type: multipart/mixed; boundary=x\n\n<!DOCTYPE html><p>Hello <b>you</b></p>\n"));
    assert!(partless.contains("<b>you</b>"), "{partless}");
    // Base64 with a blank line before it, lines of 77, text after it.
    let words = "Grüße aus Köln, und noch viel mehr Worte, damit es mehrere Zeilen sind. ".repeat(4);
    let encoded = BASE64_STANDARD.encode(&words);
    let lines = |size: usize| {
        encoded.as_bytes().chunks(size).map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>()
    };
    let head = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n";
    for body in [
        format!("\n{}\n", lines(77).join("\n")),
        format!("\n{}\n", lines(77).join("\n\n")),
        format!("{}\nChecked by AVG\n", lines(76).join("\n")),
        format!("{}\n\nDisclaimer: confidential.\n", lines(76).join("\n")),
    ] {
        assert_eq!(text(&format!("{head}{body}")), words.trim(), "{body}");
    }
    for footer in ["Checked by AVG", "Virus free.", "\nDisclaimer"] {
        assert_eq!(text(&format!("{head}{}\n{footer}\n", BASE64_STANDARD.encode("Grüße"))), "Grüße", "{footer}");
    }
    // A replaced character shifts the rest: a note says so.
    let broken = format!(
        "Content-Type: application/zip; name=a.zip\nContent-Transfer-Encoding: base64\n\n{}\n",
        encoded.replacen('R', "*", 1)
    );
    assert!(parsed(&broken).parts[0].damaged);
    // The alternative with content is shown.
    let empty = "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\nWords\n--b\nContent-Type: text/html\n\n<html><body></body></html>\n--b--\n";
    assert_eq!((text(empty).as_str(), parsed(empty).html), ("Words", None));
    // A named inline text is shown; a text attachment only if there is no other text.
    let inline = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: inline; filename=letter.txt\n\nDear all\n--b\nContent-Type: text/plain\n\nlist footer\n--b--\n";
    assert!(text(inline).starts_with("Dear all") && text(inline).contains("list footer"), "{}", text(inline));
    assert_eq!(parsed(inline).parts.len(), 1);
    assert_eq!(
        parsed("Content-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment; filename=\"\"\n\nx\n")
            .parts[0]
            .name,
        "a.pdf"
    );
}

#[test]
fn names_and_subjects_are_read_as_they_come() {
    let raw = |bytes: &[u8]| message::parse(bytes, false);
    let message = raw(b"From: =?iso-8859-1?Q?Andr=E9?= <a@x.example>\r\nSubject: =?iso-2022-jp?B?GyRCO340VjNkGyhC?=\r\n =?iso-2022-jp?B?GyRCO340VjNkGyhC?=\r\n\r\nx");
    assert_eq!((message.from[0].name.as_str(), message.subject.as_str()), ("André", "時間割時間割"));
    let message = raw(b"X-Note: caf\xe9\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nx");
    assert_eq!(message.subject, "Grüße");
    let message = raw(b"Content-Type: text/plain; charset=gb2312\r\nSubject: \xbc\xd2\xb3\xa4\xbb\xe1\r\n\r\n\xbc\xd2\xb3\xa4\xbb\xe1");
    assert_eq!((message.subject.as_str(), message.text.as_deref()), ("家长会", Some("家长会")));
}

/// Print and handheld rules hide nothing; hidden text stays hidden.
#[test]
fn style_sheets_of_other_media_and_titles_are_no_letter() {
    let html = |html: &str| body_of(&parsed(&format!("Content-Type: text/html; charset=utf-8\n\n{html}\n")));
    let page = html(
        "<html><head><title>Mail 3</title><style media=\"only screen and (max-width:480px)\">.d{display:none!important}</style><style media=print>p{color:white}</style><style media='screen'>.s{color:#800000}</style></head><body><p class=d>Seen</p><p class=s>Red</p><p hidden>Preheader</p></body></html>",
    );
    assert!(page.contains("Seen") && !page.contains("display:none") && !page.contains("Mail 3"), "{page}");
    assert!(page.contains("#800000") && page.contains("hidden"), "{page}");
    let clear = html(
        "<p style=\"background:linear-gradient(90deg,#f00,#00f);-webkit-background-clip:text;color:transparent\">Gradient</p><p style=\"color:rgba(0,0,0,0)\">Nothing</p>",
    );
    for paragraph in clear.split("<p ").skip(1) {
        // The last declaration wins.
        assert!(paragraph.split('>').next().unwrap().rsplit("color:").next().unwrap().starts_with('#'), "{clear}");
    }
}

#[test]
fn calendars_under_other_names_are_invitations_and_go_along() {
    let event = "BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:1\nSUMMARY:Parents' evening\nDTSTART:20261127T180000Z\nLOCATION:Hall\nEND:VEVENT\nEND:VCALENDAR\n";
    for head in [
        "Content-Type: application/ics",
        "Content-Type: application/octet-stream; name=\"invite.ics\"",
        "Content-Type: text/calendar; method=REQUEST",
    ] {
        let message = parsed(&format!("{head}\n\n{event}"));
        let invitation = message.invitation.unwrap_or_else(|| panic!("{head}"));
        assert_eq!((invitation.summary.as_str(), invitation.location.as_str()), ("Parents' evening", "Hall"));
        assert_eq!(message.parts.len(), 1, "it can be forwarded: {head}");
    }
    let busy =
        parsed("Content-Type: text/calendar\n\nBEGIN:VCALENDAR\nBEGIN:VFREEBUSY\nEND:VFREEBUSY\nEND:VCALENDAR\n");
    assert!(busy.text.unwrap().contains("VFREEBUSY"));
    let closed = parsed(
        "Content-Type: application/octet-stream; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nMIAGCSqGSIb3DQEHA6CA\n",
    );
    assert_eq!(closed.protection, Some(Protection::Encrypted));
}

#[test]
fn links_of_plain_text_are_found_without_a_scheme_and_end_before_other_letters() {
    let links = |text: &str| {
        let pieces = message::pieces(text);
        let links = pieces.into_iter().filter_map(|piece| match piece {
            TextPiece::Link { href, .. } => Some(href),
            TextPiece::Words(_) => None,
        });
        links.collect::<Vec<_>>()
    };
    assert_eq!(links("See www.school.example/plan, or plan.pdf, e.g. today."), ["http://www.school.example/plan"]);
    assert_eq!(links("詳細はhttps://x.example/a。詳細"), ["https://x.example/a"]);
    assert_eq!(links("https://x.example/a（こちら）"), ["https://x.example/a"]);
}

/// A part with a wrong type or place is shown or listed, never lost.
#[test]
fn nothing_vanishes_from_page_and_list_alike() {
    let png = "iVBORw0KGgoAAAANSUhEUg==";
    let related = |html: &str, kind: &str| {
        parsed(&format!(
            "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n{html}\n--b\nContent-Type: {kind}\nContent-ID: <x>\nContent-Transfer-Encoding: base64\n\n{png}\n--b--"
        ))
    };
    let seen = related("<p>Plan: <img src=\"cid:x\"></p>", "text/plain; name=plan.txt");
    assert!(body_of(&seen).contains("data:image/png") && seen.parts[0].shown, "{}", body_of(&seen));
    for html in [
        "<table background=\"cid:x\"><tr><td>A</td></tr></table>",
        "<p>A<!--[if mso]><img src=\"cid:x\"><![endif]--></p>",
    ] {
        let unseen = related(html, "image/png");
        assert!(!body_of(&unseen).contains("data:image"), "{html}");
        assert!(unseen.parts.iter().any(|part| !part.shown), "it is listed: {html}");
    }
    let scan = parsed(&format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\n\u{200b}\u{a0}\n--b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\n{png}\n--b--"
    ));
    assert!(body_of(&scan).contains("data:image/png"), "a text of nothing is no text");
    let letter = "From: a@x.example\nSubject: Inner\nContent-Type: multipart/mixed; boundary=i\n\n--i\nContent-Type: text/plain\n\nInner text\n--i\nContent-Type: application/pdf; name=inner.pdf\n\n%PDF-inner\n--i--\n";
    let encoded = {
        use base64::prelude::{BASE64_STANDARD, Engine};
        BASE64_STANDARD.encode(letter.replace('\n', "\r\n"))
    };
    for kind in ["message/rfc822", "application/octet-stream; name=\"inner.eml\""] {
        let outer = parsed(&format!(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: {kind}\nContent-Transfer-Encoding: base64\n\n{encoded}\n--b--"
        ));
        let [inner] = outer.nested.as_slice() else { panic!("{kind}: {:?}", outer.parts) };
        assert_eq!(inner.text.as_deref().map(str::trim), Some("Inner text"), "{kind}");
        assert_eq!(inner.parts[0].name, "inner.pdf", "{kind}");
        assert!(inner.parts[0].bytes.as_deref().is_some_and(|bytes| bytes.starts_with(b"%PDF-inner")), "{kind}");
    }
    let words =
        parsed("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nDear parents, see you on Monday.\n");
    assert!(words.text.unwrap().contains("see you on Monday"), "it is no base64");
    let pieces = parsed("Content-Type: text/plain; charset=utf-16\n\nDear parents\n");
    assert_eq!(pieces.text.as_deref().map(str::trim), Some("Dear parents"), "it is no UTF-16");
    let old = message::parse(
        "Content-Type: text/html\r\n\r\n<meta charset=iso-8859-1><p>Grüße aus Köln, Ürzig\u{2014}".as_bytes(),
        false,
    );
    assert!(body_of(&old).contains("Grüße"), "{}", body_of(&old));
    let mut broken = "Content-Type: text/html\r\n\r\n<meta charset=iso-8859-1><p>Grüße aus Köln".as_bytes().to_vec();
    broken.extend_from_slice(b" \xff!");
    assert!(body_of(&message::parse(&broken, false)).contains("Grüße aus Köln"), "one broken letter breaks no other");
    let mut labelled = b"Content-Type: text/html; charset=utf-8".to_vec();
    labelled.extend_from_slice(&broken["Content-Type: text/html".len()..]);
    assert!(body_of(&message::parse(&labelled, false)).contains("Grüße aus Köln"), "nor under its right label");
    let twice = parsed(&format!(
        "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<img src=\"cid:x\">\n--b\nContent-Type: image/png\nContent-ID: <x>\nContent-Transfer-Encoding: base64\n\n{png}\n--b\nContent-Type: image/png; name=second.png\nContent-ID: <x>\nContent-Transfer-Encoding: base64\n\n{png}\n--b--"
    ));
    let listed: Vec<_> = twice.parts.iter().filter(|part| !part.shown).map(|part| part.name.as_str()).collect();
    assert_eq!(listed, ["second.png"], "a second picture of the same id is listed");
}

/// Screen rules apply; copies for other programs don't.
#[test]
fn rules_within_media_rules_and_places_outside_the_page() {
    let html = |html: &str| body_of(&parsed(&format!("Content-Type: text/html; charset=utf-8\n\n{html}\n")));
    let page = html(
        "<html><head><style>@media screen{.h{display:none}} @media only screen and (min-width:600px){.g{color:#123456}} @media (max-width:480px){.m{display:none}} @media print{.p{color:#fff}} .a{color:#654321}</style></head><body><p class=h>Hidden</p><p class=g>Wide</p><p class=m>Narrow</p><p class=p>Paper</p><p class=a>After</p></body></html>",
    );
    let style_of = |words: &str| {
        let before = page.split_once(&format!(">{words}<")).unwrap().0;
        before.rsplit_once('<').unwrap().1.to_owned()
    };
    assert!(style_of("Hidden").contains("display:none"), "{page}");
    assert!(style_of("Wide").contains("#123456") && style_of("After").contains("#654321"), "{page}");
    assert!(!style_of("Narrow").contains("none") && !style_of("Paper").contains("#fff"), "{page}");
    let page = html(
        "<div style=\"position:absolute;left:-9999px\">Preheader</div><div style=\"position:absolute;left:10px\">Seen</div><div style=\"left:-9999px\">Seen too</div>",
    );
    assert_eq!(page.matches("display:none").count(), 1, "{page}");
    assert!(page.split_once("Preheader").unwrap().0.ends_with("display:none;\">"), "{page}");
    let deep = "@media screen{".repeat(20_000);
    let began = std::time::Instant::now();
    let _ = html(&format!("<style>{deep}</style><p>x</p>"));
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
}
