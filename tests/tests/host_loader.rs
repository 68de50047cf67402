//! From C source to patched running code, inside this process: both trees are compiled, the base
//! is linked and mapped, the payload is made by the real commands and loaded by the real runtime,
//! and then the patched functions are *called*.

use anyhow::Result;
use xsplice_abi::errno::Errno;
use xsplice_runtime::Runtime;
use xsplice_tests::case::BASE;
use xsplice_tests::host_platform::HostPlatform;
use xsplice_tests::live::{Image, Workshop};
use xsplice_tests::operator::{Act, State, act, status, upload};

const LINE: &str = "gcc -O2 -fpie -ffunction-sections -fdata-sections -fcf-protection=none";

/// State, a static callee, a string, a table, and a caller that does not change.
const FIRST: &str = r#"
#define NOINLINE __attribute__((noinline))
static int calls;
static const char *greeting = "hello";
static NOINLINE int scale(int x) { asm volatile("nop; nop"); return x * 3; }
NOINLINE int f(int a, int b) { calls++; return scale(a) + b; }
int g(int a, int b) { return f(a, b) + 1000; }
int (*pointer)(int, int) = f;
int through(int a, int b) { return pointer(a, b); }
int count(void) { return calls; }
NOINLINE int letter(int at) { return "old text"[at & 7] + greeting[0] * 0; }
NOINLINE int pick(int x) { switch (x) { case 0: return 5; case 1: return 50; case 2: return 7; case 3: return 99; case 4: return 1; default: return -1; } }
"#;

fn second() -> String {
    FIRST
        .replace("x * 3", "x * 5")
        .replace("calls++; return scale(a) + b;", "calls += 10; fresh++; return scale(a) - b + added(fresh);")
        .replace("NOINLINE int f", "static int fresh = 100;\nstatic NOINLINE int added(int x) { return x * 2; }\nNOINLINE int f")
        .replace("old text", "new text")
        .replace("return 99", "return 88")
}

/// The whole of FIRST, as a function of what it should do.
fn behaves(
    runtime: &Runtime<'_, HostPlatform>,
    image: &Image,
    call: &[(&str, i64, i64, i64)],
) -> Result<()> {
    for (name, first, second, result) in call {
        let address = image.address(name)?;
        // SAFETY: all functions of the test's source take at most two ints and return one, and
        // this thread alone patches.
        let found = unsafe { runtime.platform().call(address, *first, *second) };
        // An int comes back in the lower half of the register.
        let found = i64::from(i32::from_ne_bytes(found.to_ne_bytes()[..4].try_into()?));
        assert_eq!(found, *result, "{name}({first}, {second})");
    }
    Ok(())
}

fn letter(text: &str, at: usize) -> i64 {
    i64::from(text.as_bytes()[at])
}

#[test]
fn patched_functions_behave_as_patched_and_after_revert_as_before() -> Result<()> {
    let shop = Workshop::new(LINE)?;
    shop.compile("original", &[("f.c", FIRST)])?;
    shop.compile("patched", &[("f.c", &second())])?;
    let image = shop.link("original", BASE)?;
    let payload = shop.payload("original", "patched", "fix.xsplice", &[])?;
    let runtime = image.boot()?;
    let old = |runtime: &_, counted: i64| {
        behaves(
            runtime,
            &image,
            &[
                ("f", 2, 1, 7),
                ("g", 2, 1, 1007),
                ("through", 2, 1, 7),
                ("count", 0, 0, counted + 3),
                ("letter", 0, 0, letter("old text", 0)),
                ("pick", 3, 0, 99),
                ("pick", 9, 0, -1),
            ],
        )
    };
    old(&runtime, 0)?;
    upload(&runtime, "fix", &payload).expect("the payload is good");
    assert_eq!(status(&runtime, "fix"), Ok((State::Checked, 0)));
    old(&runtime, 3)?;
    act(&runtime, "fix", Act::Apply).expect("it can be applied");
    assert_eq!(status(&runtime, "fix"), Ok((State::Applied, 0)));
    behaves(
        &runtime,
        &image,
        &[
            ("f", 2, 1, 10 - 1 + 202),
            ("g", 2, 1, 10 - 1 + 204 + 1000),
            ("through", 2, 1, 10 - 1 + 206),
            ("count", 0, 0, 6 + 30),
            ("letter", 0, 0, letter("new text", 0)),
            ("pick", 3, 0, 88),
            ("pick", 9, 0, -1),
        ],
    )?;
    act(&runtime, "fix", Act::Revert).expect("it can be reverted");
    assert_eq!(status(&runtime, "fix"), Ok((State::Checked, 0)));
    old(&runtime, 36)?;
    act(&runtime, "fix", Act::Unload).expect("it can be unloaded");
    assert_eq!(status(&runtime, "fix"), Err(Errno::ENOENT.negated()));
    old(&runtime, 39)
}

