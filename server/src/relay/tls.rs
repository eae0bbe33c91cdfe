//! TLS with devices: what a failed handshake says about them.

use std::io;
use std::time::Duration;

use app::model::RelayEvent;
use rustls::{AlertDescription, Error, PeerIncompatible};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Deadline of a handshake.
const LIMIT: Duration = Duration::from_secs(30);
/// Type of a record that begins TLS (RFC 8446, 5.1).
pub const HANDSHAKE: u8 = 0x16;

/// Begins TLS. A failure is told in words for the device's page.
pub async fn handshake(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
) -> Result<(TlsStream<TcpStream>, String), RelayEvent> {
    let mut first = [0_u8; 16];
    let peeked = tokio::time::timeout(LIMIT, stream.peek(&mut first)).await;
    let count = match peeked {
        Ok(Ok(count)) => count,
        Ok(Err(_)) => return Err(RelayEvent::Broken { in_message: false }),
        // A client that waits for a greeting has encryption off, or wants STARTTLS.
        Err(_) => return Err(RelayEvent::SpokePlain),
    };
    if count == 0 {
        return Err(RelayEvent::Broken { in_message: false });
    }
    if first[0] != HANDSHAKE && first[0].is_ascii() && first[0] >= b' ' {
        return Err(RelayEvent::SpokePlain);
    }
    match tokio::time::timeout(LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => {
            let version = tls.get_ref().1.protocol_version();
            let version = match version {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            };
            Ok((tls, version.to_owned()))
        }
        Ok(Err(error)) => Err(event(&error, &first[..count])),
        Err(_) => Err(RelayEvent::TimedOut { in_message: false }),
    }
}

/// The version that a ClientHello names (RFC 8446, 4.1.2): behind the headers of record and handshake.
fn offered(first: &[u8]) -> Option<&'static str> {
    match first.get(9..11)? {
        [3, 0] => Some("SSL 3"),
        [3, 1] => Some("TLS 1.0"),
        [3, 2] => Some("TLS 1.1"),
        _ => None,
    }
}

/// What a failed handshake means.
pub fn event(error: &io::Error, first: &[u8]) -> RelayEvent {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(version) = offered(first) {
        return RelayEvent::OldTls { offered: version.to_owned() };
    }
    match inner {
        Some(Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnknownCA,
        )) => RelayEvent::CertificateRefused,
        Some(Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered | PeerIncompatible::Tls12NotOfferedOrEnabled,
        )) => RelayEvent::OldTls { offered: "TLS 1.1 or older".into() },
        Some(Error::PeerIncompatible(_)) => RelayEvent::OldCiphers,
        Some(Error::AlertReceived(alert)) => RelayEvent::TlsFailed { why: format!("it sent {alert:?}") },
        Some(other) => RelayEvent::TlsFailed { why: other.to_string() },
        None if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset => {
            // Many clients close without an alert when they do not trust the certificate.
            RelayEvent::LeftAfterTls
        }
        None => RelayEvent::TlsFailed { why: error.to_string() },
    }
}
