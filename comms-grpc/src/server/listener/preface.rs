//! Detection of the HTTP version, and of a complete HTTP/2 handshake, in the first bytes of a connection.

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;

/// The state of the detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preface {
    /// The peer has sent this many bytes of the HTTP/2 preface. The version may still be HTTP/1.
    Version(usize),
    /// The peer has sent the HTTP/2 preface, and `seen` bytes of the header of the first frame.
    Header { seen: usize, length: usize },
    /// The peer has sent the header of a SETTINGS frame; `missing` bytes of the frame are missing.
    Settings { missing: usize },
    /// The bytes are not the HTTP/2 preface.
    Http1,
    /// The peer has sent the HTTP/2 preface and a SETTINGS frame.
    Http2,
    /// The peer has sent the HTTP/2 preface and another frame, which is a protocol error.
    Broken,
}

impl Preface {
    /// Returns whether the detection is complete, so that further bytes do not change the state.
    pub(super) const fn is_decided(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2 | Self::Broken)
    }

    /// Returns the state after the next `bytes` of the peer.
    pub(super) fn read(mut self, bytes: &[u8]) -> Self {
        let mut rest = bytes.iter();
        while !self.is_decided() {
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

    /// Reads `bytes` at once and one by one, and returns the state, which is the same.
    fn read(bytes: &[u8]) -> Preface {
        let whole = Preface::Version(0).read(bytes);
        let single = bytes.iter().fold(Preface::Version(0), |preface, byte| preface.read(&[*byte]));
        // The end of a frame is detected with its last byte or with the next read, even if that is empty.
        assert_eq!(whole.read(&[]), single.read(&[]));
        whole.read(&[])
    }

    #[test]
    fn a_handshake_is_complete_after_the_settings_frame() {
        let with = |frame: &[u8]| read(&[PREFACE, frame].concat());
        assert_eq!(with(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]), Preface::Http2);
        assert_eq!(with(&[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9]), Preface::Http2);
        let half = with(&[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(half, Preface::Settings { missing: 4 });
        assert!(!with(&[0, 0, 0, SETTINGS]).is_decided() && !with(&[]).is_decided());
        assert_eq!(with(&[0, 0, 8, 6, 0, 0, 0, 0, 0]), Preface::Broken);
    }

    #[test]
    fn other_first_bytes_are_http1() {
        assert_eq!(read(b""), Preface::Version(0));
        assert_eq!(read(b"P"), Preface::Version(1));
        assert_eq!(read(&PREFACE[..12]), Preface::Version(12));
        assert_eq!(read(b"POST / HTTP/1.1"), Preface::Http1);
        assert_eq!(read(b"GET"), Preface::Http1);
        assert_eq!(read(&[0; 40]), Preface::Http1);
    }
}
