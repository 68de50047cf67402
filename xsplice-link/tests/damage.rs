//! A damaged payload is told from a whole one, whichever byte was hit. Breaks of single rules are
//! compared with the loader's answers in `tests/tests/payloads.rs`.

use crate::support::complete::{image, payload, verified};
use xsplice_abi::profile::XSPLICE;
use xsplice_link::Base;

/// Every this manyeth byte is changed: a prime, so that each field of every table is hit somewhere.
const STEP: usize = 7;

#[test]
fn a_change_of_any_byte_of_the_content_is_noticed_by_the_build_id() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let whole = payload(&base, &XSPLICE);
    let report = verified(&base, &whole);
    assert!(report.passed(), "{report}");
    // Who does not say that our linker wrote the file need not have hashed it as we do; against
    // forgery there are signatures.
    let says_so = b"\0tool=xsplice-link ";
    let tool = whole
        .windows(says_so.len())
        .position(|text| text == says_so)
        .unwrap();
    for at in (0..whole.len()).step_by(STEP) {
        if (tool..tool + says_so.len()).contains(&at) {
            continue;
        }
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        assert!(!verified(&base, &changed).passed(), "byte {at:#x}");
    }
}
