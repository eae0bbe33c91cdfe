//! Opens an SMTP connection up to TLS and EHLO, and hands it to lettre.
//!
//! lettre would keep bytes behind the reply to STARTTLS in its buffer and take them for replies inside TLS: an attacker on the path
//! could make refused messages look sent (CVE-2011-0411 and similar). So no byte may follow that reply, and lettre gets a stream
//! that is encrypted already. Of the extensions in the reply to EHLO it does not know PIPELINING, so EHLO is sent here as well:
//! the stream answers lettre's EHLO with the reply that was read.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::{MailError, STEP_LIMIT, Step};
use crate::config::Encryption;
use crate::config::ServerAddress;
use crate::trust::Trust;

/// Largest reply, in bytes. RFC 5321, 4.5.3.1.5, allows 512 per line; lettre parses the whole reply again with each line.
const REPLY: usize = 16 * 1024;

/// The end of a message.
const DOT: &[u8] = b"\r\n.\r\n";
/// Bytes of a message that wait for its end, so that both leave together.
const COALESCED: usize = 64 * 1024;

/// A stream that begins with a greeting and a reply to EHLO, bounds each reply (lettre counts bytes of a reply only at the end of a
/// line), and sends a message and its final dot together (lettre writes them apart, and flushes each).
struct Greeted<S> {
    greeting: Vec<u8>,
    /// lettre's EHLO was answered by the greeting: it is not sent.
    hello_taken: bool,
    peer: SocketAddr,
    inner: S,
    /// Bytes read since something was last written.
    replied: usize,
    /// Replies that may come before the next write: one for each command.
    expected: usize,
    /// The last reply that began was 354: what follows is a message.
    in_message: bool,
    /// The last bytes that were read since a line began, at most three.
    line_start: Vec<u8>,
    pending: Vec<u8>,
}

impl<S> Greeted<S> {
    fn new(hello: &Reply, peer: SocketAddr, inner: S) -> Self {
        let mut greeting = b"220 ready\r\n".to_vec();
        for (number, line) in hello.lines.iter().enumerate() {
            let mark = if number + 1 == hello.lines.len() { ' ' } else { '-' };
            greeting.extend_from_slice(format!("{}{mark}{line}\r\n", hello.code).as_bytes());
        }
        Self {
            greeting,
            hello_taken: false,
            peer,
            inner,
            replied: 0,
            expected: 1,
            in_message: false,
            line_start: Vec::new(),
            pending: Vec::new(),
        }
    }
}

impl<S> fmt::Debug for Greeted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Greeted({})", self.peer)
    }
}

impl<S: AsyncWrite + Unpin> Greeted<S> {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.pending))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let count = self.greeting.len().min(buf.remaining());
            buf.put_slice(&self.greeting[..count]);
            self.greeting.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        self.replied += read.len();
        for byte in read {
            match byte {
                b'\n' => self.line_start.clear(),
                byte if self.line_start.len() < 3 => {
                    self.line_start.push(*byte);
                    if self.line_start.len() == 3 {
                        self.in_message = self.line_start == b"354";
                    }
                }
                _ => {}
            }
        }
        if self.replied > REPLY * self.expected {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let commands = if self.in_message { 1 } else { bytes.split(|byte| *byte == b'\n').count() };
        // The rest of a write has fewer of them.
        self.expected = if self.replied == 0 { self.expected.max(commands) } else { commands };
        self.replied = 0;
        if !self.hello_taken {
            self.hello_taken = true;
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.pending.len() + bytes.len() > COALESCED || !self.in_message {
            ready!(self.poll_pending(cx))?;
        }
        // The end of a message is never written in parts: they could not be told from the beginning of one.
        if self.in_message && bytes.len() <= COALESCED {
            self.pending.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_whole = self.pending.ends_with(DOT) || self.pending == DOT[2..];
        if self.in_message && !self.pending.is_empty() && !is_whole {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_pending(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> AsyncTokioStream for Greeted<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

pub(super) fn explain(step: Step, error: &lettre::transport::smtp::Error) -> MailError {
    use std::error::Error as _;
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    match error.status() {
        Some(code) => MailError::refused(step, Some(u16::from(code)), causes.join(": ")),
        None => {
            let text = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
            // rustls appends a link to its manual, which does not help here.
            let text = text.split(": https://docs.rs").next().unwrap_or_default().to_owned();
            MailError::network(step, text)
        }
    }
}

/// Applies the deadline of a step.
async fn within<T>(step: Step, work: impl Future<Output = Result<T, MailError>>) -> Result<T, MailError> {
    tokio::time::timeout(STEP_LIMIT, work)
        .await
        .unwrap_or_else(|_| Err(MailError::network(step, format!("no answer within {} seconds", STEP_LIMIT.as_secs()))))
}

/// A reply: its code, and its lines without the code.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn expect(self, step: Step, code: u16) -> Result<Self, MailError> {
        if self.code == code { Ok(self) } else { Err(MailError::refused(step, Some(self.code), self.lines.join(" "))) }
    }

    /// The address in a greeting such as `… Hello [192.0.2.10]`, as Exchange Online's.
    fn seen_from(&self) -> Option<IpAddr> {
        let (_, rest) = self.lines.first()?.split_once('[')?;
        rest.split_once(']')?.0.parse().ok()
    }

    fn offers(&self, extension: &str) -> bool {
        self.lines.iter().any(|line| line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(extension)))
    }
}

/// Reads one reply (RFC 5321, 4.2) and refuses bytes after it.
async fn reply(stream: &mut (impl AsyncRead + Unpin), step: Step) -> Result<Reply, MailError> {
    let broken = |text: &str| MailError::network(step, text.to_owned());
    let mut bytes = Vec::new();
    loop {
        let mut buf = [0; 4_096];
        let count = stream.read(&mut buf).await.map_err(|error| broken(&error.to_string()))?;
        if count == 0 {
            return Err(broken("the connection was closed"));
        }
        bytes.extend_from_slice(&buf[..count]);
        if bytes.len() > REPLY {
            return Err(broken("its answer is too long"));
        }
        let mut lines = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(rest[..end].trim_ascii_end()).into_owned();
            rest = &rest[end + 1..];
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok()).filter(|code| (200..600).contains(code));
            let Some(code) = code else { return Err(broken("its answer is not SMTP")) };
            let (last, text) = match line.as_bytes().get(3) {
                None | Some(b' ') => (true, line.get(4..).unwrap_or_default()),
                Some(b'-') => (false, line.get(4..).unwrap_or_default()),
                Some(_) => return Err(broken("its answer is not SMTP")),
            };
            lines.push(text.to_owned());
            if last {
                if !rest.is_empty() {
                    return Err(broken("unexpected data after its answer: the connection may be intercepted"));
                }
                return Ok(Reply { code, lines });
            }
        }
    }
}

