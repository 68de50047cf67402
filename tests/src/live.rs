//! Two trees compiled on the spot, a base linked from the first and mapped into this process, and
//! payloads made from them by the real commands: what a test needs to patch running code.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;
use goblin::elf::sym::STB_GLOBAL;
use tempfile::TempDir;
use xsplice_abi::{note, section};
use xsplice_runtime::Base;
use xsplice_runtime::Policy;
use xsplice_runtime::Runtime;
use xsplice_runtime::read::symbols::Symbols;

use crate::case::BASE;
use crate::host_platform::HostPlatform;
use crate::tools::{self, Run};
use crate::{compiler, listing};

/// Files of a source tree: path and text.
pub type Source<'text> = [(&'text str, &'text str)];

/// A folder with compiled trees and linked images in it.
#[derive(Debug)]
pub struct Workshop {
    folder: TempDir,
    line: String,
}

/// Distance of the images of this process from one another. Wide enough for the payloads behind
/// each.
const STRIDE_BYTES: u64 = 128 << 20;

impl Workshop {
    /// A workshop in which everything is compiled by `line`.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new(line: &str) -> Result<Workshop> {
        Ok(Workshop {
            // For looking into a failure: XSPLICE_KEEP leaves the folder behind.
            folder: tempfile::Builder::new()
                .prefix("xsplice-live-")
                .disable_cleanup(std::env::var_os("XSPLICE_KEEP").is_some())
                .tempdir()?,
            line: line.to_owned(),
        })
    }

    /// The folder: commands are run here.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Compiles `source` to a tree of objects called `tree`.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn compile(&self, tree: &str, source: &Source<'_>) -> Result<()> {
        let texts = self.folder().join(format!("{tree}-source"));
        for (path, text) in source {
            let file = texts.join(path);
            fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
            fs::write(&file, text)?;
            if let Some(stem) = path.strip_suffix(".c").or_else(|| path.strip_suffix(".S")) {
                let object = self.folder().join(tree).join(format!("{stem}.o"));
                fs::create_dir_all(object.parent().context("an object lies in a folder")?)?;
                compiler::compile(&texts, path, &object, &self.line)?;
            }
        }
        Ok(())
    }

    /// Links `tree` to an image called `image` at an address of its own in this process.
    ///
    /// # Errors
    /// When it does not link.
    pub fn link(&self, tree: &str, image: &str) -> Result<Image> {
        static NEXT: AtomicU64 = AtomicU64::new(STRIDE_BYTES);
        let address = NEXT.fetch_add(STRIDE_BYTES, Ordering::Relaxed);
        ensure!(
            address < 0x7000_0000,
            "too many images for the low two gigabytes"
        );
        self.link_at(tree, image, address)
    }

    /// Like [`Workshop::link`], at `address`, which the caller knows to be free.
    ///
    /// # Errors
    /// When it does not link.
    pub fn link_at(&self, tree: &str, image: &str, address: u64) -> Result<Image> {
        let path = self.folder().join(image);
        compiler::link(
            &self.folder().join(tree),
            &path,
            &format!("-Ttext-segment={address:#x}"),
        )?;
        Image::read(&path)
    }

    /// Runs `xsplice-build` on two trees and the image called [`BASE`]; the payload is called
    /// `output`.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn build(
        &self,
        original: &str,
        patched: &str,
        output: &str,
        further: &[&str],
    ) -> Result<Run> {
        let fixed = [
            "--orig",
            original,
            "--patched",
            patched,
            "--base",
            BASE,
            "-o",
            output,
            "--json",
            "-",
        ];
        tools::run("xsplice-build", fixed.iter().chain(further), self.folder())
    }

    /// Like [`Workshop::build`]: the bytes of a payload that must come out.
    ///
    /// # Errors
    /// When none comes out.
    pub fn payload(
        &self,
        original: &str,
        patched: &str,
        output: &str,
        further: &[&str],
    ) -> Result<Vec<u8>> {
        let run = self.build(original, patched, output, further)?;
        ensure!(run.status == Some(0), "no payload: {run:?}");
        Ok(fs::read(self.folder().join(output))?)
    }
}

/// A linked image, not mapped yet.
#[derive(Debug)]
pub struct Image {
    file: Vec<u8>,
    build_id: Vec<u8>,
    text: Range<u64>,
}

impl Image {
    /// Reads the image at `path`.
    ///
    /// # Errors
    /// When it is no image with a build-id.
    pub fn read(path: &Path) -> Result<Image> {
        let file = fs::read(path).with_context(|| format!("{}: not read", path.display()))?;
        let elf = Elf::parse(&file)?;
        let id = listing::section_bytes(&elf, &file, section::BUILD_ID).context("no build-id")?;
        let build_id = note::build_id(id)
            .context("the build-id is no note")?
            .to_vec();
        let code = elf
            .program_headers
            .iter()
            .find(|header| header.p_type == PT_LOAD && header.is_executable())
            .context("the image has no code")?;
        let text = code.p_vaddr..code.p_vaddr + code.p_memsz;
        Ok(Image {
            file,
            build_id,
            text,
        })
    }

    /// Its build-id.
    #[must_use]
    pub fn build_id(&self) -> &[u8] {
        &self.build_id
    }

    /// Maps a copy of it and sets a runtime on top.
    ///
    /// # Errors
    /// When its addresses are taken, or the runtime does not take it.
    pub fn boot(&self) -> Result<Runtime<'_, HostPlatform>> {
        let base = Base {
            symbols: Symbols::from_elf(&self.file)?,
            build_id: &self.build_id,
            text: self.text.clone(),
        };
        Runtime::new(HostPlatform::new(&self.file, 1)?, base, Policy::default())
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Maps a copy of it that nothing will patch.
    ///
    /// # Errors
    /// When its addresses are taken.
    pub fn map(&self) -> Result<HostPlatform> {
        HostPlatform::new(&self.file, 1)
    }

    /// Address of the global called `name`, or of a local where the linker made a hidden one that.
    ///
    /// # Errors
    /// When there is none.
    pub fn address(&self, name: &str) -> Result<u64> {
        let elf = Elf::parse(&self.file)?;
        let mut named: Vec<_> = elf
            .syms
            .iter()
            .filter(|symbol| elf.strtab.get_at(symbol.st_name) == Some(name))
            .collect();
        named.sort_by_key(|symbol| symbol.st_bind() != STB_GLOBAL);
        match named.as_slice() {
            [found] => Ok(found.st_value),
            [found, ..] if found.st_bind() == STB_GLOBAL => Ok(found.st_value),
            _ => bail!("{name}: {} symbols have the name", named.len()),
        }
    }
}
