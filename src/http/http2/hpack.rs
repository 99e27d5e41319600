//! Reading header blocks (RFC 7541).
//!
//! A client's fields are of two kinds: those that it names by an index, which cost a clone of what lies in a
//! table, and those that it writes out. A bearer token is most often of the second, since clients keep
//! credentials out of the table (section 7.1.3), and the same in each request of a connection: the last one
//! is kept as it was coded, so that what comes again is compared instead of decoded.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use http::header::AUTHORIZATION;

use super::fields::{Field, Name, STATIC, Value};
use super::huffman;

/// The largest table (section 4.2), which is what a client may take for granted.
const TABLE_BYTES_MAX: usize = 4096;
/// The longest credentials that are kept as they were coded.
const KEPT_BYTES_MAX: usize = 4096;

/// A block is no HPACK: what follows on its connection cannot be read either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The state of a connection's header blocks.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest first.
    table: VecDeque<Field>,
    table_bytes: usize,
    /// As the client has set it.
    table_bytes_max: usize,
    kept: Option<Kept>,
}

/// The last credentials that came outside the table.
#[derive(Debug)]
struct Kept {
    coded: Bytes,
    value: Value,
    value_bytes: usize,
}

/// What is left of a block.
struct Block<'a>(&'a [u8]);

impl<'a> Block<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An integer whose first byte has been read, with so many bits of it (section 5.1).
    fn number(&mut self, first: u8, bits: u8) -> Result<usize, Unreadable> {
        let max = (1 << bits) - 1;
        let prefix = usize::from(first) & max;
        if prefix < max {
            return Ok(prefix);
        }
        let mut number = 0_usize;
        // Four bytes: far more than any index or length that could be right.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte().ok_or(Unreadable)?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number + max);
            }
        }
        Err(Unreadable)
    }

    /// A string as it is coded, and whether by Huffman's code (section 5.2).
    fn string(&mut self) -> Result<(&'a [u8], bool), Unreadable> {
        let first = self.byte().ok_or(Unreadable)?;
        let length = self.number(first, 7)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        Ok((string, first & 0x80 != 0))
    }
}

fn decoded((coded, is_huffman): (&[u8], bool)) -> Result<Bytes, Unreadable> {
    Ok(if is_huffman {
        Bytes::from(huffman::decode(coded).ok_or(Unreadable)?)
    } else {
        Bytes::copy_from_slice(coded)
    })
}

impl Decoder {
    pub(super) const fn new() -> Self {
        Self {
            table: VecDeque::new(),
            table_bytes: 0,
            table_bytes_max: TABLE_BYTES_MAX,
            kept: None,
        }
    }