async fn command<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    step: Step,
    line: &str,
) -> Result<Reply, MailError> {
    let written = async {
        stream.write_all(line.as_bytes()).await?;
        stream.flush().await
    };
    written.await.map_err(|error| MailError::network(step, error.to_string()))?;
    reply(stream, step).await
}

async fn hello<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Reply, MailError> {
    let line = format!("EHLO {}\r\n", ClientId::default());
    command(stream, Step::Connect, &line).await?.expect(Step::Connect, 250)
}

/// Returns the stream if no byte follows the reply. Asks the system, because the readiness that tokio knows may be outdated.
fn silent(tcp: TcpStream) -> Result<TcpStream, MailError> {
    let broken = |error: io::Error| MailError::network(Step::Tls, error.to_string());
    let tcp = tcp.into_std().map_err(broken)?;
    match tcp.peek(&mut [0; 1]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => TcpStream::from_std(tcp).map_err(broken),
        _ => Err(MailError::network(Step::Tls, "unexpected data after its answer: the connection may be intercepted")),
    }
}

/// A connection up to EHLO.
pub(super) struct Connected {
    pub(super) connection: AsyncSmtpConnection,
    /// The server announced PIPELINING (RFC 2920) in its last reply to EHLO.
    pub(super) pipelining: bool,
    /// Where the server says that this connection comes from.
    pub(super) seen_from: Option<IpAddr>,
}

/// Connects with the configured TLS and hands the stream to lettre.
pub(super) async fn connect(
    ServerAddress { host, port }: &ServerAddress,
    encryption: Encryption,
    trust: &Trust,
) -> Result<Connected, MailError> {
    let mut tcp = within(Step::Connect, async {
        TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| MailError::network(Step::Connect, error.to_string()))
    })
    .await?;
    let peer = tcp.peer_addr().map_err(|error| MailError::network(Step::Connect, error.to_string()))?;
    // Otherwise a command waits for a delayed acknowledgement.
    let _ = tcp.set_nodelay(true);
    let upgraded = async |tcp: TcpStream| {
        let name = rustls::pki_types::ServerName::try_from(host.clone())
            .map_err(|_| MailError::network(Step::Tls, "the host is no name for a certificate"))?;
        within(Step::Tls, async {
            let connecting = trust.connector().connect(name, tcp);
            connecting.await.map_err(|error| MailError::network(Step::Tls, error.to_string()))
        })
        .await
    };
    if encryption == Encryption::Wrapped {
        let mut tls = upgraded(tcp).await?;
        let offered = within(Step::Connect, async {
            reply(&mut tls, Step::Connect).await?.expect(Step::Connect, 220)?;
            hello(&mut tls).await
        });
        let offered = offered.await?;
        return hand_over(&offered, peer, tls).await;
    }
    let offered = within(Step::Connect, async {
        reply(&mut tcp, Step::Connect).await?.expect(Step::Connect, 220)?;
        hello(&mut tcp).await
    })
    .await?;
    let wanted = match encryption {
        Encryption::Required if !offered.offers("STARTTLS") => {
            return Err(MailError::refused(Step::Tls, None, "the server does not offer STARTTLS"));
        }
        Encryption::Required => true,
        Encryption::Opportunistic => offered.offers("STARTTLS"),
        Encryption::None | Encryption::Wrapped => false,
    };
    if !wanted {
        return hand_over(&offered, peer, tcp).await;
    }
    within(Step::Tls, async { command(&mut tcp, Step::Tls, "STARTTLS\r\n").await?.expect(Step::Tls, 220) }).await?;
    let mut tls = upgraded(silent(tcp)?).await?;
    let offered = within(Step::Connect, hello(&mut tls)).await?;
    hand_over(&offered, peer, tls).await
}