#[test]
fn apply_changes_the_first_bytes_of_replaced_functions_alone_and_revert_restores_every_byte()
-> Result<()> {
    let shop = Workshop::new(LINE)?;
    shop.compile("original", &[("f.c", FIRST)])?;
    shop.compile("patched", &[("f.c", &second())])?;
    let image = shop.link("original", BASE)?;
    let payload = shop.payload("original", "patched", "fix.xsplice", &[])?;
    let runtime = image.boot()?;
    let before = runtime.platform().snapshot();
    upload(&runtime, "fix", &payload).expect("the payload is good");
    act(&runtime, "fix", Act::Check).expect("it could be applied");
    let loaded = runtime.platform().snapshot();
    assert!(
        loaded.iter().take(before.len()).eq(before.iter()),
        "loading touched the base"
    );
    act(&runtime, "fix", Act::Apply).expect("it can be applied");
    let applied = runtime.platform().snapshot();
    let mut changed = Vec::new();
    for ((address, old), (_, new)) in before.iter().zip(&applied) {
        for (offset, (old, new)) in (0..).zip(old.iter().zip(new)) {
            if old != new {
                changed.push(address + offset);
            }
        }
    }
    let mut places = Vec::new();
    for name in ["f", "letter", "pick"] {
        let address = image.address(name)?;
        assert!(changed.contains(&address), "{name} was not patched");
        places.push(address..address + 5);
    }
    let elsewhere: Vec<_> = changed
        .iter()
        .filter(|address| !places.iter().any(|place| place.contains(address)))
        .collect();
    // `scale` is local, so it is not looked up here: one jump of five bytes is left.
    assert!((1..=5).contains(&elsewhere.len()), "{elsewhere:x?}");
    act(&runtime, "fix", Act::Revert).expect("it can be reverted");
    act(&runtime, "fix", Act::Unload).expect("it can be unloaded");
    assert_eq!(runtime.platform().snapshot(), before);
    Ok(())
}

#[test]
fn payloads_stack_in_order_and_come_off_in_reverse() -> Result<()> {
    let shop = Workshop::new(LINE)?;
    shop.compile("zero", &[("f.c", FIRST)])?;
    shop.compile("one", &[("f.c", &FIRST.replace("x * 3", "x * 5"))])?;
    shop.compile(
        "two",
        &[(
            "f.c",
            &FIRST.replace("x * 3", "x * 7").replace("+ 1000", "+ 2000"),
        )],
    )?;
    let image = shop.link("zero", BASE)?;
    let one = shop.payload("zero", "one", "one.xsplice", &["-n", "one"])?;
    let two = shop.payload(
        "zero",
        "two",
        "two.xsplice",
        &["-n", "two", "--depends", "one.xsplice"],
    )?;
    let runtime = image.boot()?;
    upload(&runtime, "one", &one).expect("one is good");
    upload(&runtime, "two", &two).expect("two is good");
    assert_eq!(
        act(&runtime, "two", Act::Apply),
        Err(Errno::EINVAL.negated()),
        "one is not there yet"
    );
    behaves(&runtime, &image, &[("g", 2, 1, 1007)])?;
    act(&runtime, "one", Act::Apply).expect("one goes on");
    behaves(&runtime, &image, &[("g", 2, 1, 1011)])?;
    act(&runtime, "two", Act::Apply).expect("two goes on top");
    behaves(&runtime, &image, &[("g", 2, 1, 2015), ("f", 2, 1, 15)])?;
    assert_eq!(
        act(&runtime, "one", Act::Revert),
        Err(Errno::EBUSY.negated()),
        "two is on top"
    );
    behaves(&runtime, &image, &[("g", 2, 1, 2015)])?;
    act(&runtime, "two", Act::Revert).expect("two comes off");
    behaves(&runtime, &image, &[("g", 2, 1, 1011)])?;
    act(&runtime, "one", Act::Revert).expect("one comes off");
    behaves(&runtime, &image, &[("g", 2, 1, 1007)])
}

