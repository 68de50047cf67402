//! Both report pages, of two trees and of one object, hold what they are given: names stay text,
//! links lead somewhere, nothing is fetched or run, and every chapter shows what it is for.

use std::borrow::Cow;
use std::collections::BTreeSet;

use xsplice_abi::profile;
use xsplice_diff::debug_info::line_table::SourceLine;
use xsplice_diff::extract::{
    Extract, OriginalItem, OriginalRelocation, OriginalTarget, Part, Place, Record, Relocation,
    Section, SectionIndex, Symbol, SymbolIndex,
};
use xsplice_diff::layouts::{
    ChangedKind, FieldChange, FieldDifference, Held, LayoutChange, Layouts, NotCompared, Reaching,
    Shape, Slot, User,
};
use xsplice_diff::report::json::PayloadSummary;
use xsplice_diff::report::object_diff::{
    DataChange, Evidence, FunctionChange, ObjectDiff, SpecialSection,
};
use xsplice_diff::verdict::kinds::{Accepted, Ignored, Reason, RefusalCode, Status};
use xsplice_diff::verdict::refusal::Refusal;

use xsplice_diff::debug_info::toolchain::{Toolchain, Toolchains};

use xsplice_build::compare::proof::ProofSummary;
use xsplice_build::hunks::{Fate, HunkItem, HunkReport};
use xsplice_build::tell::html::{Page, render};
use xsplice_build::tell::report::{BaseInput, Inputs, Report};
use xsplice_diff::html::{Callers, Findings, RefusalText, object, word};
use xsplice_diff::tell::referrers::{How, Referrer, When};

/// What a hostile object could call its symbols.
const HOSTILE: &str = "</code><script>alert(1)</script>\"' onload=x {{body}} <!-- \u{202e}";

fn inputs(text: &str) -> Inputs {
    Inputs {
        original: text.to_owned(),
        patched: text.to_owned(),
        base: Some(BaseInput {
            path: text.to_owned(),
            build_id: text.to_owned(),
        }),
        objects: 3,
        equal: 1,
        added: vec![text.to_owned()],
        removed: vec![text.to_owned()],
        ignored_objects: vec![text.to_owned()],
        idle_patterns: Vec::new(),
        merged_objects: vec![text.to_owned()],
        stacks_on: None,
        fixes: Vec::new(),
    }
}

/// `call TARGET; ret`, before and after.
fn extract(text: &str) -> Extract<'static> {
    let code = Cow::Borrowed(&[0xe8, 0, 0, 0, 0, 0xc3][..]);
    let symbol = |kind, place| Symbol {
        name: text.to_owned(),
        file: Some(format!("{text}.c")),
        binding: 1,
        kind,
        size: 6,
        place,
        otherwise: None,
    };
    Extract {
        object: text.to_owned(),
        machine: xsplice_abi::machine::OF_RUNTIME,
        abi: &profile::XSPLICE,
        sections: vec![Section {
            name: text.to_owned(),
            kind: 1,
            flags: 6,
            alignment: 16,
            entry_size: 0,
            size: 6,
            data: code.clone(),
            relocations: vec![Relocation {
                offset: 1,
                kind: 4,
                symbol: SymbolIndex(1),
                addend: -4,
            }],
        }],
        symbols: vec![
            symbol(
                2,
                Place::Section {
                    section: SectionIndex(0),
                    value: 0,
                },
            ),
            symbol(0, Place::Undefined),
        ],
        constants: Vec::new(),
        records: vec![Record {
            name: text.to_owned(),
            file: None,
            binding: 1,
            symbol: SymbolIndex(0),
            old_size: 6,
            new_size: 6,
            address_taken: false,
            aliases: Vec::new(),
            original: OriginalItem {
                name: text.to_owned(),
                file: None,
                binding: 1,
                section_name: ".text".to_owned(),
                section_offset: 0,
                named_size: 6,
                bytes: code,
                relocations: vec![OriginalRelocation {
                    offset: 1,
                    kind: 4,
                    addend: -4,
                    target: OriginalTarget::Symbol {
                        name: "was_called".to_owned(),
                        file: None,
                    },
                }],
                patched_at_boot: Vec::new(),
            },
        }],
        accepted: Vec::new(),
        compiled_by: Toolchain::default(),
    }
}

