//! Damaged objects: whatever the bytes, the differ answers, and does not panic or hang.
//!
//! Runs for `XSPLICE_MUTATION_SECONDS` (3 by default) from `XSPLICE_MUTATION_SEED` (1). A failure
//! prints the seed of the mutation; with it and 0 seconds, exactly that one runs again.

use std::time::{Duration, Instant};

use crate::compiler::{KERNEL, assemble, compile};
use xsplice_diff::options::Options;

/// One pair may take this long; the slowest real one takes milliseconds.
const PAIR_SECONDS_MAX: u64 = 5;

/// xorshift64*: repeatable, and good enough to choose bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).expect("it is below a usize")
    }

    /// A number that tends to matter: small, huge, a power of two, or any.
    fn number(&mut self) -> u64 {
        match self.below(5) {
            0 => self.next() % 16,
            1 => u64::MAX - self.next() % 16,
            2 => 1 << self.below(64),
            3 => (1_u64 << self.below(64)).wrapping_sub(1),
            _ => self.next(),
        }
    }
}

fn word(bytes: &[u8], at: usize, size: usize) -> u64 {
    let mut value = [0; 8];
    if let Some(field) = bytes.get(at..at.saturating_add(size)) {
        value[..size].copy_from_slice(field);
    }
    u64::from_le_bytes(value)
}

fn set(bytes: &mut [u8], at: usize, size: usize, value: u64) {
    if let Some(field) = bytes.get_mut(at..at.saturating_add(size)) {
        field.copy_from_slice(&value.to_le_bytes()[..size]);
    }
}

/// Section headers as (offset in the file, offset of the contents, size, type).
fn headers(bytes: &[u8]) -> Vec<(usize, usize, usize, u64)> {
    let table = usize::try_from(word(bytes, 0x28, 8)).unwrap_or(usize::MAX);
    let count = usize::try_from(word(bytes, 0x3c, 2)).unwrap_or(0);
    (0..count)
        .map_while(|index| {
            let at = table.checked_add(index * 64)?;
            bytes.get(at..at.checked_add(64)?)?;
            let size = |offset| usize::try_from(word(bytes, at + offset, 8)).unwrap_or(0);
            Some((at, size(0x18), size(0x20), word(bytes, at + 4, 4)))
        })
        .collect()
}

