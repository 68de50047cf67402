//! What `verify` says beside pass and fail: the deny list, and what may be done with a payload
//! later.

use crate::support::complete::{image, payload, verified};
use crate::support::hand::{self, RETURN_ONE};
use xsplice_abi::errno::Errno;
use xsplice_abi::profile::XSPLICE;
use xsplice_diff::extract::SectionIndex;
use xsplice_link::Base;
use xsplice_link::LinkOptions;
use xsplice_link::link;
use xsplice_link::verify::{Against, CheckKind, NamedFile, deny_list, verify};
use xsplice_runtime::read::deny::Named;

#[test]
fn a_function_of_the_deny_list_is_named() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let whole = payload(&base, &XSPLICE);
    let deny = |list: &str| {
        let file = NamedFile {
            path: "payload",
            bytes: &whole,
        };
        let list = NamedFile {
            path: "deny",
            bytes: list.as_bytes(),
        };
        let deny = deny_list(list).unwrap();
        let against = Against {
            base: &base,
            stack: &[],
            deny: &deny,
            signer: None,
        };
        verify(file, against).unwrap()
    };
    assert!(deny("second").passed());
    let report = deny("a.c#helper");
    let failed: Vec<_> = report.failures().map(|check| check.check).collect();
    assert_eq!(failed, [CheckKind::TrialLoad, CheckKind::RecordDenied]);
    assert_eq!(report.loader.upload, Some(Errno::EINVAL.code()));
    // A name that the base does not have would protect nothing.
    let report = deny("helper");
    let failed: Vec<_> = report.failures().map(|check| check.check).collect();
    assert_eq!(failed, [CheckKind::RecordDenied]);
    assert!(report.loader.is_taken(), "{report}");
}

#[test]
fn what_lies_between_two_symbols_of_the_deny_list_is_named() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    // Its records are of `helper` and `first`.
    let whole = payload(&base, &XSPLICE);
    let address = |name| match base.named(name) {
        Named::Once { address, .. } => address,
        other => panic!("{name}: {other:?}"),
    };
    let order = ["a.c#helper", "first", "second", "counter"].map(address);
    assert!(order.is_sorted(), "the premise: {order:x?}");
    let denied = |list: &str| -> Vec<String> {
        let file = |bytes| NamedFile {
            path: "file",
            bytes,
        };
        let deny = deny_list(file(list.as_bytes())).unwrap();
        let against = Against {
            base: &base,
            stack: &[],
            deny: &deny,
            signer: None,
        };
        let report = verify(file(&whole), against).unwrap();
        assert_eq!(report.passed(), report.loader.is_taken(), "{report}");
        let failures = report.failures();
        let denied = failures.filter(|check| check.check == CheckKind::RecordDenied);
        denied
            .map(|check| check.message.split_once(' ').unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(denied("first .. second"), ["first"]);
    let mut both = denied("a.c#helper .. second");
    both.sort();
    assert_eq!(both, ["a.c#helper", "first"]);
    assert_eq!(denied("second .. counter"), Vec::<String>::new());
}

#[test]
fn of_many_lines_that_name_nothing_a_few_are_shown_and_the_others_counted() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let whole = payload(&base, &XSPLICE);
    let messages = |list: &str| -> Vec<String> {
        let file = |bytes| NamedFile {
            path: "file",
            bytes,
        };
        let deny = deny_list(file(list.as_bytes())).unwrap();
        let against = Against {
            base: &base,
            stack: &[],
            deny: &deny,
            signer: None,
        };
        let report = verify(file(&whole), against).unwrap();
        assert!(!report.passed(), "{report}");
        let failures = report.failures();
        failures.map(|check| check.message.clone()).collect()
    };
    let three = messages("x1\nx2\nx3");
    assert_eq!(three.len(), 3, "{three:?}");
    let many = messages("x1\nx2\nx3\nx4\nx5\ncounter");
    assert_eq!(many.len(), 4, "{many:?}");
    assert_eq!(
        many[3],
        "image: 2 more of the 6 lines of the deny list name nothing in it; give the list of this \
         build"
    );
}

#[test]
fn what_may_be_done_with_a_payload_later_is_told() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    let outlook = verified(&base, &payload(&base, &XSPLICE)).outlook.unwrap();
    assert_eq!(outlook.writable, [".data"]);
    assert_eq!(outlook.state, ["fix:a.c#fresh"]);
    assert_eq!(outlook.vetoing_hooks, ["preapply"]);
    let plain = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
    let plain = link(&base, &[plain], &LinkOptions::new("plain", &XSPLICE)).unwrap();
    let outlook = verified(&base, &plain.bytes).outlook.unwrap();
    assert_eq!(outlook.writable, Vec::<String>::new());
    assert!(outlook.vetoing_hooks.is_empty() && outlook.state.is_empty());
}

#[test]
fn a_payload_below_that_still_runs_its_own_code_of_a_function_is_an_escape() {
    let image = image();
    let base = Base::parse("image", &image).unwrap();
    // second's new code jumps to first's new code without passing through the base's first.
    let below =
        |through: fn(&mut xsplice_diff::Extract<'_>) -> xsplice_diff::extract::SymbolIndex| {
            let mut extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
            hand::replace(&mut extract, &base, "second", &[0xe9, 0, 0, 0, 0]);
            let target = through(&mut extract);
            hand::relocate(&mut extract, SectionIndex(1), 1, 4, target, -4);
            link(&base, &[extract], &LinkOptions::new("below", &XSPLICE)).unwrap()
        };
    let above = |below: &xsplice_link::Payload| {
        let mut extract = hand::replacing(&base, "first", RETURN_ONE, &XSPLICE);
        extract.object = "b.o".to_owned();
        let mut options = LinkOptions::new("above", &XSPLICE);
        let known =
            xsplice_link::options::Below::of_payload("below", &below.bytes, &base, base.build_id());
        options.stacks_on = xsplice_link::options::StacksOn::Payload(known.unwrap().unwrap());
        let above = link(&base, &[extract], &options).unwrap();
        let stack = [NamedFile {
            path: "below",
            bytes: &below.bytes,
        }];
        let file = NamedFile {
            path: "above",
            bytes: &above.bytes,
        };
        let against = Against {
            base: &base,
            stack: &stack,
            deny: &[],
            signer: None,
        };
        let report = verify(file, against).unwrap();
        assert!(report.passed(), "{report}");
        report.outlook.unwrap().escapes
    };
    let direct = below(|extract| extract.records[0].symbol);
    let escapes = above(&direct);
    assert_eq!(escapes.len(), 1, "{escapes:?}");
    assert_eq!(escapes[0].function, "first");
    let through_the_base = below(|extract| hand::in_base(extract, None, "first"));
    assert_eq!(above(&through_the_base), []);
}
