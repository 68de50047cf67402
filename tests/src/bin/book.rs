//! `make book`: writes the sources of the book, which `mdbook` makes pages of.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use xsplice_tests::{book, workspace};

/// Writes the sources of the book.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the book; what is there goes
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

const CONFIGURATION: &str = "[book]\ntitle = \"xsplice\"\nsrc = \"src\"\n";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let out = &arguments.out;
    let shown = || out.display().to_string();
    if out.exists() {
        fs::remove_dir_all(out).with_context(shown)?;
    }
    fs::create_dir_all(out.join("src")).with_context(shown)?;
    fs::write(out.join("book.toml"), CONFIGURATION).with_context(shown)?;
    book::write_sources(&workspace(), &out.join("src"))
}
