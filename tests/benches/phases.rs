//! What each phase takes by itself, over the generated trees of `make bench`: where the time of a
//! whole run goes, and which phase a change made slower.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use xsplice_abi::profile;
use xsplice_diff::Extract;
use xsplice_diff::Options;
use xsplice_diff::correlate::correlate;
use xsplice_diff::diff_builds;
use xsplice_diff::originals;
use xsplice_diff::read::object::ElfObject;
use xsplice_diff::read::side::Build;
use xsplice_link::Base;
use xsplice_link::LinkOptions;
use xsplice_link::link;
use xsplice_link::proof::prove_object;
use xsplice_link::verify::{Against, NamedFile, verify};
use xsplice_tests::bench::xen_like;
use xsplice_tests::{case, workspace};

/// One object of the trees with the bytes of both builds.
struct Object {
    name: String,
    original: Vec<u8>,
    patched: Vec<u8>,
}

fn phases(criterion: &mut Criterion) {
    let folder = workspace().join("out/bench/xen-like");
    let trees = xen_like::make(&folder).expect("the generated trees");
    let objects: Vec<Object> = case::files(&trees.patched)
        .expect("the patched tree")
        .into_iter()
        .map(|name| Object {
            original: fs::read(trees.original.join(&name)).expect("an object of both trees"),
            patched: fs::read(trees.patched.join(&name)).expect("an object of both trees"),
            name,
        })
        .collect();
    let image = fs::read(trees.base()).expect("the base");
    let options = Options::default();

    criterion.bench_function("read: headers, symbols, relocations", |bench| {
        bench.iter(|| {
            for object in &objects {
                black_box(ElfObject::parse(&object.name, &object.original).expect("an object"));
            }
        });
    });
    criterion.bench_function("read: items and targets too", |bench| {
        bench.iter(|| {
            for object in &objects {
                black_box(build(&object.name, &object.original));
            }
        });
    });

    let builds: Vec<(&str, Build<'_>, Build<'_>)> = objects
        .iter()
        .map(|object| {
            let original = build(&object.name, &object.original);
            (
                object.name.as_str(),
                original,
                build(&object.name, &object.patched),
            )
        })
        .collect();
    criterion.bench_function("correlate", |bench| {
        bench.iter(|| {
            for (_, original, patched) in &builds {
                black_box(correlate(original, patched));
            }
        });
    });
    criterion.bench_function("correlate, compare, include, carve", |bench| {
        bench.iter(|| {
            for (name, original, patched) in &builds {
                black_box(diff_builds(name, original, patched, &options));
            }
        });
    });

    criterion.bench_function("base: read", |bench| {
        bench.iter(|| black_box(Base::parse("base", &image).expect("a base")));
    });
    let base = Base::parse("base", &image).expect("a base");
    let items: Vec<_> = objects
        .iter()
        .map(|object| originals(&object.name, &object.original).expect("an object"))
        .collect();
    criterion.bench_function("prove", |bench| {
        bench.iter(|| {
            for (object, items) in objects.iter().zip(&items) {
                black_box(prove_object(&base, &object.name, items));
            }
        });
    });

    let extracts: Vec<Extract<'_>> = builds
        .iter()
        .filter_map(|(name, original, patched)| {
            diff_builds(name, original, patched, &options).extract
        })
        .collect();
    assert_eq!(extracts.len(), 1, "one object changed");
    let link_options = LinkOptions::new("bench", &profile::XSPLICE);
    criterion.bench_function("link", |bench| {
        bench.iter(|| black_box(link(&base, &extracts, &link_options).expect("a payload")));
    });
    let payload = link(&base, &extracts, &link_options).expect("a payload");
    criterion.bench_function("verify", |bench| {
        bench.iter(|| {
            let file = NamedFile {
                path: "bench.xsplice",
                bytes: &payload.bytes,
            };
            let against = Against {
                base: &base,
                stack: &[],
                deny: &[],
                signer: None,
            };
            black_box(verify(file, against).expect("a readable payload"))
        });
    });
}

fn build<'data>(name: &str, bytes: &'data [u8]) -> Build<'data> {
    Build::new(name, bytes, &profile::XSPLICE).expect("an object")
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = phases
}
criterion_main!(benches);
