//! Frames (RFC 9113 sections 4 and 6): their heads, their codes, and what is read of and written to them.

/// What a frame may hold until a peer allows more (section 4.2). More is never taken nor sent.
pub(super) const PAYLOAD_MAX: usize = 16 * 1024;
pub(super) const HEAD_BYTES: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITIZED: u8 = 0x20;

/// An error code (section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) u32);

impl Code {
    pub(super) const NO_ERROR: Self = Self(0);
    pub(super) const PROTOCOL_ERROR: Self = Self(1);
    pub(super) const INTERNAL_ERROR: Self = Self(2);
    pub(super) const FLOW_CONTROL_ERROR: Self = Self(3);
    pub(super) const STREAM_CLOSED: Self = Self(5);
    pub(super) const FRAME_SIZE_ERROR: Self = Self(6);
    pub(super) const REFUSED_STREAM: Self = Self(7);
    pub(super) const CANCEL: Self = Self(8);
    pub(super) const COMPRESSION_ERROR: Self = Self(9);
    pub(super) const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// What of a connection a frame breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// All of it (section 5.4.1).
    Connection(Code),
    /// One stream (section 5.4.2).
    Stream(u32, Code),
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// That of the frame which begins here; `None`: it is not whole.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<HEAD_BYTES>()?;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: number([s0, s1, s2, s3]),
        })
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What is in a frame without its padding (section 6.1).
    pub(super) fn unpadded(self, payload: &[u8]) -> Result<&[u8], Broken> {
        if !self.has(PADDED) {
            return Ok(payload);
        }
        let malformed = Broken::Connection(Code::PROTOCOL_ERROR);
        let (padding, rest) = payload
            .split_first()
            .ok_or(Broken::Connection(Code::FRAME_SIZE_ERROR))?;
        let length = rest.len().checked_sub(usize::from(*padding));
        rest.get(..length.ok_or(malformed)?).ok_or(malformed)
    }
}

/// 31 bits, behind one that is reserved.
const fn number(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}

/// The only number in a frame that has one.
pub(super) fn word(payload: &[u8]) -> Result<u32, Broken> {
    let bytes: [u8; 4] = payload
        .try_into()
        .map_err(|_| Broken::Connection(Code::FRAME_SIZE_ERROR))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The fragment in a HEADERS frame, without padding and priority (section 6.2).
pub(super) fn fragment(head: Head, payload: &[u8]) -> Result<&[u8], Broken> {
    let payload = head.unpadded(payload)?;
    if !head.has(PRIORITIZED) {
        return Ok(payload);
    }
    let (on, rest) = payload
        .split_first_chunk::<5>()
        .ok_or(Broken::Connection(Code::FRAME_SIZE_ERROR))?;
    let [a, b, c, d, _weight] = *on;
    if number([a, b, c, d]) == head.stream {
        return Err(Broken::Connection(Code::PROTOCOL_ERROR));
    }
    Ok(rest)
}

/// Priorities are left out of account (section 5.3.2); one that is none is an error all the same.
pub(super) fn priority(head: Head, payload: &[u8]) -> Result<(), Broken> {
    let [a, b, c, d, _weight] = *payload else {
        return Err(Broken::Stream(head.stream, Code::FRAME_SIZE_ERROR));
    };
    if number([a, b, c, d]) == head.stream {
        return Err(Broken::Stream(head.stream, Code::PROTOCOL_ERROR));
    }
    Ok(())
}

/// What a client's settings tell that is of use here (section 6.5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) initial_window: Option<u32>,
}

pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
/// RFC 8441 section 3.
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
const ENABLE_PUSH: u16 = 2;
const MAX_FRAME_SIZE: u16 = 5;
/// The largest window (section 6.9.1).
pub(super) const WINDOW_MAX: u32 = 0x7fff_ffff;

/// Reads the payload of SETTINGS.
pub(super) fn settings(payload: &[u8]) -> Result<Settings, Broken> {
    let malformed = Err(Broken::Connection(Code::PROTOCOL_ERROR));
    let (entries, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Broken::Connection(Code::FRAME_SIZE_ERROR));
    }
    let mut settings = Settings::default();
    for [i, j, a, b, c, d] in entries {
        let value = u32::from_be_bytes([*a, *b, *c, *d]);
        match u16::from_be_bytes([*i, *j]) {
            ENABLE_PUSH if value > 1 => return malformed,
            INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                return Err(Broken::Connection(Code::FLOW_CONTROL_ERROR));
            }
            INITIAL_WINDOW_SIZE => settings.initial_window = Some(value),
            MAX_FRAME_SIZE if !(0x4000..=0xff_ffff).contains(&value) => return malformed,
            _ => {}
        }
    }
    Ok(settings)
}

/// Writes the head of a frame.
pub(super) fn write_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&head(length, kind, flags, stream));
}

/// The head of a frame. Its length has 24 bits; ours are never longer than [`PAYLOAD_MAX`].
pub(super) const fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD_BYTES] {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [l0, l1, l2, kind, flags, s0, s1, s2, s3]
}

/// Writes our SETTINGS.
pub(super) fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    write_head(out, settings.len() * 6, SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn write_settings_ack(out: &mut Vec<u8>) {
    write_head(out, 0, SETTINGS, ACK, 0);
}

pub(super) fn write_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    write_head(out, payload.len(), PING, flags, 0);
    out.extend_from_slice(&payload);
}

pub(super) fn write_reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    write_head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

pub(super) fn write_window_update(out: &mut Vec<u8>, stream: u32, by: u32) {
    write_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&by.to_be_bytes());
}

pub(super) fn write_goaway(out: &mut Vec<u8>, last: u32, code: Code) {
    write_head(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}
