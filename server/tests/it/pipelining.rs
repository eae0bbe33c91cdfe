//! Pipelined submission (RFC 2920): every reply is read and means what it says, whatever came with it.

use std::sync::{Arc, Mutex};

use lettre::address::Envelope;
use server::config::SystemSmtp;
use server::mail::Step;
use server::mail::smtp::Session;
use server::trust::Trust;
use server::vault::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::tls_for_localhost;

/// What a client sent: the commands, and how many packets they came in.
#[derive(Default)]
struct Seen {
    commands: Vec<String>,
    messages: Vec<String>,
    /// What came of a message that did not end.
    begun: String,
    reads: usize,
    ended: bool,
}

/// Replies of a server: to MAIL, to each RCPT, to DATA, to the message or the lone dot.
#[derive(Clone, Copy)]
struct Script {
    pipelining: bool,
    mail: &'static str,
    rcpt: &'static [&'static str],
    data: &'static str,
    end: &'static str,
}

const FINE: Script =
    Script { pipelining: true, mail: "250 sender", rcpt: &["250 one"; 3], data: "354 go on", end: "250 accepted" };

async fn server(script: Script) -> (Session, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 here\r\n").await.unwrap();
        serve(stream, script, noted).await;
    });
    let relay = SystemSmtp::parse(&Secret::new(format!("smtp://localhost:{port}?tls=none"))).unwrap();
    (Session::open_system(&relay, &Trust::new(None).unwrap()).await.unwrap(), seen)
}

