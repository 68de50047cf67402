//! Payloads with random changes to the parts that matter: headers, tables, notes, records. None
//! may make `inspect` or `verify` panic, run away or accept what the loader's own code refuses.
//!
//! `XSPLICE_MUTATION_SECONDS` sets the time for the test that looks for it; a failure prints the
//! seed of the change.

mod support;

use std::time::{Duration, Instant};

use support::hand::{self, A, AX, RETURN_ONE, STB_LOCAL, STT_FUNC, WA};
use support::{KERNEL, Tree};
use xsplice_abi::Profile;
use xsplice_abi::profile;
use xsplice_diff::extract::SectionIndex;
use xsplice_link::Base;
use xsplice_link::LinkOptions;
use xsplice_link::inspect::inspect;
use xsplice_link::link;
use xsplice_link::verify::{Against, NamedFile, verify};

const SECONDS_DEFAULT: u64 = 3;
/// No payload of a few KiB may keep the tools busy for longer.
const SLOWEST: Duration = Duration::from_secs(2);

const SOURCE: &str = "
    static int state = 7;
    int first(int x) { return x / 3 + state++; }
    int second(int x) { return x / 5; }
";

/// xorshift64*: small, seeded and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

fn payload(base: &Base<'_>, abi: &'static Profile) -> Vec<u8> {
    let mut a = hand::replacing(base, "first", &[0xe8, 0, 0, 0, 0, 0xc3], abi);
    let second = hand::undefined(&mut a, "second");
    hand::relocate(&mut a, SectionIndex(0), 1, 4, second, -4);
    let code = hand::section(&mut a, ".text.hook", AX, RETURN_ONE);
    let hook = hand::defined(&mut a, "hook", STB_LOCAL, STT_FUNC, code);
    let hooks = hand::section(&mut a, &format!("{}hooks.load", abi.prefix), WA, &[0; 8]);
    hand::relocate(&mut a, hooks, 0, 1, hook, 0);
    let table = hand::section(&mut a, ".ex_table", A, &[0; 8]);
    hand::relocate(&mut a, table, 0, 2, hook, 0);
    hand::relocate(&mut a, table, 4, 2, hook, 5);
    let replacement = hand::section(&mut a, ".altinstr_replacement", AX, &[0x90, 0x90]);
    let replacement = hand::defined(&mut a, "", STB_LOCAL, STT_FUNC, replacement);
    let alternatives = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 0, 0];
    let alternatives = hand::section(&mut a, ".altinstructions", A, &alternatives);
    hand::relocate(&mut a, alternatives, 0, 2, hook, 0);
    hand::relocate(&mut a, alternatives, 4, 2, replacement, 0);
    link(base, &[a], &LinkOptions::new("fix", abi))
        .unwrap()
        .bytes
}

/// Where the structures of a file begin, and how large they are.
fn structures(bytes: &[u8]) -> Vec<(usize, usize)> {
    let elf = goblin::elf::Elf::parse(bytes).unwrap();
    let number = |value: u64| usize::try_from(value).unwrap();
    let mut all = vec![(0, 64)];
    for (index, section) in elf.section_headers.iter().enumerate() {
        all.push((number(elf.header.e_shoff) + index * 64, 64));
        all.push((number(section.sh_offset), number(section.sh_size)));
    }
    all.retain(|(_, size)| *size != 0);
    all
}

fn mutate(bytes: &mut Vec<u8>, structures: &[(usize, usize)], random: &mut Random) {
    const INTERESTING: [u64; 10] = [
        0,
        1,
        3,
        64,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        i64::MAX as u64,
        u64::MAX,
    ];
    for _ in 0..=random.below(3) {
        let (start, size) = structures[random.below(structures.len())];
        let at = (start + random.below(size)).min(bytes.len().saturating_sub(1));
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            2 | 3 => {
                let value = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)];
                let at = at & !(width - 1);
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
            _ => {
                // One structure over another.
                let (from, other) = structures[random.below(structures.len())];
                let length = size.min(other).min(64);
                if from + length <= bytes.len() && start + length <= bytes.len() {
                    bytes.copy_within(from..from + length, start);
                }
            }
        }
        if random.below(40) == 0 {
            bytes.truncate(random.below(bytes.len()));
            if bytes.is_empty() {
                return;
            }
        }
    }
}

#[test]
fn no_change_makes_inspect_or_verify_panic_or_run_away() {
    let image = Tree::compile(&[("a.c", SOURCE)], KERNEL).link();
    let base = Base::parse("image", &image).unwrap();
    let payloads: Vec<_> = profile::ALL.iter().map(|abi| payload(&base, abi)).collect();
    let below = payloads[0].clone();
    let seconds = std::env::var("XSPLICE_MUTATION_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS_DEFAULT);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = 0_u64;
    let (mut readable, mut accepted) = (0_u64, 0_u64);
    while Instant::now() < end {
        for whole in &payloads {
            seed += 1;
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let mut bytes = whole.clone();
            mutate(&mut bytes, &structures(whole), &mut random);
            let start = Instant::now();
            let seen = std::panic::catch_unwind(|| {
                let page = inspect("payload", &bytes).map(|inspection| inspection.to_string());
                let stack = [NamedFile {
                    path: "below",
                    bytes: &below,
                }];
                let file = NamedFile {
                    path: "payload",
                    bytes: &bytes,
                };
                for stack in [&stack[..0], &stack[..]] {
                    let against = Against {
                        base: &base,
                        stack,
                        deny: &[],
                        signer: None,
                    };
                    let report = verify(file, against).unwrap();
                    let _ = report.to_string();
                    if stack.is_empty() && report.passed() && bytes != *whole {
                        return (page.is_ok(), true);
                    }
                }
                (page.is_ok(), false)
            });
            let (is_readable, is_accepted) = seen.unwrap_or_else(|_| panic!("seed {seed}"));
            readable += u64::from(is_readable);
            accepted += u64::from(is_accepted);
            assert!(
                start.elapsed() < SLOWEST,
                "seed {seed} took {:?}",
                start.elapsed()
            );
        }
    }
    assert!(seed > 100, "{seed} changes in {seconds} s");
    assert!(
        readable > seed / 4,
        "the changes must not all be nonsense: {readable} of {seed}"
    );
    // The build-id is the content's hash; only a change of the line that says so passes.
    assert!(
        accepted <= seed / 50,
        "{accepted} of {seed} changes were accepted"
    );
}
