//! The runtime's loader on this host, for any image: the image's memory is copied, nothing of it
//! is mapped, and so nothing that is patched can run. What can be seen is the loader's answers and
//! every byte that it writes.

use std::ops::Range;

use anyhow::{Context, Result};
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;
use xsplice_abi::errno::Errno;
use xsplice_abi::limits::PAGE_BYTES;
use xsplice_abi::{note, section};
use xsplice_runtime::Base;
use xsplice_runtime::Policy;
use xsplice_runtime::Runtime;
use xsplice_runtime::patch::memory::MemoryPlatform;
use xsplice_runtime::read::signature::Verifier;
use xsplice_runtime::read::symbols::Symbols;

use crate::listing;
use crate::operator::{Act, act, upload};

/// Bytes of address space behind the image that payloads go to.
const WINDOW_BYTES: u64 = 64 << 20;

/// An image whose memory can be copied.
#[derive(Debug)]
pub struct Machine<'data> {
    file: &'data [u8],
    instructions: &'static xsplice_abi::machine::Machine,
    build_id: &'data [u8],
    text: Range<u64>,
    segments: Vec<(u64, Vec<u8>)>,
}

/// What the loader says of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was uploaded and applied.
    Applied,
    /// UPLOAD returned this.
    NotUploaded(Errno),
    /// APPLY returned this.
    NotApplied(Errno),
}

impl<'data> Machine<'data> {
    /// Reads the linked image in `file`.
    ///
    /// # Errors
    /// When it is no image with code and a build-id.
    pub fn new(file: &'data [u8]) -> Result<Machine<'data>> {
        let elf = Elf::parse(file)?;
        let id = listing::section_bytes(&elf, file, section::BUILD_ID).context("no build-id")?;
        let mut segments = Vec::new();
        let mut text: Option<Range<u64>> = None;
        for header in elf
            .program_headers
            .iter()
            .filter(|one| one.p_type == PT_LOAD)
        {
            let start = usize::try_from(header.p_offset)?;
            let end = start.saturating_add(usize::try_from(header.p_filesz)?);
            let mut bytes = file.get(start..end).context("a segment outside")?.to_vec();
            bytes.resize(usize::try_from(header.p_memsz)?, 0);
            segments.push((header.p_vaddr, bytes));
            if header.is_executable() {
                let end = header.p_vaddr + header.p_memsz;
                text = Some(match text {
                    None => header.p_vaddr..end,
                    Some(text) => text.start.min(header.p_vaddr)..text.end.max(end),
                });
            }
        }
        let instructions = xsplice_abi::machine::Machine::of(elf.header.e_machine)
            .with_context(|| format!("machine {} is not known", elf.header.e_machine))?;
        Ok(Machine {
            file,
            instructions,
            build_id: note::build_id(id).context("the build-id is no note")?,
            text: text.context("no code")?,
            segments,
        })
    }

    /// Copies the image and sets a loader on top, which trusts what `verifier` says.
    ///
    /// # Errors
    /// When the loader does not take the image.
    pub fn boot<'base>(
        &'base self,
        verifier: Option<&'base dyn Verifier>,
    ) -> Result<Runtime<'base, MemoryPlatform>> {
        let end = self
            .segments
            .iter()
            .map(|(address, bytes)| address.saturating_add(bytes.len() as u64))
            .max()
            .context("no segments")?;
        let window = end.next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        let window = window..window.saturating_add(WINDOW_BYTES);
        let platform = MemoryPlatform::new(window).on(self.instructions);
        for (address, bytes) in &self.segments {
            platform.map(*address, bytes);
        }
        let base = Base {
            symbols: Symbols::from_elf(self.file)?,
            build_id: self.build_id,
            text: self.text.clone(),
        };
        let policy = Policy {
            deny: &[],
            verifier,
        };
        Runtime::new(platform, base, policy).map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Uploads and applies `payload` on a fresh copy.
    ///
    /// # Errors
    /// As [`Machine::boot`].
    pub fn ask(&self, payload: &[u8], verifier: Option<&dyn Verifier>) -> Result<Outcome> {
        let runtime = self.boot(verifier)?;
        let errno =
            |code: i32| Errno::from_return(code).context("a loader returns an error number");
        if let Err(code) = upload(&runtime, NAME, payload) {
            return Ok(Outcome::NotUploaded(errno(code)?));
        }
        match act(&runtime, NAME, Act::Apply) {
            Ok(()) => Ok(Outcome::Applied),
            Err(code) => Ok(Outcome::NotApplied(errno(code)?)),
        }
    }
}

/// What payloads are called.
pub const NAME: &str = "payload";
