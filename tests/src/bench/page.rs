//! The report of a fix that changes many functions, and how soon a browser has it on the screen.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::browser::Browser;
use crate::compiler;

/// So many functions are a large report.
pub const FUNCTIONS: usize = 200;
/// In less than this its page is open.
pub const LIMIT: Duration = Duration::from_secs(1);

/// Width of the window, in CSS pixels.
const WIDTH: u32 = 1280;

const COMPILER: &str = "gcc -O2 -fpic -fvisibility=hidden -mno-red-zone -ffunction-sections \
     -fdata-sections -fno-asynchronous-unwind-tables -fcf-protection=none";

/// What `xsplice-build` is given besides, to report on what [`make`] made in its folder.
pub const ARGUMENTS: &str = "--orig original --patched patched --base base -n fix --accept \
     data:limit --html page.html";

/// Two trees and a base, of so many functions: a fix that changes all of them, and a variable.
///
/// # Errors
/// When it cannot be compiled or linked.
pub fn make(folder: &Path, functions: usize) -> Result<()> {
    tree(&folder.join("original"), &source(functions, 3, 100))?;
    tree(&folder.join("patched"), &source(functions, 5, 200))?;
    let base = folder.join("base");
    compiler::link(&folder.join("original"), &base, "-Ttext-segment=0x400000")
}

fn tree(root: &Path, source: &str) -> Result<()> {
    fs::create_dir_all(root).with_context(|| root.display().to_string())?;
    fs::write(root.join("f.c"), source)?;
    compiler::compile(root, "f.c", &root.join("f.o"), COMPILER)?;
    Ok(fs::remove_file(root.join("f.c"))?)
}

/// Functions with a loop and a way out each; `step` and `limit` are what a fix changes.
fn source(functions: usize, step: u32, limit: u32) -> String {
    let mut text = format!("int limit = {limit};\nint report(const char *text, int value);\n");
    text.push_str("int report(const char *text, int value) { return text[0] + value; }\n");
    for index in 0..functions {
        let _ = write!(
            text,
            "int f{index}(const int *v, int n);\nint f{index}(const int *v, int n)\n{{\n    \
             int sum = {index};\n    for (int i = 0; i < n; i++)\n        sum += (v[i] ^ \
             {step}) * 7;\n    if (sum > limit)\n        return report(\"more than {index}\", \
             sum);\n    return sum ^ (sum >> {});\n}}\n",
            index % 7 + 1
        );
    }
    text
}

/// Opens the page so many times: the least time counts, for the machine may be busy with something
/// else.
///
/// # Errors
/// When the browser cannot open it.
pub fn least(browser: &mut Browser, page: &Path, tries: usize) -> Result<Duration> {
    let times = (0..tries).map(|_| browser.open(page, WIDTH));
    let times = times.collect::<Result<Vec<_>>>()?;
    times.into_iter().min().context("no try")
}
