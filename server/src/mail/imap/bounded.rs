//! A stream from an IMAP server whose answers have bounds. The library reads a literal of any size it is told of (up to 512 MiB)
//! before anybody can object.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one literal: what is asked for at once, and a little.
const LITERAL: u64 = 1024 * 1024;
/// Bytes of one answer, its literals and everything. A search may find hundreds of thousands of messages.
const ANSWER: u64 = 16 * 1024 * 1024;

/// `(` of one answer outside its literals: the library's parser nests its calls with them, and a full stack ends the process.
const OPEN: u32 = 128;

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Line,
    /// Within `{…}`, with its number so far.
    Size(u64),
    /// Behind `{…}`, with its number: a literal, if the line ends here.
    Sized(u64),
    /// Within a literal, with its bytes that are to come.
    Literal(u64),
}

/// Watches what a server says.
#[derive(Debug)]
pub struct Bounded<S> {
    inner: S,
    place: Place,
    /// Bytes of the answer so far.
    answer: u64,
    /// `(` in it so far, but for literals.
    open: u32,
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, place: Place::Line, answer: 0, open: 0 }
    }

    fn watch(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if let Place::Literal(left) = self.place {
                let here = left.min(rest.len() as u64);
                self.answer += here;
                self.place = if here == left { Place::Line } else { Place::Literal(left - here) };
                rest = &rest[usize::try_from(here).unwrap_or(rest.len())..];
            } else {
                self.answer += 1;
                self.open += u32::from(*byte == b'(');
                self.place = match (self.place, byte) {
                    (Place::Sized(0), b'\n') => Place::Line,
                    (Place::Sized(size), b'\n') => Place::Literal(size),
                    (sized @ Place::Sized(_), b'\r') => sized,
                    (_, b'{') => Place::Size(0),
                    (Place::Size(size), b'0'..=b'9') => {
                        Place::Size(size.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
                    }
                    (size @ Place::Size(_), b'+') => size,
                    (Place::Size(size), b'}') => Place::Sized(size),
                    (_, b'\n') => {
                        (self.answer, self.open) = (0, 0);
                        Place::Line
                    }
                    _ => Place::Line,
                };
                rest = behind;
            }
            if matches!(self.place, Place::Literal(size) if size > LITERAL) {
                return Err("the mail server sends more than was asked for");
            }
            if self.answer > ANSWER || self.open > OPEN {
                return Err("the mail server's answer is too long");
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let watched = self.watch(&buf.filled()[before..]);
        Poll::Ready(watched.map_err(|text| io::Error::new(io::ErrorKind::InvalidData, text)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(pieces: &[&[u8]]) -> Result<(), &'static str> {
        let mut stream = Bounded::new(());
        pieces.iter().try_for_each(|piece| stream.watch(piece))
    }

    #[test]
    fn literals_are_bounded_before_they_are_read() {
        assert!(watched(&[b"* 1 FETCH (BODY[] {5}\r\nhello)\r\n* 2 EXISTS\r\n"]).is_ok());
        assert!(watched(&[b"* 1 FETCH (BODY[] {10", b"48576}\r", b"\n"]).is_ok());
        for sizes in ["{1048577}", "{99999999999999999999999}", "{0000000536870912}", "{1048577+}"] {
            let line = format!("* 1 FETCH (BODY[] {sizes}\r\n");
            assert!(watched(&[line.as_bytes()]).is_err(), "{sizes}");
            let bytes: Vec<&[u8]> = line.as_bytes().chunks(1).collect();
            assert!(watched(&bytes).is_err(), "{sizes}, byte by byte");
        }
        // What looks like a literal within one is none.
        assert!(watched(&[b"* 1 FETCH (BODY[] {14}\r\n{99999999999}\n)\r\n"]).is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [b"* 1 FETCH (BODYSTRUCTURE ".as_slice(), &b"(".repeat(depth), b"\r\n"].concat();
        assert!(watched(&[&nested(20), &nested(100)]).is_ok());
        assert!(watched(&[&nested(400)]).is_err());
        // Mail may hold as many as it likes.
        assert!(watched(&[b"* 1 FETCH (BODY[] {400}\r\n", &b"(".repeat(400), b")\r\n"]).is_ok());
    }

    #[test]
    fn answers_are_bounded_and_each_begins_anew() {
        let line = [b"* SEARCH ".as_slice(), &b"123456 ".repeat(100_000), b"\r\n"].concat();
        assert!(watched(&vec![line.as_slice(); 100]).is_ok());
        assert!(watched(&vec![b"x".repeat(1_000_000).as_slice(); 17]).is_err());
        let pieces = b"{1000000}\r\n".to_vec();
        let literal = vec![b'x'; 1_000_000];
        let parts: Vec<&[u8]> = (0..40).flat_map(|_| [pieces.as_slice(), literal.as_slice()]).collect();
        assert!(watched(&parts).is_err());
    }
}