#[test]
fn replace_puts_one_payload_in_the_place_of_all() -> Result<()> {
    let shop = Workshop::new(LINE)?;
    shop.compile("zero", &[("f.c", FIRST)])?;
    shop.compile("one", &[("f.c", &FIRST.replace("x * 3", "x * 5"))])?;
    shop.compile("two", &[("f.c", &FIRST.replace("+ 1000", "+ 2000"))])?;
    shop.compile(
        "three",
        &[("f.c", &FIRST.replace("return 99", "return 77"))],
    )?;
    let image = shop.link("zero", BASE)?;
    let one = shop.payload("zero", "one", "one.xsplice", &["-n", "one"])?;
    let two = shop.payload(
        "zero",
        "two",
        "two.xsplice",
        &["-n", "two", "--depends", "one.xsplice"],
    )?;
    let three = shop.payload("zero", "three", "three.xsplice", &["-n", "three"])?;
    let runtime = image.boot()?;
    let before = runtime.platform().snapshot();
    for (name, payload) in [("one", &one), ("two", &two), ("three", &three)] {
        upload(&runtime, name, payload).expect("the payload is good");
    }
    act(&runtime, "one", Act::Apply).expect("one goes on");
    act(&runtime, "two", Act::Apply).expect("two goes on top");
    behaves(&runtime, &image, &[("g", 2, 1, 2011), ("pick", 3, 0, 99)])?;
    act(&runtime, "three", Act::Replace).expect("three replaces both");
    behaves(&runtime, &image, &[("g", 2, 1, 1007), ("pick", 3, 0, 77)])?;
    assert_eq!(status(&runtime, "one"), Ok((State::Checked, 0)));
    assert_eq!(status(&runtime, "two"), Ok((State::Checked, 0)));
    act(&runtime, "three", Act::Revert).expect("three comes off");
    behaves(&runtime, &image, &[("g", 2, 1, 1007), ("pick", 3, 0, 99)])?;
    for name in ["one", "two", "three"] {
        act(&runtime, name, Act::Unload).expect("what is reverted can be unloaded");
    }
    let after = runtime.platform().snapshot();
    // Only `calls` differs, which the calls above counted.
    let differing: usize = before
        .iter()
        .zip(&after)
        .map(|((_, old), (_, new))| old.iter().zip(new).filter(|(old, new)| old != new).count())
        .sum();
    assert!(
        differing <= 4 && before.len() == after.len(),
        "{differing} bytes differ"
    );
    Ok(())
}

#[test]
fn a_payload_of_another_base_is_refused_and_changes_nothing() -> Result<()> {
    let shop = Workshop::new(LINE)?;
    shop.compile("original", &[("f.c", FIRST)])?;
    shop.compile("patched", &[("f.c", &second())])?;
    shop.link("original", BASE)?;
    let payload = shop.payload("original", "patched", "fix.xsplice", &[])?;
    let other = Workshop::new(LINE)?;
    other.compile("original", &[("f.c", &FIRST.replace("+ 1000", "+ 1001"))])?;
    let image = other.link("original", BASE)?;
    let runtime = image.boot()?;
    let before = runtime.platform().snapshot();
    assert_eq!(
        upload(&runtime, "fix", &payload),
        Err(Errno::EINVAL.negated())
    );
    assert_eq!(status(&runtime, "fix"), Err(Errno::ENOENT.negated()));
    assert_eq!(runtime.platform().snapshot(), before);
    Ok(())
}

#[test]
fn hooks_run_when_the_payload_goes_on_and_comes_off() -> Result<()> {
    let shop = Workshop::new(LINE)?;
    let hooked = format!(
        "{}\n{}",
        FIRST.replace("x * 3", "x * 5"),
        r#"
static void loaded(void) { calls = 500; }
static void unloaded(void) { calls = 900; }
static void *const on __attribute__((used, section(".xsplice.hooks.load"))) = loaded;
static void *const off __attribute__((used, section(".xsplice.hooks.unload"))) = unloaded;
"#
    );
    shop.compile("original", &[("f.c", FIRST)])?;
    shop.compile("patched", &[("f.c", &hooked)])?;
    let image = shop.link("original", BASE)?;
    let payload = shop.payload("original", "patched", "fix.xsplice", &[])?;
    let runtime = image.boot()?;
    upload(&runtime, "fix", &payload).expect("the payload is good");
    behaves(&runtime, &image, &[("count", 0, 0, 0)])?;
    act(&runtime, "fix", Act::Apply).expect("it can be applied");
    behaves(&runtime, &image, &[("count", 0, 0, 500), ("f", 2, 1, 11)])?;
    act(&runtime, "fix", Act::Revert).expect("it can be reverted");
    behaves(&runtime, &image, &[("count", 0, 0, 900), ("f", 2, 1, 7)])
}