/// A diff in which every text is `text`.
fn diff(text: &str) -> ObjectDiff<'static> {
    let own = || text.to_owned();
    ObjectDiff {
        notes: Vec::new(),
        object: own(),
        functions: vec![FunctionChange {
            object: own(),
            name: own(),
            file: Some(format!("{text}.c")),
            status: Status::Changed,
            old_size: 6,
            new_size: 6,
            source: Some(SourceLine {
                file: own(),
                line: 7,
            }),
            reasons: vec![
                Reason::TargetDiffers {
                    offset: 1,
                    old: own(),
                    new: own(),
                },
                Reason::StringDiffers {
                    offset: 1,
                    old: own(),
                    new: own(),
                },
                Reason::PulledIn { by: own() },
                Reason::LayoutOnly { types: vec![own()] },
                Reason::LooksLikeLineNumbers,
            ],
        }],
        data: vec![DataChange {
            object: own(),
            name: own(),
            section: own(),
            status: Status::New,
        }],
        special_sections: vec![SpecialSection {
            object: own(),
            section: own(),
            entries: 2,
        }],
        ignored: vec![Ignored {
            object: own(),
            name: own(),
            why: own(),
        }],
        accepted: vec![Accepted {
            symbol: None,
            object: own(),
            what: own(),
            code: RefusalCode::ChangedData,
            message: own(),
        }],
        refusals: Vec::new(),
        layouts: Layouts {
            compared: 3,
            not_compared: Some(NotCompared::NoDebugInformation),
            changes: layouts(text),
            unpaired: Vec::new(),
        },
        toolchains: Some(toolchains(text)),
        evidence: Evidence::default(),
        parts: vec![Part {
            record: SymbolIndex(0),
            name: format!("{text}.cold"),
            original: None,
            patched: Some(SymbolIndex(0)),
        }],
        extract: Some(extract(text)),
    }
}

/// What refers to the function: itself, code of another object, data.
fn callers(text: &str, of: usize) -> Callers {
    let referrer = |object: &str, name: String, how| Referrer {
        object: object.to_owned(),
        name,
        how,
        when: When::Always,
    };
    let mut referrers = vec![
        referrer(text, text.to_owned(), How::Calls),
        referrer(text, text.to_owned(), How::Holds),
        referrer("other.o", text.to_owned(), How::TakesAddress),
    ];
    referrers.extend((0..20).map(|i| referrer("other.o", format!("{text}{i}"), How::Calls)));
    referrers.insert(
        0,
        Referrer {
            when: When::AtBoot,
            ..referrer("early.o", text.to_owned(), How::TakesAddress)
        },
    );
    Callers {
        of: vec![referrers; of],
        from: text.to_owned(),
    }
}

/// A structure and a prototype that changed, in all the ways in which a member can.
fn layouts(text: &str) -> Vec<LayoutChange> {
    let own = || text.to_owned();
    let member = |offset_bits| Slot::Member {
        offset_bits,
        size_bits: 3,
        of: own(),
        name: Some(own()),
    };
    let field = |change, old, new| FieldChange {
        name: own(),
        change,
        old: Some(old),
        new: Some(new),
    };
    let structure = LayoutChange {
        name: own(),
        said: own(),
        kind: ChangedKind::Structure,
        old_size: Some(8),
        new_size: Some(16),
        fields: vec![
            field(FieldDifference::Moved, member(8), member(67)),
            field(
                FieldDifference::Revalued,
                Slot::Value {
                    value: own(),
                    name: Some(own()),
                },
                Slot::Value {
                    value: own(),
                    name: None,
                },
            ),
        ],
        breaks: true,
        objects: vec![own(), "other.o".to_owned()],
        reached: vec![Reaching {
            object: own(),
            function: own(),
            held: Held::ThroughOthers,
            through: Some(own()),
        }],
        users: vec![
            User {
                object: own(),
                name: own(),
            };
            13
        ],
        distant_users: 2,
        is_shared: true,
        old_shape: Shape::default(),
    };
    let prototype = LayoutChange {
        kind: ChangedKind::Prototype,
        old_size: None,
        new_size: None,
        fields: vec![field(
            FieldDifference::CalledOtherwise,
            Slot::Prototype { prototype: own() },
            Slot::Prototype { prototype: own() },
        )],
        ..structure.clone()
    };
    vec![structure, prototype]
}

fn toolchains(text: &str) -> Toolchains {
    let by = |flag: &str| Toolchain {
        compilers: BTreeSet::from([text.to_owned()]),
        flags: BTreeSet::from([format!("{flag}={text}")]),
        ..Toolchain::default()
    };
    Toolchains::new(by("-mold"), by("-mnew"))
}

