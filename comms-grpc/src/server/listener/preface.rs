//! The first bytes of a connection: which HTTP version the peer speaks, and whether its HTTP/2 handshake is complete.

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;

/// What a peer has sent so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preface {
    /// This many bytes of the HTTP/2 preface; it may still be HTTP/1.
    Version(usize),
    /// The HTTP/2 preface, and this many bytes of the header of the frame behind it.
    Header { seen: usize, length: usize },
    /// The header of a SETTINGS frame; this many bytes of the frame are missing.
    Settings { missing: usize },
    /// Not the HTTP/2 preface.
    Http1,
    /// The HTTP/2 preface and a SETTINGS frame.
    Http2,
    /// The HTTP/2 preface and another frame, which is a protocol error.
    Broken,
}

impl Preface {
    /// Whether further bytes change nothing.
    pub(super) const fn is_known(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2 | Self::Broken)
    }

    /// Takes the next bytes of the peer.
    pub(super) fn read(mut self, bytes: &[u8]) -> Self {
        let mut rest = bytes.iter();
        while !self.is_known() {
            if self == (Self::Settings { missing: 0 }) {
                return Self::Http2;
            }
            let Some(byte) = rest.next() else { break };
            self = self.step(*byte);
        }
        self
    }

    fn step(self, byte: u8) -> Self {
        match self {
            Self::Version(seen) if PREFACE[seen] != byte => Self::Http1,
            Self::Version(seen) if seen + 1 == PREFACE.len() => Self::Header { seen: 0, length: 0 },
            Self::Version(seen) => Self::Version(seen + 1),
            Self::Header { seen: 3, .. } if byte != SETTINGS => Self::Broken,
            Self::Header { seen: 8, length } => Self::Settings { missing: length },
            Self::Header { seen, length } if seen < 3 => {
                Self::Header { seen: seen + 1, length: length << 8 | usize::from(byte) }
            }
            Self::Header { seen, length } => Self::Header { seen: seen + 1, length },
            Self::Settings { missing } => Self::Settings { missing: missing - 1 },
            Self::Http1 | Self::Http2 | Self::Broken => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes arrive in any pieces.
    fn read(bytes: &[u8]) -> Preface {
        let whole = Preface::Version(0).read(bytes);
        let single = bytes.iter().fold(Preface::Version(0), |preface, byte| preface.read(&[*byte]));
        // The end of a frame is seen with its last byte, or with an empty read behind it.
        assert_eq!(whole.read(&[]), single.read(&[]));
        whole.read(&[])
    }

    #[test]
    fn a_handshake_is_complete_with_its_settings() {
        let with = |frame: &[u8]| read(&[PREFACE, frame].concat());
        assert_eq!(with(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]), Preface::Http2);
        assert_eq!(with(&[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9]), Preface::Http2);
        let half = with(&[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(half, Preface::Settings { missing: 4 });
        assert!(!with(&[0, 0, 0, SETTINGS]).is_known() && !with(&[]).is_known());
        assert_eq!(with(&[0, 0, 8, 6, 0, 0, 0, 0, 0]), Preface::Broken);
    }

    #[test]
    fn everything_else_is_http1() {
        assert_eq!(read(b""), Preface::Version(0));
        assert_eq!(read(b"P"), Preface::Version(1));
        assert_eq!(read(&PREFACE[..12]), Preface::Version(12));
        assert_eq!(read(b"POST / HTTP/1.1"), Preface::Http1);
        assert_eq!(read(b"GET"), Preface::Http1);
        assert_eq!(read(&[0; 40]), Preface::Http1);
    }
}