async fn hand_over<S>(offered: &Reply, peer: SocketAddr, stream: S) -> Result<Connected, MailError>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
{
    let pipelining = offered.offers("PIPELINING");
    let stream = Box::new(Greeted::new(offered, peer, stream));
    let connection = within(Step::Connect, async {
        let name = ClientId::default();
        let connecting = AsyncSmtpConnection::connect_with_transport(stream, &name);
        connecting.await.map_err(|error| explain(Step::Connect, &error))
    });
    Ok(Connected { connection: connection.await?, pipelining, seen_from: offered.seen_from() })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Records what is written, a few bytes at a time, and gives prepared replies.
    #[derive(Default)]
    struct Recorder {
        writes: Vec<Vec<u8>>,
        replies: VecDeque<&'static [u8]>,
        /// Bytes taken by one write.
        most: usize,
    }

    impl AsyncRead for Recorder {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buf.put_slice(self.replies.pop_front().unwrap_or_default());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Recorder {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.most);
            self.writes.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn greeted(replies: &[&'static [u8]], most: usize) -> Greeted<Recorder> {
        let hello = Reply { code: 250, lines: vec!["here".into(), "PIPELINING".into()] };
        let inner = Recorder { replies: replies.iter().copied().collect(), most, ..Recorder::default() };
        let mut stream = Greeted::new(&hello, ([127, 0, 0, 1], 25).into(), inner);
        let mut buf = [0; 512];
        let count = stream.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..count], b"220 ready\r\n250-here\r\n250 PIPELINING\r\n");
        stream.write_all(b"EHLO me\r\n").await.unwrap();
        stream.flush().await.unwrap();
        assert!(stream.inner.writes.is_empty(), "EHLO was answered already");
        for _ in replies {
            let _ = stream.read(&mut buf).await.unwrap();
        }
        stream
    }

    #[tokio::test]
    async fn a_message_and_its_dot_are_one_write() {
        let mut stream = greeted(&[b"250 fine\r\n3", b"54 go", b" on\r\n"], usize::MAX).await;
        for part in [&b"text\r\n"[..], DOT] {
            stream.write_all(part).await.unwrap();
            stream.flush().await.unwrap();
        }
        assert_eq!(stream.inner.writes, [b"text\r\n\r\n.\r\n".to_vec()]);
    }

    #[tokio::test]
    async fn messages_of_any_size_leave_whole_through_a_slow_stream() {
        for size in [0, 1, COALESCED - 6, COALESCED - 5, COALESCED - 2, COALESCED, COALESCED + 3, 3 * COALESCED] {
            let mut stream = greeted(&[b"354 go on\r\n"], 4_099).await;
            let body = vec![b'x'; size];
            for part in [&body[..], DOT] {
                stream.write_all(part).await.unwrap();
                stream.flush().await.unwrap();
            }
            assert!(stream.inner.writes.concat() == [&body[..], DOT].concat(), "{size}");
        }
    }

    #[tokio::test]
    async fn only_a_reply_that_begins_with_354_opens_a_message() {
        for replies in [&[&b"250 queued as "[..], b"354AB\r\n"][..], &[b"354 go on\r\n", b"250 accepted\r\n"]] {
            let mut stream = greeted(replies, usize::MAX).await;
            stream.write_all(b"NOOP\r\n").await.unwrap();
            assert_eq!(stream.inner.writes, [b"NOOP\r\n".to_vec()]);
        }
        // A lone dot ends a message to nobody.
        let mut stream = greeted(&[b"354 go on\r\n"], usize::MAX).await;
        stream.write_all(b".\r\n").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.inner.writes, [b".\r\n".to_vec()]);
    }
}
