//! A source of two files, several builds of it, and a fix: for whatever needs more than one shipped
//! build.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run;

/// `CONFIG` is what the builds differ in.
const MAKEFILE: &str = "\
include config.mk
image: core/f.o core/g.o
	ld -static -nostdlib --build-id=sha1 -e 0 -Ttext-segment=0xffffffff81000000 \\
		-z noexecstack -o $@ $^
%.o: %.c
	$(CC) -O2 -g -ffunction-sections -fdata-sections -fno-pic -mcmodel=kernel $(CONFIG) \\
		-c $< -o $@
";

const CORE: &str = "int other(int x);
int f(int x)
{
    return other(x) + 1;
}
int other(int x)
{
    return x * 3;
}
#ifdef TABLE
int table[4] = { 1, 2, 3, 4 };
#endif
";

/// Changes `f`.
pub const FIX: &str = "--- a/core/f.c
+++ b/core/f.c
@@ -1,7 +1,7 @@
 int other(int x);
 int f(int x)
 {
-    return other(x) + 1;
+    return other(x) + 2;
 }
 int other(int x)
 {
";

/// Three builds: of the first two the change is the same; in the third its function is another.
pub const THREE: [(&str, &str); 3] = [
    ("a-plain", ""),
    ("b-again", "-DUNUSED"),
    ("c-wide", "-DTABLE -O1"),
];

/// Writes the source of a build to the folder NAME below `folder`, and builds it in NAME.built.
/// `config` are flags of the compiler. What nothing calls makes its build-id its own.
///
/// # Panics
/// When it cannot be written or built.
#[track_caller]
pub fn make(folder: &Path, name: &str, config: &str) {
    let own = name.replace('-', "_");
    for (file, text) in [
        ("Makefile", MAKEFILE.to_owned()),
        ("config.mk", format!("CONFIG = {config}\n")),
        ("core/f.c", CORE.to_owned()),
        (
            "core/g.c",
            format!("int g(int x) {{ return x * 7; }}\nint own_{own};\n"),
        ),
    ] {
        let path = folder.join(name).join(file);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let built = format!("{name}.built");
    run(Command::new("cp")
        .args(["-a", name, &built])
        .current_dir(folder));
    // Whoever runs this under `make` must not have its flags seen by this one.
    run(Command::new("make")
        .args(["-s", "-C", &built])
        .env_remove("MAKEFLAGS")
        .current_dir(folder));
}

/// The arguments of `xsplice-store` that add a build to the store `store`.
#[must_use]
pub fn adding<'a>(name: &'a str, objects: &'a str) -> Vec<&'a str> {
    vec![
        "add",
        "--store",
        "store",
        "--name",
        name,
        "--source",
        name,
        "--objects",
        objects,
        "--make",
        "make",
    ]
}