fn page(text: &str, diffs: &[ObjectDiff<'static>]) -> String {
    let changes = if diffs.is_empty() {
        Vec::new()
    } else {
        layouts(text)
    };
    let mut report = Report::new(inputs(text), diffs, &changes);
    let refusals = diffs.iter().flat_map(|diff| &diff.refusals);
    report.refusals.extend(refusals.cloned());
    let own = || vec![text.to_owned()];
    report.hunks = Some(vec![HunkReport {
        file: text.to_owned(),
        old_start: 1,
        new_start: 1,
        lines: 2,
        patch_line: 3,
        fate: Fate::Payload,
        functions: vec![HunkItem {
            object: text.to_owned(),
            name: text.to_owned(),
        }],
        why: text.to_owned(),
        accepted: None,
        left_out: Vec::new(),
    }]);
    report.proof = Some(ProofSummary {
        objects: 1,
        proven: 1,
        constants: 1,
        absent: 0,
        failed: own(),
        failed_constants: own(),
        superseded: own(),
        unlinked: own(),
        foreign: own(),
    });
    report.payload = Some(PayloadSummary {
        path: text.to_owned(),
        size: 4096,
        build_id: text.to_owned(),
        depends: text.to_owned(),
        sha1: text.to_owned(),
        functions: 1,
    });
    render(&Page {
        name: text,
        abi: &profile::XSPLICE,
        report: &report,
        diffs,
        callers: &callers(text, diffs.len()),
        linked: None,
    })
}

/// The page of one object.
fn object_page(text: &str, diff: &ObjectDiff<'static>) -> String {
    let file = object::File {
        path: text,
        bytes: text.as_bytes(),
    };
    let refusals = diff.refusals.iter().map(|refusal| RefusalText {
        code: word(refusal.code),
        message: refusal.message(),
    });
    let diffs = std::slice::from_ref(diff);
    object::render(&object::Page {
        abi: &profile::XSPLICE,
        diff,
        findings: Findings::new(diffs, &layouts(text), refusals.collect(), &callers(text, 1)),
        original: file,
        patched: file,
    })
}

/// Every tag of the page, with its attributes.
fn tags(html: &str) -> Vec<&str> {
    let (_, body) = html.split_once("</style>").expect("a style sheet");
    body.split('<')
        .skip(1)
        .map(|rest| {
            let (tag, _) = rest
                .split_once('>')
                .unwrap_or_else(|| panic!("no tag: {rest}"));
            tag
        })
        .collect()
}

#[test]
fn hostile_names_stay_text() {
    hold_apart(
        &page(HOSTILE, &[diff(HOSTILE)]),
        &page("tame", &[diff("tame")]),
    );
    hold_apart(
        &object_page(HOSTILE, &diff(HOSTILE)),
        &object_page("tame", &diff("tame")),
    );
}

fn hold_apart(hostile: &str, tame: &str) {
    assert!(
        hostile.contains("&lt;script&gt;"),
        "the names are on the page"
    );
    assert!(
        hostile.contains("{{body}}"),
        "a name is not a place of the template"
    );
    assert!(
        !hostile.contains('\u{202e}'),
        "nothing turns the text around"
    );
    // The same page with tame names has the same tags with the same attributes, one by one.
    assert_eq!(tags(hostile), tags(tame));
}

#[test]
fn a_hostile_refusal_stays_text() {
    let refused = |text: &str| {
        let mut diff = diff(text);
        diff.extract = None;
        let refusal = Refusal::new(RefusalCode::ChangedBss, text, text);
        diff.refusals.push(refusal.at(text, 8).of(text));
        [object_page(text, &diff), page(text, &[diff])]
    };
    for (hostile, tame) in refused(HOSTILE).iter().zip(&refused("tame")) {
        assert!(hostile.contains("Ways out"), "the manual's page is at hand");
        assert!(hostile.contains("pill bad\">Refused"));
        assert_eq!(tags(hostile), tags(tame));
    }
}

/// The page of two trees, and that of one object.
fn both() -> [String; 2] {
    [
        page("tame", &[diff("tame")]),
        object_page("tame", &diff("tame")),
    ]
}

#[test]
fn the_page_asks_nothing_of_the_network_and_runs_nothing() {
    for html in both() {
        for forbidden in [
            "<script",
            "src=",
            "http://",
            "https://",
            "url(",
            "@import",
            "javascript:",
        ] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert!(html.contains("default-src 'none'"));
    }
}

#[test]
fn every_link_leads_somewhere_and_no_place_has_two_names() {
    let pages = [
        page("tame", &[diff("tame"), diff("other")]),
        object_page("tame", &diff("tame")),
    ];
    for html in &pages {
        all_links_lead_somewhere(html);
    }
}

fn all_links_lead_somewhere(html: &str) {
    let after = |key: &str| -> Vec<String> {
        html.split(key)
            .skip(1)
            .map(|rest| rest.split('"').next().expect("quoted").to_owned())
            .collect()
    };
    let ids = after(" id=\"");
    let places: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(places.len(), ids.len(), "{ids:?}");
    let links = after("href=\"#");
    assert!(links.len() > 5);
    for link in links {
        assert!(places.contains(&link), "#{link}");
    }
}

#[test]
fn code_is_compared_with_the_names_of_what_it_calls() {
    for html in both() {
        assert!(
            html.contains("<del><code>was_called</code></del>"),
            "{html}"
        );
        assert!(html.contains("1 of 2 rows differ"), "{html}");
    }
}

#[test]
fn an_out_of_line_part_is_shown_below_its_function_and_an_equal_one_is_not() {
    for html in both() {
        assert!(
            html.contains("Out of line: <code>tame.cold</code>, which is new</h4>"),
            "{html}"
        );
    }
    let mut same = diff("tame");
    same.parts[0].original = same.extract.as_ref().map(|extract| OriginalItem {
        relocations: vec![OriginalRelocation {
            offset: 1,
            kind: 4,
            addend: -4,
            target: OriginalTarget::Symbol {
                name: "tame".to_owned(),
                file: None,
            },
        }],
        ..extract.records[0].original.clone()
    });
    assert!(!object_page("tame", &same).contains("Out of line"));
}

#[test]
fn callers_are_links_where_they_are_on_the_page_and_are_not_listed_without_end() {
    for html in both() {
        let (_, rest) = html.split_once("<dt>Called by</dt>").expect("callers");
        let (callers, rest) = rest.split_once("</div>").expect("an end");
        assert!(
            callers.starts_with("<dd><a href=\"#function-1\"><code>tame</code></a> itself, "),
            "{callers}"
        );
        assert!(callers.contains("<code>tame3</code> of <code>other.o</code>"));
        assert!(callers.ends_with(" and 9 more</dd>"), "{callers}");
        // What only ran at boot comes last.
        assert!(rest.contains(
            "<dt>Address taken by</dt><dd><code>tame</code> of <code>other.o</code>, \
             <code>tame</code> of <code>early.o</code> (at boot)</dd>"
        ));
        assert!(rest.contains("<dt>Address is in</dt>"));
    }
}

#[test]
fn without_a_change_the_page_says_so() {
    let unchanged = ObjectDiff::unchanged("tame");
    for html in [page("tame", &[]), object_page("tame", &unchanged)] {
        assert!(html.contains("No functional change"));
        assert!(!html.contains("id=\"functions\""));
    }
}

#[test]
fn a_patch_gets_its_chapter_and_no_patch_gets_none() {
    let diffs = [diff("f.o")];
    let with = page("f.o", &diffs);
    assert!(with.contains("<section id=\"hunks\"") && with.contains("1 hunk in payload"));
    let report = Report::new(inputs("f.o"), &diffs, &[]);
    let without = render(&Page {
        name: "fix",
        abi: &profile::XSPLICE,
        report: &report,
        diffs: &diffs,
        callers: &Callers::default(),
        linked: None,
    });
    assert!(!without.contains("id=\"hunks\""));
}

#[test]
fn a_changed_layout_shows_its_members_and_who_uses_it() {
    let [html, _] = both();
    assert!(html.contains("8 bytes become 16"), "{html}");
    assert!(
        html.contains("<td data-heading=\"After\">+0x8 bit 3, 3 bits"),
        "{html}"
    );
    assert!(html.contains("13 unchanged functions"), "{html}");
    assert!(html.contains("and 1 more"), "{html}");
    assert!(!page("tame", &[]).contains("id=\"layouts\""));
}

#[test]
fn different_toolchains_are_to_be_watched() {
    let html = page("tame", &[diff("tame")]);
    assert!(
        html.contains("different toolchains: flag -mnew=tame, was none"),
        "{html}"
    );
    assert!(!page("tame", &[]).contains("different toolchains"));
}
