//! Inputs that nobody would think of: those of a corpus, changed at random, run after run.
//!
//! Every parser of what strangers send is tried with them, in its own tests. What is looked for is a
//! panic, or two readings of the same bytes. The order is the same every time; `BEARWARD_FUZZ_RUNS` makes
//! it longer, and `BEARWARD_FUZZ_SEED` another one. An input that fails is written to the panic.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Inputs that each target is given in an ordinary run.
const RUNS: u64 = 5_000;
/// The longest input.
const BYTES_MAX: usize = 4096;

/// Dice that fall the same way every time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() >> 11).unwrap_or(0) % sides.max(1)
    }
}

/// Gives a target everything in `tests/fuzz/NAME`, a file each, and then changed forms of it.
pub(crate) fn target(name: &str, mut tries: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).expect("a file"))
        .collect();
    assert!(!corpus.is_empty(), "{name} has a corpus");
    let setting = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let runs = setting("BEARWARD_FUZZ_RUNS").unwrap_or(RUNS);
    let mut dice = Dice(setting("BEARWARD_FUZZ_SEED").unwrap_or(1) | 1 << 40);
    let mut one = |input: &[u8]| {
        let tried = catch_unwind(AssertUnwindSafe(|| tries(input)));
        if let Err(panic) = tried {
            eprintln!("{name} fails with b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    };
    for input in &corpus {
        one(input);
        for cut in 0..input.len().min(512) {
            one(input.get(..cut).unwrap_or_default());
        }
    }
    for _ in 0..runs {
        one(&changed(&corpus, &mut dice));
    }
}

/// An input of the corpus with some changes.
fn changed(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    const ODD: &[u8] = b"\0\t\n\r \"%&'+,-./0:;<=?@[\\]_{}\x7f\x80\xc0\xff";
    let pick = |dice: &mut Dice| corpus.get(dice.below(corpus.len())).cloned();
    let mut input = pick(dice).unwrap_or_default();
    for _ in 0..=dice.below(6) {
        let at = dice.below(input.len() + 1);
        let some = at..(at + dice.below(16)).min(input.len());
        match dice.below(9) {
            0 => input.insert(at, u8::try_from(dice.below(256)).unwrap_or(0)),
            1 => input.insert(at, ODD.get(dice.below(ODD.len())).copied().unwrap_or(0)),
            2 => drop(input.drain(some)),
            3 => {
                let again = input.get(some).unwrap_or_default().to_vec();
                let times = 1 + dice.below(8);
                input.splice(at..at, again.repeat(times));
            }
            4 => {
                let other = pick(dice).unwrap_or_default();
                let from = dice.below(other.len() + 1);
                let part = other.get(from..).unwrap_or_default().to_vec();
                input.splice(at.., part);
            }
            5 => input.truncate(at),
            6 => {
                let count = 1 + dice.below(40);
                input.splice(
                    at..at,
                    std::iter::repeat_n(b'0' + u8::try_from(at % 10).unwrap_or(0), count),
                );
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
    input.truncate(BYTES_MAX);
    input
}
