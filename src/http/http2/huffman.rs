//! The code of strings in header blocks (RFC 7541 section 5.2 and appendix B).
//!
//! It is canonical: the lengths of its codes say all. What a code of up to nine bits stands for is one look
//! into a table; longer ones, which are control and other rare bytes, are found by their length.

/// Bits of each byte's code; at last those of the end of a string, which never occurs in one.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];
const LENGTH_MAX: usize = 30;
/// Codes of so many bits are looked up at once.
const SHORT: u32 = 9;

/// The code, from its lengths.
struct Code {
    /// By the next [`SHORT`] bits: the symbol above four bits of its length; 0: its code is longer.
    short: [u16; 1 << SHORT],
    /// By length: the first code, its place among the symbols, and how many there are.
    first: [u32; LENGTH_MAX + 1],
    place: [u16; LENGTH_MAX + 1],
    count: [u16; LENGTH_MAX + 1],
    /// In the order of their codes.
    symbols: [u16; 257],
}

static CODE: Code = code();

#[expect(
    clippy::indexing_slicing,
    reason = "a constant: an index beyond an array is an error of the build"
)]
const fn code() -> Code {
    let mut code = Code {
        short: [0; 1 << SHORT],
        first: [0; LENGTH_MAX + 1],
        place: [0; LENGTH_MAX + 1],
        count: [0; LENGTH_MAX + 1],
        symbols: [0; 257],
    };
    let (mut next, mut place, mut length) = (0_u32, 0_usize, 1);
    while length <= LENGTH_MAX {
        next <<= 1;
        code.first[length] = next;
        code.place[length] = place as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place] = symbol as u16;
                place += 1;
                if length <= SHORT as usize {
                    let spare = SHORT - length as u32;
                    let mut low = 0;
                    while low < 1 << spare {
                        let at = (next << spare) | low;
                        code.short[at as usize] = ((symbol as u16) << 4) | length as u16;
                        low += 1;
                    }
                }
                next += 1;
            }
            symbol += 1;
        }
        code.count[length] = (next - code.first[length]) as u16;
        length += 1;
    }
    // A code that leaves nothing over and gives nothing twice.
    assert!(next == 1 << LENGTH_MAX);
    code
}

/// Bits that were read and not yet used, from the top.
struct Bits(u64);

impl Bits {
    const fn top(&self, count: u32) -> u32 {
        (self.0 >> (64 - count)) as u32
    }
}

/// Decodes a string; `None`: it is none, or its padding is not what it must be.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut text = Vec::with_capacity(bytes.len() * 8 / 5);
    let mut bits = Bits(0);
    let mut held = 0;
    let mut rest = bytes.iter();
    loop {
        while held <= 56
            && let Some(byte) = rest.next()
        {
            bits.0 |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let entry = *CODE.short.get(bits.top(SHORT) as usize)?;
        let (symbol, length) = match entry {
            0 => long(&bits)?,
            entry => (entry >> 4, u32::from(entry & 0xf)),
        };
        if length > held {
            break;
        }
        // The end of a string is no byte.
        text.push(u8::try_from(symbol).ok()?);
        bits.0 <<= length;
        held -= length;
    }
    // What is left is the beginning of the end's code: ones, and less than a byte of them.
    let is_padding = held < 8 && (held == 0 || bits.top(held) == (1 << held) - 1);
    is_padding.then_some(text)
}

/// A symbol whose code has more than [`SHORT`] bits, with its length.
fn long(bits: &Bits) -> Option<(u16, u32)> {
    (SHORT + 1..=LENGTH_MAX as u32).find_map(|length| {
        let at = length as usize;
        let nth = bits.top(length).checked_sub(*CODE.first.get(at)?)?;
        if nth >= u32::from(*CODE.count.get(at)?) {
            return None;
        }
        let place = u32::from(*CODE.place.get(at)?) + nth;
        Some((*CODE.symbols.get(place as usize)?, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other way, bit by bit.
    fn encode(text: &[u8]) -> Vec<u8> {
        let codes = |symbol: u8| {
            let length = LENGTHS[usize::from(symbol)];
            let at = usize::from(length);
            let from = usize::from(CODE.place[at]);
            let symbols = &CODE.symbols[from..from + usize::from(CODE.count[at])];
            let nth = symbols.iter().position(|it| *it == u16::from(symbol));
            let code = CODE.first[at] + u32::try_from(nth.expect("a symbol")).expect("small");
            (0..length).rev().map(move |bit| code >> bit & 1 == 1)
        };
        let mut bits: Vec<bool> = text.iter().flat_map(|symbol| codes(*symbol)).collect();
        bits.resize(bits.len().next_multiple_of(8), true);
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn reads_the_examples_of_the_rfc() {
        for (coded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("aec3771a4b", "private"),
            (
                "d07abe941054d444a8200595040b8166e082a62d1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ] {
            let bytes: Vec<u8> = (0..coded.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&coded[at..at + 2], 16).expect("hex"))
                .collect();
            assert_eq!(decode(&bytes).as_deref(), Some(text.as_bytes()));
            assert_eq!(encode(text.as_bytes()), bytes);
        }
    }

    #[test]
    fn reads_every_byte_beside_every_other() {
        for one in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                let text = [one, other, one, one, other];
                assert_eq!(decode(&encode(&text)).as_deref(), Some(&text[..]));
            }
        }
        assert_eq!(decode(b"").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        // `a` is 00011, `&` is 11111000.
        assert_eq!(decode(&[0b0001_1111]).as_deref(), Some(&b"a"[..]));
        assert_eq!(decode(&[0b0001_1110]), None, "a zero");
        assert_eq!(decode(&[0b0001_1111, 0xff]), None, "more than a byte");
        assert_eq!(decode(&[0b1111_1000, 0xff]), None, "eight bits");
        assert_eq!(decode(&[0xff]), None, "nothing but padding");
        assert_eq!(decode(&[0xff; 4]), None, "the end");
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xfc, 0x1f]), None, "the end");
    }
}
