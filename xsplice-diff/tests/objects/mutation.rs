//! Damaged objects: whatever the bytes, the differ answers, and does not panic or hang.
//!
//! Runs for `XSPLICE_MUTATION_SECONDS` (3 by default) from `XSPLICE_MUTATION_SEED` (1). A failure
//! prints the seed of the mutation; with it and 0 seconds, exactly that one runs again.

use std::time::{Duration, Instant};

use crate::compiler::{KERNEL, assemble, compile};
use xsplice_diff::options::Options;
use xsplice_test_objects::mutate::{Choices, mutate};

/// One pair may take this long; the slowest real one takes milliseconds.
const PAIR_SECONDS_MAX: u64 = 5;

/// Fewest pairs that say anything: a slow machine takes a hundred a second.
const PAIRS_MIN: u64 = 10;

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
    let mut choices = Choices::new(seed);
    let (original, patched) = &pairs[choices.below(pairs.len())];
    let (mut original, mut patched) = (original.clone(), patched.clone());
    for _ in 0..1 + choices.below(2) {
        let object = if choices.below(2) == 0 {
            &mut original
        } else {
            &mut patched
        };
        mutate(object, &mut choices);
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
    let count = seed - first;
    assert!(
        count > PAIRS_MIN || seconds == 0,
        "only {count} mutations in {seconds} s: nothing shown"
    );
}