/// The same behind STARTTLS. Before TLS, `announced` is offered too.
async fn server_with_tls(script: Script, announced: &'static str) -> (Session, Arc<Mutex<Seen>>) {
    let (acceptor, certificate) = tls_for_localhost();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 here\r\n").await.unwrap();
        for reply in [format!("250-here\r\n250-{announced}\r\n250 STARTTLS\r\n"), "220 go\r\n".to_owned()] {
            let _ = stream.read(&mut [0; 512]).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
        serve(acceptor.accept(stream).await.unwrap(), script, noted).await;
    });
    let relay = SystemSmtp::parse(&Secret::new(format!("smtp://localhost:{port}?tls=required"))).unwrap();
    let trust = Trust::new(Some(certificate.into_bytes())).unwrap();
    (Session::open_system(&relay, &trust).await.unwrap(), seen)
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script, noted: Arc<Mutex<Seen>>) {
    let (mut buf, mut bytes, mut rcpts) = (vec![0; 65_536], Vec::new(), script.rcpt.iter().cycle());
    let mut in_message = false;
    loop {
        let count = stream.read(&mut buf).await.unwrap_or(0);
        if count == 0 {
            let mut noted = noted.lock().unwrap();
            (noted.ended, noted.begun) = (true, String::from_utf8_lossy(&bytes).into_owned());
            return;
        }
        noted.lock().unwrap().reads += 1;
        bytes.extend_from_slice(&buf[..count]);
        let mut answer = String::new();
        while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
            if in_message {
                let all = String::from_utf8_lossy(&bytes).into_owned();
                let Some(message) = all.strip_suffix(".\r\n") else { break };
                noted.lock().unwrap().messages.push(message.to_owned());
                (in_message, bytes) = (false, Vec::new());
                answer.extend([script.end, "\r\n"]);
                break;
            }
            let line = String::from_utf8(bytes.drain(..end + 2).collect()).unwrap();
            noted.lock().unwrap().commands.push(line.trim_end().to_owned());
            let word = line.split([' ', '\r']).next().unwrap_or_default().to_uppercase();
            let reply = match word.as_str() {
                "EHLO" if script.pipelining => "250-here\r\n250-PIPELINING\r\n250 8BITMIME",
                "EHLO" => "250-here\r\n250 8BITMIME",
                "MAIL" => script.mail,
                "RCPT" => rcpts.next().unwrap(),
                "DATA" => script.data,
                "QUIT" => "221 bye",
                _ => "250 fine",
            };
            if reply == "cut" {
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
            in_message = word == "DATA" && reply.starts_with("354");
            answer.extend([reply, "\r\n"]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn envelope(recipients: usize) -> Envelope {
    let to = (0..recipients).map(|number| format!("r{number}@far.example").parse().unwrap()).collect();
    Envelope::new(Some("user@demo.example".parse().unwrap()), to).unwrap()
}

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.dot\r\ntext\r\n";

#[tokio::test]
async fn commands_leave_together_where_the_server_allows_it_and_the_message_with_its_dot() {
    for (pipelining, reads) in [(true, 4), (false, 8)] {
        let (mut session, seen) = server(Script { pipelining, ..FINE }).await;
        assert!(session.begin(&envelope(3), MESSAGE).await.is_ok_and(|refused| refused.is_empty()));
        assert_eq!(session.message(MESSAGE).await.unwrap(), "accepted");
        session.quit().await;
        let seen = seen.lock().unwrap();
        let words: Vec<_> = seen.commands.iter().map(|line| &line[..4]).collect();
        assert_eq!(words, ["EHLO", "MAIL", "RCPT", "RCPT", "RCPT", "DATA", "QUIT"], "one EHLO");
        assert_eq!(seen.messages, ["Subject: x\r\n\r\n..dot\r\ntext\r\n\r\n"]);
        // EHLO, the commands, the message, QUIT.
        assert_eq!(seen.reads, reads, "{pipelining}");
    }
}

/// What a server offers before TLS may be an attacker's.
#[tokio::test]
async fn only_what_the_server_offers_after_tls_is_used() {
    for (announced, pipelining) in [("PIPELINING", false), ("8BITMIME", true), ("PIPELINING", true)] {
        let (mut session, seen) = server_with_tls(Script { pipelining, ..FINE }, announced).await;
        assert!(session.begin(&envelope(3), MESSAGE).await.is_ok_and(|refused| refused.is_empty()));
        assert_eq!(session.message(MESSAGE).await.unwrap(), "accepted");
        session.quit().await;
        let seen = seen.lock().unwrap();
        // EHLO, the commands (together or one by one), the message, QUIT.
        assert_eq!(seen.reads, if pipelining { 4 } else { 8 }, "{announced} before TLS");
    }
}

#[tokio::test]
async fn many_recipients_leave_in_groups_and_a_large_message_whole() {
    let (mut session, seen) = server(FINE).await;
    let large = [MESSAGE, "line of text\r\n".repeat(20_000).as_bytes()].concat();
    assert!(session.begin(&envelope(500), &large).await.is_ok());
    session.message(&large).await.unwrap();
    session.quit().await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.commands.iter().filter(|line| line.starts_with("RCPT")).count(), 500);
    assert_eq!(seen.messages[0].len(), large.len() + ".".len() + "\r\n".len());
}

#[tokio::test]
async fn a_refused_sender_counts_and_not_the_replies_behind_it() {
    for (data, reusable) in [("503 need RCPT", true), ("354 go on", false)] {
        let script = Script { mail: "432 4.3.2 slow down", rcpt: &["503 need MAIL"], data, ..FINE };
        let (mut session, seen) = server(script).await;
        let failed = session.begin(&envelope(2), MESSAGE).await.err().unwrap();
        assert_eq!((failed.error.step, failed.error.code), (Step::From, Some(432)));
        assert!(failed.refused.is_empty());
        assert_eq!(failed.reusable, reusable, "{data}");
        drop(session);
        ended(&seen).await;
        assert!(seen.lock().unwrap().messages.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_waits_for_a_message_to_nobody_gets_a_lone_dot() {
    for (end, reusable) in [("554 no valid recipients", true), ("421 bye", false)] {
        let (mut session, seen) = server(Script { rcpt: &["550 5.1.1 unknown"], end, ..FINE }).await;
        let failed = session.begin(&envelope(2), MESSAGE).await.err().unwrap();
        assert_eq!((failed.error.step, failed.error.code, failed.refused.len()), (Step::Recipient, Some(550), 2));
        assert_eq!(failed.reusable, reusable, "{end}");
        assert_eq!(seen.lock().unwrap().messages, [""], "nothing but the dot");
    }
    // The usual answer: DATA is refused too.
    let (mut session, seen) = server(Script { rcpt: &["550 5.1.1 unknown"], data: "503 no", ..FINE }).await;
    let failed = session.begin(&envelope(2), MESSAGE).await.err().unwrap();
    assert!(failed.reusable && failed.refused.len() == 2);
    assert!(seen.lock().unwrap().commands.contains(&"RSET".to_owned()));
}

#[tokio::test]
async fn some_recipients_are_refused_and_a_refused_data_is_an_error_of_its_own() {
    let rcpt = &["250 fine", "550 5.1.1 unknown", "250 fine"];
    let (mut session, _seen) = server(Script { rcpt, ..FINE }).await;
    let refused = session.begin(&envelope(3), MESSAGE).await.ok().unwrap();
    assert_eq!(refused.iter().map(|refused| refused.recipient.as_str()).collect::<Vec<_>>(), ["r1@far.example"]);
    assert_eq!(session.message(MESSAGE).await.unwrap(), "accepted");

    let (mut session, seen) = server(Script { rcpt, data: "451 4.3.0 later", ..FINE }).await;
    let failed = session.begin(&envelope(3), MESSAGE).await.err().unwrap();
    assert_eq!((failed.error.step, failed.error.code, failed.refused.len()), (Step::Data, Some(451), 1));
    assert!(failed.reusable && seen.lock().unwrap().messages.is_empty());
}

#[tokio::test]
async fn a_connection_that_is_cut_between_the_replies_began_nothing() {
    let cases: [(Script, Step); 3] = [
        (Script { mail: "cut", ..FINE }, Step::From),
        (Script { rcpt: &["250 fine", "cut"], ..FINE }, Step::Recipient),
        (Script { data: "cut", ..FINE }, Step::Data),
    ];
    for pipelining in [true, false] {
        for (script, step) in cases {
            let (mut session, _seen) = server(Script { pipelining, ..script }).await;
            let failed = session.begin(&envelope(3), MESSAGE).await.err().unwrap();
            assert!(!failed.error.answered && !failed.reusable, "{step:?}");
            assert_eq!(failed.error.step, step, "{pipelining}");
        }
    }
    // It said why.
    let (mut session, _seen) = server(Script { rcpt: &["250 fine", "421 4.3.2 closing", "cut"], ..FINE }).await;
    let failed = session.begin(&envelope(3), MESSAGE).await.err().unwrap();
    assert_eq!((failed.error.code, failed.reusable), (Some(421), false));
}

/// After 354 a session that is given up sends nothing: a dot would send an empty message to those who were accepted.
#[tokio::test]
async fn a_session_that_is_given_up_after_354_sends_no_dot() {
    let (mut session, seen) = server(FINE).await;
    assert!(session.begin(&envelope(1), MESSAGE).await.is_ok());
    drop(session);
    ended(&seen).await;
    assert!(seen.lock().unwrap().messages.is_empty());
    // QUIT would be the text of a message.
    let (mut session, seen) = server(FINE).await;
    assert!(session.begin(&envelope(1), MESSAGE).await.is_ok());
    session.quit().await;
    ended(&seen).await;
    assert_eq!(seen.lock().unwrap().begun, "");
}

/// A database that stores no NUL must be able to store what the server said.
#[tokio::test]
async fn control_characters_of_a_reply_are_blanks() {
    let (mut session, _seen) = server(Script { end: "250 fine\u{0}\u{1}really", ..FINE }).await;
    assert!(session.begin(&envelope(1), MESSAGE).await.is_ok());
    assert_eq!(session.message(MESSAGE).await.unwrap(), "fine  really");
    let (mut session, _seen) = server(Script { mail: "550 no\u{0}way", ..FINE }).await;
    assert_eq!(session.begin(&envelope(1), MESSAGE).await.err().unwrap().error.text, "no way");
}

#[tokio::test]
async fn replies_that_are_out_of_step_prove_nothing() {
    for (data, end) in [("250 odd", "250 accepted"), ("354 go on", "354 odd")] {
        let (mut session, _seen) = server(Script { data, end, ..FINE }).await;
        match session.begin(&envelope(1), MESSAGE).await {
            Ok(_) => assert!(!session.message(MESSAGE).await.unwrap_err().answered, "{end}"),
            Err(failed) => assert!(!failed.error.answered && !failed.reusable, "{data}"),
        }
    }
    // All recipients are refused, and the reply to DATA is lost.
    let (mut session, _seen) = server(Script { rcpt: &["550 5.1.1 unknown"], data: "cut", ..FINE }).await;
    let failed = session.begin(&envelope(2), MESSAGE).await.err().unwrap();
    assert_eq!((failed.error.code, failed.reusable), (Some(550), false));
}

/// Until the server has read to the end of the connection.
async fn ended(seen: &Mutex<Seen>) {
    let reads_to_the_end = async {
        while !seen.lock().unwrap().ended {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), reads_to_the_end).await.unwrap();
}
