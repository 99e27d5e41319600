//! Where the frames of a WebSocket end (RFC 6455 section 5.2), so that one of ours fits in between.
//!
//! Only the headers are followed; what is in the frames is nobody's business here.

/// The longest header: two bytes, a length of eight, a mask of four.
const HEADER_MAX: usize = 14;

/// Why one side closes (RFC 6455 section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseCode {
    GoingAway = 1001,
    PolicyViolation = 1008,
}

/// How far the bytes of one direction have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    header: [u8; HEADER_MAX],
    /// Bytes of the header that are there.
    header_length: usize,
    /// Bytes of the payload that are still to come.
    payload: u64,
    /// A Close frame has begun: nothing may follow it.
    pub(super) closed: bool,
}

impl Frames {
    /// Whether one frame has ended and no other has begun.
    pub(super) const fn is_between(&self) -> bool {
        self.header_length == 0 && self.payload == 0
    }

    /// How many bytes may be taken at most without running over the end of this frame. Never zero.
    pub(super) fn rest(&self) -> usize {
        match self.payload {
            0 => self
                .header_needed()
                .saturating_sub(self.header_length)
                .max(1),
            payload => usize::try_from(payload).unwrap_or(usize::MAX),
        }
    }

    /// The length of the header, as far as it can be told.
    const fn header_needed(&self) -> usize {
        if self.header_length < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        length + mask
    }

    /// Takes note of bytes that pass.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let here = usize::try_from(self.payload).unwrap_or(usize::MAX);
                let here = here.min(bytes.len());
                self.payload -= here as u64;
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.header.get_mut(self.header_length) {
                *place = *first;
            }
            self.header_length += 1;
            bytes = rest;
            if self.header_length >= 2 && self.header_length == self.header_needed() {
                self.begin_payload();
            }
        }
    }

    fn begin_payload(&mut self) {
        const CLOSE: u8 = 8;
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.header;
        self.closed |= first & 0x0f == CLOSE;
        self.payload = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            length => u64::from(length),
        };
        self.header_length = 0;
    }
}

/// A Close frame. What a client sends is masked.
pub(super) fn close(code: CloseCode, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = (code as u16).to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    // A control frame has at most 125 bytes.
    payload.truncate(125);
    let length = u8::try_from(payload.len()).unwrap_or(0);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x88, masked | length];
    if let Some(mask) = mask {
        frame.extend_from_slice(&mask);
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
    frame.extend_from_slice(&payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of every kind of length, masked and not.
    fn frame(length: usize, masked: bool, opcode: u8) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(bit | u8::try_from(length).expect("small")),
            126..65536 => {
                frame.push(bit | 126);
                frame.extend(u16::try_from(length).expect("small").to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.resize(frame.len() + length, 0x88);
        frame
    }

    #[test]
    fn the_ends_of_frames_are_found_however_they_are_cut() {
        let lengths = [0, 1, 125, 126, 65535, 65536, 3];
        for masked in [false, true] {
            let all: Vec<_> = lengths.iter().map(|it| frame(*it, masked, 2)).collect();
            let mut ends = Vec::new();
            let mut end = 0;
            for frame in &all {
                end += frame.len();
                ends.push(end);
            }
            let bytes = all.concat();
            for piece in [1, 2, 3, 7, 1000, 70_000, bytes.len()] {
                let mut frames = Frames::default();
                let mut passed = 0;
                for chunk in bytes.chunks(piece) {
                    frames.pass(chunk);
                    passed += chunk.len();
                    assert_eq!(frames.is_between(), ends.contains(&passed), "{passed}");
                }
                assert!(!frames.closed);
            }
            // Whoever takes no more than the rest stops at each end.
            let (mut frames, mut passed) = (Frames::default(), 0);
            let mut stops = Vec::new();
            while passed < bytes.len() {
                let count = frames.rest().min(bytes.len() - passed);
                frames.pass(&bytes[passed..passed + count]);
                passed += count;
                if frames.is_between() {
                    stops.push(passed);
                }
            }
            assert_eq!(stops, ends);
        }
    }

    #[test]
    fn a_close_is_noticed_and_made() {
        let ours = close(CloseCode::PolicyViolation, "token_expired", None);
        assert_eq!(&ours[..4], [0x88, 15, 0x03, 0xf0]);
        assert_eq!(&ours[4..], b"token_expired");
        let masked = close(CloseCode::GoingAway, "", Some([1, 2, 3, 4]));
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
        for close in [ours, masked] {
            let mut frames = Frames::default();
            frames.pass(&close);
            assert!(frames.closed && frames.is_between());
        }
        assert_eq!(
            close(CloseCode::GoingAway, &"x".repeat(200), None).len(),
            127
        );
    }

    #[test]
    fn any_bytes_are_cut_alike_however_they_come() {
        crate::fuzz::target("websocket", |bytes| {
            let mut whole = Frames::default();
            whole.pass(bytes);
            let (mut pieces, mut stops) = (Frames::default(), Frames::default());
            for byte in bytes {
                pieces.pass(&[*byte]);
            }
            let mut rest = bytes;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(stops.rest().min(rest.len()));
                stops.pass(now);
                rest = later;
            }
            assert_eq!(whole.is_between(), pieces.is_between());
            assert_eq!(
                (whole.payload, whole.closed),
                (pieces.payload, pieces.closed)
            );
            assert_eq!((whole.payload, whole.closed), (stops.payload, stops.closed));
        });
    }
}
