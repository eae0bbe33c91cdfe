//! The content of a message, up to its end.
//!
//! The end is CR LF . CR LF and nothing else: a relay that takes less hands over what a client hid in a message (SMTP smuggling,
//! CVE-2023-51764). smtp-proto also ends at CR LF . CR CR LF, so its receiver is not used.

/// The end, with the line end before it.
const END: &[u8] = b"\r\n.\r\n";

/// Collects content, and finds its end.
pub struct Content {
    /// Begins with a line end: the end may be the first line.
    bytes: Vec<u8>,
    most: usize,
    /// More came than is taken: only the end is looked for.
    pub too_large: bool,
}

impl Content {
    pub fn new(most: usize) -> Self {
        Self { bytes: b"\r\n".to_vec(), most, too_large: false }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes bytes. Returns those behind the end, if it came.
    pub fn push(&mut self, more: &[u8]) -> Option<Vec<u8>> {
        let from = self.bytes.len().saturating_sub(END.len() - 1);
        self.bytes.extend_from_slice(more);
        let end = memchr::memmem::find(&self.bytes[from..], END).map(|at| from + at);
        if let Some(end) = end {
            let behind = self.bytes.split_off(end + END.len());
            // The line end before the dot belongs to the content.
            self.bytes.truncate(end + 2);
            self.too_large |= self.bytes.len() > self.most + 2;
            return Some(behind);
        }
        if self.too_large || self.bytes.len() > self.most + 2 {
            self.discard();
        }
        None
    }

    /// From now on only the end is looked for.
    pub fn discard(&mut self) {
        self.too_large = true;
        let kept = self.bytes.len().saturating_sub(END.len() - 1);
        self.bytes.drain(..kept);
        self.bytes.shrink_to(64 * 1024);
    }

    /// The content, without the dots that clients add to lines (RFC 5321, 4.5.2).
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut rest = self.bytes.as_slice();
        while let Some(at) = memchr::memmem::find(rest, b"\r\n.") {
            out.extend_from_slice(&rest[..at + 2]);
            rest = &rest[at + 3..];
        }
        out.extend_from_slice(rest);
        out.drain(..2.min(out.len()));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(chunks: &[&[u8]]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut content = Content::new(1_000);
        for chunk in chunks {
            if let Some(behind) = content.push(chunk) {
                return Some((content.finish(), behind));
            }
        }
        None
    }

    #[test]
    fn the_end_is_a_dot_between_whole_line_ends() {
        assert_eq!(received(&[b"a\r\n.\r\nQUIT\r\n"]).unwrap(), (b"a\r\n".to_vec(), b"QUIT\r\n".to_vec()));
        assert_eq!(received(&[b".\r\n"]).unwrap().0, b"");
        assert_eq!(received(&[b"..\r\n...a\r\n\r\n.", b"\r", b"\n"]).unwrap().0, b".\r\n..a\r\n\r\n");
        let every: Vec<&[u8]> = b"x\r\n..y\r\n.\r\n".chunks(1).collect();
        assert_eq!(received(&every).unwrap().0, b"x\r\n.y\r\n");
        for hidden in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\r\n.\r\r\n",
            "\r.\r\n",
            "\n.\r",
            "\r\n\x00.\r\n",
            "\r\n.\x00\r\n",
        ] {
            let text = format!("one{hidden}MAIL FROM:<evil@x.example>\r\n");
            assert_eq!(received(&[text.as_bytes()]), None, "{hidden:?}");
            let (content, behind) = received(&[text.as_bytes(), b"\r\n.\r\n"]).unwrap();
            assert!(String::from_utf8_lossy(&content).contains("MAIL FROM") && behind.is_empty(), "{hidden:?}");
        }
    }

    #[test]
    fn more_than_is_taken_is_not_kept() {
        let mut content = Content::new(100);
        for _ in 0..1_000 {
            assert_eq!(content.push(&[b'x'; 1_000]), None);
            assert!(content.len() < 5);
        }
        assert_eq!(content.push(b"\r\n.\r\nNOOP").unwrap(), b"NOOP");
        assert!(content.too_large);
    }
}