    /// Reads a whole block, field by field.
    ///
    /// # Errors
    /// It is none (section 4.3 of RFC 9113 makes that an error of the connection).
    pub(super) fn read(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(Cow<'_, Field>),
    ) -> Result<(), Unreadable> {
        let mut block = Block(block);
        let mut begun = false;
        while let Some(first) = block.byte() {
            match first {
                // Indexed (section 6.1).
                0x80.. => take(Cow::Borrowed(self.at(block.number(first, 7)?)?)),
                // With a place in the table (section 6.2.1).
                0x40.. => {
                    let name = self.name(block.number(first, 6)?, &mut block)?;
                    let value = decoded(block.string()?)?;
                    let bytes = value.len();
                    let field = Field::new(name.clone(), Value::read(&name.0, value), bytes);
                    self.add(field.clone());
                    take(Cow::Owned(field));
                }
                // A new size of the table, before the first field only (sections 4.2 and 6.3).
                0x20.. => {
                    let bytes_max = block.number(first, 5)?;
                    if begun || bytes_max > TABLE_BYTES_MAX {
                        return Err(Unreadable);
                    }
                    self.table_bytes_max = bytes_max;
                    self.shrink(bytes_max);
                    continue;
                }
                // Without a place (sections 6.2.2 and 6.2.3).
                _ => {
                    let name = self.name(block.number(first, 4)?, &mut block)?;
                    let string = block.string()?;
                    take(Cow::Owned(self.passing(name, string)?));
                }
            }
            begun = true;
        }
        Ok(())
    }

    /// The field with an index.
    fn at(&self, index: usize) -> Result<&Field, Unreadable> {
        let at = index.checked_sub(1).ok_or(Unreadable)?;
        let of_static = STATIC.get(at);
        let field = of_static.or_else(|| self.table.get(at - STATIC.len()));
        field.ok_or(Unreadable)
    }

    /// The name of a literal, with its length.
    fn name(&self, index: usize, block: &mut Block<'_>) -> Result<(Name, usize), Unreadable> {
        if index == 0 {
            return Ok(Field::name(&decoded(block.string()?)?));
        }
        let field = self.at(index)?;
        Ok((field.name.clone(), field.name_bytes))
    }

    /// A field that has no place in the table.
    fn passing(
        &mut self,
        name: (Name, usize),
        (coded, is_huffman): (&[u8], bool),
    ) -> Result<Field, Unreadable> {
        let is_kept =
            is_huffman && coded.len() <= KEPT_BYTES_MAX && name.0 == Name::Ordinary(AUTHORIZATION);
        if is_kept
            && let Some(kept) = &self.kept
            // Other clients of a proxy before us may share this connection: none learns by time how much of
            // its guess is right.
            && aws_lc_rs::constant_time::verify_slices_are_equal(&kept.coded, coded).is_ok()
        {
            return Ok(Field::new(name, kept.value.clone(), kept.value_bytes));
        }
        let value = decoded((coded, is_huffman))?;
        let value_bytes = value.len();
        let value = Value::read(&name.0, value);
        if is_kept {
            self.kept = Some(Kept {
                coded: Bytes::copy_from_slice(coded),
                value: value.clone(),
                value_bytes,
            });
        }
        Ok(Field::new(name, value, value_bytes))
    }

    /// Puts a field into the table; one that is larger than all of it empties it (section 4.4).
    fn add(&mut self, field: Field) {
        let Some(room) = self.table_bytes_max.checked_sub(field.bytes) else {
            return self.shrink(0);
        };
        self.shrink(room);
        self.table_bytes += field.bytes;
        self.table.push_front(field);
    }

    /// Leaves so many bytes of the table.
    fn shrink(&mut self, bytes: usize) {
        while self.table_bytes > bytes
            && let Some(oldest) = self.table.pop_back()
        {
            self.table_bytes -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect()
    }

    /// The fields of a block as text.
    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Unreadable> {
        let mut fields = Vec::new();
        decoder.read(block, |field| {
            let field = field.into_owned();
            let name = match field.name {
                Name::Pseudo(pseudo) => format!(":{pseudo:?}").to_lowercase(),
                Name::Ordinary(name) => name.to_string(),
                Name::Malformed => "malformed".to_owned(),
            };
            let value = match field.value {
                Value::Pseudo(value) => String::from_utf8_lossy(&value).into_owned(),
                Value::Ordinary(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
                Value::Malformed => "malformed".to_owned(),
            };
            fields.push(format!("{name}: {value}"));
        })?;
        Ok(fields)
    }

    #[test]
    fn reads_the_requests_of_the_rfc() {
        let first = [
            ":method: GET",
            ":scheme: http",
            ":path: /",
            ":authority: www.example.com",
        ];
        let third = [
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ];
        let second = [&first[..], &["cache-control: no-cache"]].concat();
        // Appendix C.3, and C.4 with Huffman's code.
        for blocks in [
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
        ] {
            let mut decoder = Decoder::new();
            let due: [&[&str]; 3] = [&first, &second, &third];
            for (block, due) in blocks.iter().zip(due) {
                let fields = read(&mut decoder, &bytes(block)).expect("a block");
                assert_eq!(fields, due);
            }
            assert_eq!((decoder.table.len(), decoder.table_bytes), (3, 164));
        }
    }

    /// A field with a place in the table, whose name is `x`.
    fn placed(value: &str) -> Vec<u8> {
        let mut block = vec![0x40, 1, b'x', u8::try_from(value.len()).expect("short")];
        block.extend_from_slice(value.as_bytes());
        block
    }

    #[test]
    fn the_table_holds_what_has_room_in_it() {
        let mut decoder = Decoder::new();
        // 33 bytes and the value.
        let long = "v".repeat(100);
        for _ in 0..100 {
            read(&mut decoder, &placed(&long)).expect("a block");
        }
        assert_eq!(decoder.table.len(), 4096 / 133);
        // Smaller by the client; a field that is larger than all of it empties it.
        read(&mut decoder, &[0x3f, 0x45]).expect("a size of 100");
        assert_eq!(decoder.table.len(), 0);
        read(&mut decoder, &placed("v")).expect("a block");
        assert_eq!(decoder.table.len(), 1);
        read(&mut decoder, &placed(&long)).expect("a block");
        assert_eq!((decoder.table.len(), decoder.table_bytes), (0, 0));
        // A size stands before all fields.
        assert_eq!(read(&mut decoder, &[0x82, 0x20]), Err(Unreadable));
        for broken in ["be", "80", "ffffffffff7f", "0f", "41", "4105", "3fe21f"] {
            assert_eq!(
                read(&mut Decoder::new(), &bytes(broken)),
                Err(Unreadable),
                "{broken}"
            );
        }
    }

    #[test]
    fn credentials_that_come_again_are_the_same_and_others_are_not() {
        let mut decoder = Decoder::new();
        let mut authorization = |coded: &[u8]| {
            let length = 0x80 | u8::try_from(coded.len()).expect("short");
            let block = [&[0x0f, 0x08, length], coded].concat();
            read(&mut decoder, &block)
        };
        // `www.example.com`, the same with another first byte, and `no-cache`.
        let (one, like_it) = (
            bytes("f1e3c2e5f23a6ba0ab90f4ff"),
            bytes("ede3c2e5f23a6ba0ab90f4ff"),
        );
        let other = bytes("a8eb10649cbf");
        for _ in 0..3 {
            for _ in 0..2 {
                let fields = authorization(&one).expect("a block");
                assert_eq!(fields, ["authorization: www.example.com"]);
            }
            assert_eq!(
                authorization(&other).expect("a block"),
                ["authorization: no-cache"]
            );
            authorization(&one).expect("a block");
            let fields = authorization(&like_it).expect("a block");
            assert_ne!(fields, ["authorization: www.example.com"]);
        }
        // What is kept of one field is of no other.
        let block = [&[0x0f, 0x1a, 0x8c][..], &one].concat();
        let fields = read(&mut decoder, &block).expect("a block");
        assert_eq!(fields, ["if-none-match: www.example.com"]);
        let kept = decoder.kept.as_ref().expect("something");
        assert_eq!(&kept.coded[..], &like_it[..]);
    }
}