/// Fields of an entry of each table: (size of an entry, offset and size of its fields).
fn fields(kind: u64) -> Option<(usize, &'static [(usize, usize)])> {
    const SYMTAB: u64 = 2;
    const RELA: u64 = 4;
    const GROUP: u64 = 17;
    match kind {
        SYMTAB => Some((24, &[(0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8)])),
        RELA => Some((24, &[(0, 8), (8, 4), (12, 4), (16, 8)])),
        GROUP => Some((4, &[(0, 4)])),
        _ => None,
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let sections = headers(bytes);
    let Some(&(header, offset, size, kind)) = sections.get(random.below(sections.len())) else {
        return;
    };
    match random.below(8) {
        0 => {
            let field = [
                (0x10, 2),
                (0x12, 2),
                (0x28, 8),
                (0x3a, 2),
                (0x3c, 2),
                (0x3e, 2),
            ];
            let (at, size) = field[random.below(field.len())];
            set(bytes, at, size, random.number());
        }
        1 | 2 => {
            let field = [
                (0, 4),
                (4, 4),
                (8, 8),
                (0x18, 8),
                (0x20, 8),
                (0x28, 4),
                (0x2c, 4),
                (0x30, 8),
                (0x38, 8),
            ];
            let (at, size) = field[random.below(field.len())];
            set(bytes, header + at, size, random.number());
        }
        3 => {
            let length = random.below(bytes.len());
            bytes.truncate(length);
        }
        4 => {
            for _ in 0..1 + random.below(32) {
                let at = offset.saturating_add(random.below(size));
                set(bytes, at, 1, random.next());
            }
        }
        _ => {
            // The tables: take one that has fields.
            let tables: Vec<_> = sections
                .iter()
                .filter(|section| fields(section.3).is_some())
                .collect();
            let Some(&&(_, offset, size, kind)) = tables.get(random.below(tables.len())) else {
                return;
            };
            let Some((entry, fields)) = fields(kind) else {
                return;
            };
            for _ in 0..1 + random.below(3) {
                let (at, bytes_of_field) = fields[random.below(fields.len())];
                let at = offset.saturating_add(random.below(size / entry) * entry + at);
                let value = match random.below(3) {
                    0 => random.number(),
                    1 => word(bytes, at, bytes_of_field)
                        .wrapping_add(random.next() % 9)
                        .wrapping_sub(4),
                    _ => random.next() % 64,
                };
                set(bytes, at, bytes_of_field, value);
            }
        }
    }
    let _ = kind;
}

const SOURCE: &str = r#"
extern int ext(int); extern int printk(const char *, ...);
static int state; int shared[4] = {1, 2, 3, 4}; static const int own[5] = {1, 2, 3, 4, 5};
__attribute__((section(".init.text"))) void setup(void) { ext(4); }
static __attribute__((noinline)) int helper(int x) { static int cnt; return ext(x) * 3 + cnt++; }
int f(int x) {
    static int cnt; cnt += N; state += x; printk("hello %d\n", x);
    if (__builtin_expect(x > 1000, 0)) { ext(N); __builtin_trap(); }
    switch (x) { case 1: return 3; case 2: return ext(9); case 3: return ext(11) + 1;
                 case 4: return ext(3); case 5: return ext(77); case 6: return ext(8); }
    asm volatile("1: nop\n.pushsection .ex_table,\"a\"\n.long 1b-., 2f-.\n.popsection\n"
                 ".pushsection .fixup,\"ax\"\n2: jmp 1b\n.popsection\n"
                 ".pushsection .bug_frames.0,\"a\"\n.long 1b-.+(N<<24),shared-.+4\n.popsection");
    return helper(x) + shared[x & 3] + own[x & 3];
}
int g(int x) { printk("bye %d\n", x + N); return state; }
int (*pointer)(int) = f;
"#;

fn pairs() -> Vec<(Vec<u8>, Vec<u8>)> {
    let c = |flags: &[&str], n: &str| compile("gcc", flags, &SOURCE.replace('N', n));
    let plain: &[&str] = &["-O1", "-g", "-fno-pic", "-mcmodel=kernel"];
    let asm = |n: &str| {
        assemble(&format!(
            ".text\n.globl a\na: movl ${n}, %eax\njmp b\n.globl b\n.type b, @function\nb: call a\n\
             ret\n.size b, .-b\n.section .text.g,\"axG\",@progbits,g,comdat\n.weak g\n\
             .type g, @function\ng: movl ${n}, %eax\nret\nnop\n.size g, .-g\n"
        ))
    };
    vec![
        (c(KERNEL, "1"), c(KERNEL, "2")),
        (c(plain, "1"), c(plain, "2")),
        (asm("1"), asm("2")),
    ]
}

fn run(pairs: &[(Vec<u8>, Vec<u8>)], seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (original, patched) = &pairs[random.below(pairs.len())];
    let (mut original, mut patched) = (original.clone(), patched.clone());
    for _ in 0..1 + random.below(4) {
        let object = if random.below(2) == 0 {
            &mut original
        } else {
            &mut patched
        };
        mutate(object, &mut random);
    }
    let started = Instant::now();
    let options = Options::default();
    let outcome = std::panic::catch_unwind(|| {
        let _ = xsplice_diff::originals("case.o", &original);
        let _ = xsplice_diff::take_whole("case.o", &patched, &options);
        if let Ok(diff) = xsplice_diff::diff_objects("case.o", &original, &patched, &options) {
            let _ = xsplice_diff::tell::explain::explain(&diff);
            if let Some(bytes) = xsplice_diff::report::written::write_diff(&diff) {
                let read = xsplice_diff::extract::read(&bytes).expect("what was written is read");
                assert_eq!(Some(&read), diff.extract.as_ref());
            }
        }
    });
    assert!(
        outcome.is_ok(),
        "XSPLICE_MUTATION_SEED={seed}: the differ panicked"
    );
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(PAIR_SECONDS_MAX),
        "XSPLICE_MUTATION_SEED={seed}: took {took:?}"
    );
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn damaged_objects_get_an_answer() {
    let pairs = pairs();
    let seconds = variable("XSPLICE_MUTATION_SECONDS", 3);
    let first = variable("XSPLICE_MUTATION_SEED", 1);
    let started = Instant::now();
    let mut seed = first;
    loop {
        run(&pairs, seed);
        seed += 1;
        if started.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    eprintln!("{} mutations", seed - first);
}
