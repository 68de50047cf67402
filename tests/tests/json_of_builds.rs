//! Runs for `json_document.rs` that need a store of shipped builds: every verb of `xsplice-store`,
//! and payloads for several builds.

use std::fs;

use serde_json::Value;

use crate::json_document::Bench;

const SOURCE: &str = "int limit = 3;\nint depth(int x)\n{\n    return x * limit;\n}\n";

const MAKEFILE: &str = "a.o: a.c\n\tgcc -O1 -g -ffunction-sections -fdata-sections \
                        -fcf-protection=none -fpie -c a.c -o a.o\n";

/// A patch that puts `text` in the place of `3`, or of a line that is not there.
fn patch(removed: &str, text: &str) -> String {
    format!(
        "--- a/a.c\n+++ b/a.c\n@@ -3,3 +3,3 @@\n {{\n-    return x * {removed};\n\
         +    return x * {text};\n }}\n"
    )
}

/// A patch that changes the function, and a variable that the author has to accept.
const TAKEN: &str = "\
--- a/a.c
+++ b/a.c
@@ -1,5 +1,5 @@
-int limit = 3;
+int limit = 4;
 int depth(int x)
 {
-    return x * limit;
+    return x * limit + 1;
 }
";

/// What the commands write of two builds of one source, of which one is kept and one pointed to.
pub(crate) fn written(bench: &Bench) -> Vec<Value> {
    fs::create_dir(bench.path("sold")).unwrap();
    fs::write(bench.path("sold/a.c"), SOURCE).unwrap();
    fs::write(bench.path("sold/Makefile"), MAKEFILE).unwrap();
    fs::write(bench.path("sold.patch"), patch("limit", "limit + 1")).unwrap();
    fs::write(bench.path("stale.patch"), patch("3", "4")).unwrap();
    fs::write(bench.path("taken.patch"), TAKEN).unwrap();
    bench.shell(
        "cp -a sold sold.built && make -s -C sold.built && \
         ld -static -nostdlib --build-id=sha1 -e 0 -Ttext=0x400000 -o one sold.built/a.o && \
         ld -static -nostdlib --build-id=sha1 -e 0 -Ttext=0x500000 -o two sold.built/a.o",
    );
    let add = "xsplice-store add --json - --store store --source sold --objects sold.built \
               --make make";
    let build = "xsplice-build --store store --json -";
    let mut documents = vec![
        bench.run(0, &format!("{add} --name one --base one")),
        bench.run(0, &format!("{add} --name two --base two --by-path")),
        bench.run(0, "xsplice-store list --json - --store store"),
        bench.run(0, "xsplice-store show --json - --store store one two"),
        bench.run(0, "xsplice-store find --json - --store store two"),
        bench.run(0, "xsplice-store check --json - --store store"),
        bench.run(0, &format!("{build} --patch sold.patch")),
        bench.run(
            0,
            &format!("{build} --patch sold.patch --shard 1/2 -o part"),
        ),
        bench.run(1, &format!("{build} --patch stale.patch")),
        bench.run(
            0,
            &format!("{build} --patch taken.patch --accept data:limit"),
        ),
        bench.run(
            0,
            &format!("{build} --patch sold.patch -n above -o above --depends sold.builds"),
        ),
        bench.run(1, "xsplice-store merge --json - -o joined part"),
    ];
    for result in [
        "sold.builds/one",
        "stale.builds/one",
        "above/one",
        "taken.builds/one",
    ] {
        let text = fs::read_to_string(bench.path(result).join("result.json")).unwrap();
        documents.push(serde_json::from_str(&text).unwrap());
    }
    // The source that the second build points to becomes another one.
    fs::write(bench.path("sold/a.c"), "int none;\n").unwrap();
    documents.push(bench.run(2, "xsplice-store check --json - --store store"));
    documents.push(bench.run(0, "xsplice-store remove --json - --store store two"));
    documents
}
