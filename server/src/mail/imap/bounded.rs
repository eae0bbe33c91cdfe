//! A stream that bounds the responses of an IMAP server. The library reads literals of any announced size (up to 512 MiB) before the
//! caller can object, recurses as deep as a response nests, parses an unfinished response again with each 4 KiB, and panics on some
//! input. So this module checks each line with the library's own parser before the library sees it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_imap::imap_proto::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Limits until the next [`Bounded::allow`], in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Allow {
    pub line: usize,
    pub literal: usize,
    pub total: u64,
}

impl Allow {
    /// For commands that change something, authenticate, or wait.
    pub const LITTLE: Self = Self { line: 64 * 1024, literal: 8 * 1024, total: 1024 * 1024 };
    /// For folders, flags and headers.
    pub const LISTS: Self = Self { line: 64 * 1024, literal: 256 * 1024, total: 64 * 1024 * 1024 };
    /// For a chunk of a message.
    pub const OCTETS: Self = Self { line: 64 * 1024, literal: 1024 * 1024, total: 2 * 1024 * 1024 };
    /// For SEARCH: its response is one line, of at most some 250,000 numbers.
    pub const NUMBERS: Self = Self { line: 2 * 1024 * 1024, literal: 8 * 1024, total: 4 * 1024 * 1024 };
}

/// `(` in one response outside literals: the library's parser recurses on them, and a full stack ends the process.
/// The data requested (flags, sizes, header fields) needs four.
const OPEN: usize = 32;
/// Literals in one response: the response is checked again after each.
const LITERALS: usize = 64;

#[derive(Debug)]
pub struct Bounded<S> {
    inner: S,
    allow: Allow,
    spent: u64,
    /// The response so far; it ends within a line or a literal.
    answer: Vec<u8>,
    /// Number of literals, their bytes, and the remaining bytes of the current one.
    literals: usize,
    literal_bytes: usize,
    to_come: usize,
    /// `(` outside of them.
    open: usize,
    /// Bytes that the library may read already.
    passed: usize,
    /// Data for the library, from `given` on.
    checked: Vec<u8>,
    given: usize,
}

enum End {
    Answer,
    Literal(usize),
}

fn refused(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The number of `{number}` at the end of a line.
fn announced(line: &[u8]) -> Option<usize> {
    let digits = line.strip_suffix(b"}\r\n")?;
    let digits = &digits[digits.iter().rposition(|byte| *byte == b'{')? + 1..];
    // A number beyond the type is too large.
    digits
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok().or(Some(usize::MAX)))?
}

