//! Runs fuzz targets on the seeds of a corpus, and on a fixed sequence of mutations of the seeds. The crates with fuzz
//! targets share this file.

use std::{fs, panic, path::Path, thread, time::Duration};

use comms_core::clock::Clock;

/// A target: its name and its function.
type Target = (&'static str, fn(&[u8]));

/// The number of mutated inputs for each target.
const INPUTS: usize = 20_000;
/// The maximum size of a mutated input in bytes, unless the seed is longer.
const MAX_SIZE: usize = 600;
/// Byte sequences that are special to parsers of text.
const TOKENS: [&[u8]; 15] = [
    b" ",
    b"\t",
    b",",
    b"=",
    b"@",
    b"-",
    b"\n",
    b"\r\n",
    b": ",
    b"0",
    b"99999999",
    b"\x00",
    b"\x7f",
    b"\xff",
    "\u{441}".as_bytes(),
];

struct Random(Clock);

impl Random {
    /// Returns a number below `bound`, which must not be zero.
    fn below(&self, bound: usize) -> usize {
        (u64::from_le_bytes(self.0.random()) % bound as u64) as usize
    }

    fn mutated(&self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut data = seeds[self.below(seeds.len())].clone();
        let longest = MAX_SIZE.max(data.len());
        for _ in 0..=self.below(4) {
            let at = self.below(data.len() + 1);
            let end = (at + self.below(8)).min(data.len());
            match self.below(7) {
                0 if at < data.len() => data[at] ^= 1 << self.below(8),
                1 => drop(data.drain(at..end)),
                2 => drop(data.splice(at..at, self.0.random::<1>())),
                3 => drop(data.splice(at..end, TOKENS[self.below(TOKENS.len())].iter().copied())),
                4 => {
                    let again = data[at..end].repeat(1 + self.below(40));
                    drop(data.splice(end..end, again));
                }
                5 => {
                    let other = &seeds[self.below(seeds.len())];
                    data.truncate(at);
                    data.extend(&other[self.below(other.len() + 1)..]);
                }
                _ => data.truncate(at.max(data.len() / 2)),
            }
            data.truncate(longest);
        }
        data
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    // cargo fuzz stores its inputs in the same folder, named by their hash.
    let mut files: Vec<_> = files.filter(|file| file.file_name().unwrap().len() < 40).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no seed in {}", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn run_target(name: &str, target: fn(&[u8])) {
    let seeds = seeds(name);
    let random = Random(Clock::seeded(Duration::ZERO, 7));
    let mutations = (0..INPUTS).map(|_| random.mutated(&seeds));
    for data in seeds.iter().cloned().chain(mutations) {
        if panic::catch_unwind(|| target(&data)).is_err() {
            panic!("the target {name} fails for the input \"{}\"", data.escape_ascii());
        }
    }
}

/// Runs all targets, each on a thread of its own.
pub(super) fn run_all(targets: &[Target]) {
    thread::scope(|scope| {
        for &(name, target) in targets {
            scope.spawn(move || run_target(name, target));
        }
    });
}

/// Checks that the manifest of `cargo fuzz` has a binary for each target.
pub(super) fn check_manifest(manifest: &str, targets: &[Target]) {
    for (name, _) in targets {
        assert!(manifest.contains(&format!("name = \"{name}\", path = \"src/main.rs\"")), "{name}");
    }
}
