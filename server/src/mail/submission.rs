//! Opens an SMTP connection up to TLS: speaks greeting, EHLO and STARTTLS on the bare socket.
//!
//! lettre would keep bytes behind the reply to STARTTLS in its buffer and take them for replies inside TLS: an attacker on the path
//! could make refused messages look sent (CVE-2011-0411 and similar). So no byte may follow that reply, and lettre gets a stream
//! that is encrypted already. lettre awaits a greeting, which does not follow STARTTLS (RFC 3207, 4.2), so the stream begins with
//! a synthetic one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::smtp::explain;
use super::{MailError, STEP_LIMIT, Step, Trust};
use crate::config::Encryption;

/// Largest reply, in bytes. RFC 5321, 4.5.3.1.5, allows 512 per line; lettre parses the whole reply again with each line.
const REPLY: usize = 16 * 1024;

/// A stream that prepends a greeting, and bounds each reply: lettre counts bytes of a reply only at the end of a line.
struct Greeted<S> {
    greeting: &'static [u8],
    peer: SocketAddr,
    inner: S,
    /// Bytes read since something was last written.
    replied: usize,
}

impl<S> Greeted<S> {
    fn new(greeting: &'static [u8], peer: SocketAddr, inner: S) -> Self {
        Self { greeting, peer, inner, replied: 0 }
    }
}

impl<S> fmt::Debug for Greeted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Greeted({})", self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let (now, later) = self.greeting.split_at(self.greeting.len().min(buf.remaining()));
            buf.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.replied += buf.filled().len() - before;
        if self.replied > REPLY {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.replied = 0;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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

    fn offers(&self, extension: &str) -> bool {
        self.lines.iter().any(|line| line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(extension)))
    }
}

/// Reads one reply (RFC 5321, 4.2) and refuses bytes after it.
async fn reply(tcp: &mut TcpStream, step: Step) -> Result<Reply, MailError> {
    let broken = |text: &str| MailError::network(step, text.to_owned());
    let mut bytes = Vec::new();
    loop {
        let mut buf = [0; 4_096];
        let count = tcp.read(&mut buf).await.map_err(|error| broken(&error.to_string()))?;
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

async fn command(tcp: &mut TcpStream, step: Step, line: &str) -> Result<Reply, MailError> {
    tcp.write_all(line.as_bytes()).await.map_err(|error| MailError::network(step, error.to_string()))?;
    reply(tcp, step).await
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

/// Connects with the configured TLS and hands the stream to lettre.
pub(super) async fn connect(
    (host, port): &(String, u16),
    encryption: Encryption,
    trust: &Trust,
) -> Result<AsyncSmtpConnection, MailError> {
    let hello = ClientId::default();
    let mut tcp = within(Step::Connect, async {
        TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| MailError::network(Step::Connect, error.to_string()))
    })
    .await?;
    let peer = tcp.peer_addr().map_err(|error| MailError::network(Step::Connect, error.to_string()))?;
    // Otherwise the end of a message waits for a delayed acknowledgement.
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
        let inner = upgraded(tcp).await?;
        return hand_over(Greeted::new(b"", peer, inner), &hello).await;
    }
    let offered = within(Step::Connect, async {
        reply(&mut tcp, Step::Connect).await?.expect(Step::Connect, 220)?;
        let greeting = command(&mut tcp, Step::Connect, &format!("EHLO {hello}\r\n")).await?;
        Ok(greeting.expect(Step::Connect, 250)?.offers("STARTTLS"))
    })
    .await?;
    let wanted = match encryption {
        Encryption::Required if !offered => {
            return Err(MailError::refused(Step::Tls, None, "the server does not offer STARTTLS"));
        }
        Encryption::Required => true,
        Encryption::Opportunistic => offered,
        Encryption::None | Encryption::Wrapped => false,
    };
    if !wanted {
        return hand_over(Greeted::new(GREETING, peer, tcp), &hello).await;
    }
    within(Step::Tls, async { command(&mut tcp, Step::Tls, "STARTTLS\r\n").await?.expect(Step::Tls, 220) }).await?;
    let inner = upgraded(silent(tcp)?).await?;
    hand_over(Greeted::new(GREETING, peer, inner), &hello).await
}

const GREETING: &[u8] = b"220 ready\r\n";

async fn hand_over<S>(stream: Greeted<S>, hello: &ClientId) -> Result<AsyncSmtpConnection, MailError>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
{
    within(Step::Connect, async {
        let connecting = AsyncSmtpConnection::connect_with_transport(Box::new(stream), hello);
        connecting.await.map_err(|error| explain(Step::Connect, &error))
    })
    .await
}