/// How the library parses a response that ends with a line. `None`: it cannot.
fn judge(answer: &[u8]) -> Option<End> {
    let parsed = catch_unwind(AssertUnwindSafe(|| match Response::parse(answer) {
        Ok((rest, _)) => Ok(rest.is_empty()),
        Err(nom::Err::Incomplete(nom::Needed::Size(size))) => Err(Some(size.get())),
        Err(nom::Err::Incomplete(nom::Needed::Unknown)) => Err(Some(1)),
        Err(_) => Err(None),
    }));
    match (parsed.ok()?, announced(answer)) {
        (Ok(true), _) => Some(End::Answer),
        (Err(Some(_)), Some(0)) => Some(End::Literal(0)),
        // The parser sees a literal too: only then does it request all of it.
        (Err(Some(wanted)), Some(size)) if wanted == size => Some(End::Literal(size)),
        _ => None,
    }
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            allow: Allow::LITTLE,
            spent: 0,
            answer: Vec::new(),
            literals: 0,
            literal_bytes: 0,
            to_come: 0,
            open: 0,
            passed: 0,
            checked: Vec::new(),
            given: 0,
        }
    }

    /// Sets the limits of the next response. Called before each command.
    pub(super) fn allow(&mut self, allow: Allow) {
        self.allow = allow;
        self.spent = 0;
    }

    fn watch(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.spent += bytes.len() as u64;
        if self.spent > self.allow.total {
            return Err(refused("the mail server sends more than was asked for"));
        }
        while !bytes.is_empty() {
            if self.to_come > 0 {
                let (now, later) = bytes.split_at(self.to_come.min(bytes.len()));
                self.answer.extend_from_slice(now);
                self.checked.extend_from_slice(now);
                self.passed = self.answer.len();
                self.to_come -= now.len();
                bytes = later;
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            let (now, later) = bytes.split_at(end);
            bytes = later;
            self.answer.extend_from_slice(now);
            self.open += now.iter().map(|byte| usize::from(*byte == b'(')).sum::<usize>();
            if self.answer.len() - self.literal_bytes > self.allow.line || self.open > OPEN {
                return Err(refused("the mail server's answer is too long"));
            }
            if !now.ends_with(b"\n") {
                return Ok(());
            }
            self.end_of_line()?;
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> io::Result<()> {
        match judge(&self.answer).ok_or_else(|| refused("the mail server's answer cannot be understood"))? {
            End::Literal(size) if size > self.allow.literal || self.literals == LITERALS => {
                Err(refused("the mail server sends more than was asked for"))
            }
            End::Literal(size) => {
                self.checked.extend_from_slice(&self.answer[self.passed..]);
                self.passed = self.answer.len();
                self.literals += 1;
                self.literal_bytes += size;
                self.to_come = size;
                Ok(())
            }
            End::Answer => {
                self.checked.extend_from_slice(&self.answer[self.passed..]);
                self.answer.clear();
                self.answer.shrink_to(self.allow.line.min(64 * 1024));
                (self.literals, self.literal_bytes, self.open, self.passed) = (0, 0, 0, 0);
                Ok(())
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.given < this.checked.len() {
                let ready = &this.checked[this.given..];
                let ready = &ready[..ready.len().min(buf.remaining())];
                buf.put_slice(ready);
                this.given += ready.len();
                return Poll::Ready(Ok(()));
            }
            this.checked.clear();
            this.checked.shrink_to(64 * 1024);
            this.given = 0;
            let mut raw = [0; 8 * 1024];
            let mut raw = ReadBuf::new(&mut raw);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut raw))?;
            if raw.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.watch(raw.filled())?;
        }
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

    /// The data that passes, in chunks of `size`.
    fn passed(allow: Allow, said: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let mut stream = Bounded::new(());
        stream.allow(allow);
        said.chunks(size).try_for_each(|piece| stream.watch(piece))?;
        Ok(stream.checked)
    }

    fn is_taken(allow: Allow, said: &[u8]) -> bool {
        let whole = passed(allow, said, usize::MAX).ok();
        if said.len() < 10_000 {
            assert_eq!(passed(allow, said, 1).ok(), whole, "{}", String::from_utf8_lossy(said));
        }
        whole.is_some_and(|through| through == said)
    }

    #[test]
    fn what_servers_say_comes_through() {
        for said in [
            "* OK [CAPABILITY IMAP4rev1 LITERAL+ ID] ready {5}.\r\n",
            "* LIST (\\HasNoChildren \\Trash) \"/\" \"Deleted Items\"\r\na1 OK LIST completed.\r\n",
            "* LIST (\\HasNoChildren) \"/\" {7}\r\nEntw\"rf\r\n",
            "* 1 FETCH (UID 7 BODY[] {5}\r\nhello)\r\n* 2 EXISTS\r\n",
            "* 1 FETCH (UID 7 BODY[HEADER.FIELDS (FROM TO)] {14}\r\n{99999999999}\n FLAGS (\\Seen))\r\n",
            "* 1 FETCH (BODY[] {0}\r\n)\r\n",
            "* 3 FETCH (BODY[] \"{12}\")\r\n",
            "+ \r\n",
            "+ eyJzdGF0dXMiOiI0MDAifQ==\r\n",
            "a2 NO [ALERT] {9} of ten (or {10}\r\n",
            "* BYE Session invalidated - AccessTokenExpired\r\n",
            "a3 OK [COPYUID 38505 304,319:320 3956:3958] Done\r\n",
        ] {
            assert!(is_taken(Allow::OCTETS, said.as_bytes()), "{said}");
        }
        let line = [b"* SEARCH ".as_slice(), &b"123456 ".repeat(100_000), b"1\r\n"].concat();
        assert!(is_taken(Allow::NUMBERS, &line));
        assert!(!is_taken(Allow::LITTLE, &line));
    }

    #[test]
    fn literals_are_bounded_before_they_are_read() {
        for size in ["{1048577}", "{99999999999999999999999}", "{0000000536870912}", "{4294967295}", "{1048577+}"] {
            for before in ["* 1 FETCH (BODY[] ", "* LIST () \"/\" ", "* OK ", "* 1 FETCH (X-ODD ", "+ ", "* OK [X "] {
                let said = format!("{before}{size}\r\n");
                let through = passed(Allow::OCTETS, said.as_bytes(), usize::MAX);
                // In running text it is not a literal; a reader that takes it for one waits for bytes nobody requested.
                let in_words = before.starts_with("* OK ") || before == "+ ";
                assert_eq!(through.is_ok(), in_words, "{said}");
                if in_words {
                    assert!(is_taken(Allow::OCTETS, format!("{said}* 1 EXISTS\r\n").as_bytes()), "{said}");
                }
            }
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [b"* 1 FETCH (BODYSTRUCTURE ".as_slice(), &b"(".repeat(depth), b"\r\n"].concat();
        for depth in [40, 400, 60_000] {
            assert!(!is_taken(Allow::OCTETS, &nested(depth)), "{depth}");
        }
        // Mail may hold as many as it likes.
        let mail = [b"* 1 FETCH (BODY[] {400}\r\n".as_slice(), &b"(".repeat(400), b")\r\n"].concat();
        assert!(is_taken(Allow::OCTETS, &mail));
    }

    #[test]
    fn an_answer_and_all_of_them_are_bounded() {
        assert!(!is_taken(Allow::LITTLE, &b"x".repeat(70_000)));
        assert!(!is_taken(Allow::LITTLE, &b"* 1 EXISTS\r\n".repeat(100_000)));
        let literals = [b"* 1 FETCH (".as_slice(), &b"BODY[] {1}\r\nx ".repeat(100), b"UID 1)\r\n"].concat();
        assert!(!is_taken(Allow::LISTS, &literals));
    }

    #[test]
    fn what_the_library_cannot_read_ends_here() {
        for said in [
            "\r\n",
            "* \r\n",
            "* 99999999999 EXISTS\r\n",
            "* SEARCH 99999999999\r\n",
            "* 1 FETCH (UID x)\r\n",
            "a1\r\n",
        ] {
            let through = passed(Allow::LITTLE, said.as_bytes(), usize::MAX);
            assert!(through.is_err() || judge(said.as_bytes()).is_some(), "{said}");
        }
    }
}
