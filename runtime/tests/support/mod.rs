//! A small base in memory and payloads for it, written by the `object` crate.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part")]

pub(crate) mod edit;
pub(crate) mod uploads;
mod writer;

use std::collections::BTreeMap;

use object::SectionKind;
use object::write::SectionId;
use xsplice_abi::hypercall::{Action, Get, Name, OP_ACTION, OP_GET, OP_UPLOAD, Operation, Upload};
use xsplice_abi::machine::{Machine, OF_RUNTIME};
use xsplice_abi::profile::{BaseNote, Profile, Tail, XSPLICE};
use xsplice_runtime::Base;
use xsplice_runtime::Policy;
use xsplice_runtime::Privilege;
use xsplice_runtime::Runtime;
use xsplice_runtime::patch::memory::MemoryPlatform;
use xsplice_runtime::platform::Platform;
use xsplice_runtime::read::deny::Denied;
use xsplice_runtime::read::symbols::{BaseSymbol, SymbolKind as BaseKind, Symbols};
use xsplice_runtime::rendezvous::cpu::CpuId;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use writer::Writer;

pub(crate) const TEXT: u64 = 0xffff_ffff_8020_0000;
pub(crate) const TEXT_BYTES: u64 = 0x400;
pub(crate) const DATA: u64 = TEXT + 0x1_0000;
pub(crate) const WINDOW: u64 = TEXT + 0x10_0000;
pub(crate) const FUNCTION_BYTES: u64 = 0x20;
pub(crate) const BASE_ID: [u8; 20] = [0xba; 20];

/// Functions of the base: name and address. `f3` starts with `endbr64`.
pub(crate) const FUNCTIONS: [(&str, &str, u64); 6] = [
    ("", "f0", TEXT),
    ("", "f1", TEXT + 0x20),
    ("a.c", "local", TEXT + 0x40),
    ("", "f3", TEXT + 0x60),
    ("", "idle_loop", TEXT + 0x80),
    ("b.c", "local", TEXT + 0xa0),
];

pub(crate) fn base_symbols() -> Symbols<'static> {
    let mut list: Vec<BaseSymbol<'static>> = FUNCTIONS
        .iter()
        .map(|(file, name, address)| BaseSymbol {
            file,
            name,
            address: *address,
            size: FUNCTION_BYTES,
            kind: BaseKind::Function,
        })
        .collect();
    for (name, address) in [("table", DATA), ("twice", DATA + 8), ("twice", DATA + 16)] {
        list.push(BaseSymbol {
            file: "",
            name,
            address,
            size: 8,
            kind: BaseKind::Other,
        });
    }
    Symbols::new(list).expect("the list is not empty")
}

/// Bytes that base functions are made of: each starts with different ones.
pub(crate) fn base_text() -> Vec<u8> {
    let mut text: Vec<u8> = (0..TEXT_BYTES)
        .map(|at| u8::try_from((at * 7 + at / 32) % 251).expect("below 251"))
        .collect();
    text[0x60..0x64].copy_from_slice(&[0xf3, 0x0f, 0x1e, 0xfa]);
    text
}

pub(crate) fn platform() -> MemoryPlatform {
    let platform = MemoryPlatform::new(WINDOW..WINDOW + 0x40_0000);
    platform.map(TEXT, &base_text());
    let mut data = vec![0; 0x100];
    data[..8].copy_from_slice(&FUNCTIONS[0].2.to_le_bytes());
    platform.map(DATA, &data);
    platform
}

pub(crate) fn runtime() -> Runtime<'static, MemoryPlatform> {
    runtime_with(Policy {
        deny: deny("idle_loop"),
        verifier: None,
    })
}

/// A deny list that lives as long as the tests.
pub(crate) fn deny(list: &'static str) -> &'static [Denied<'static>] {
    xsplice_runtime::read::deny::parse(list.as_bytes())
        .expect("a sound list")
        .leak()
}

pub(crate) fn runtime_with(policy: Policy<'static>) -> Runtime<'static, MemoryPlatform> {
    let runtime = runtime_on(platform(), policy);
    let _ = runtime.platform().take_events();
    runtime
}

pub(crate) fn runtime_on<P: Platform>(platform: P, policy: Policy<'static>) -> Runtime<'static, P> {
    let base = Base {
        symbols: base_symbols(),
        build_id: &BASE_ID,
        text: TEXT..TEXT + TEXT_BYTES,
    };
    Runtime::new(platform, base, policy).expect("the base is sound")
}

/// What a field of a record is relocated to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Nothing: the number as it is.
    Number(u64),
    /// An undefined symbol.
    Undefined(&'static str),
    /// A function of the payload.
    New(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub name: &'static str,
    pub new: Target,
    pub old: Target,
    pub new_size: u32,
    pub old_size: u32,
    /// Bytes written over the tail, at an offset from the record's start.
    pub tail: Vec<(usize, Vec<u8>)>,
}

impl Record {
    pub(crate) fn replacing(old: &'static str) -> Record {
        Record {
            name: old,
            new: Target::New("new"),
            old: Target::Undefined(old),
            new_size: 16,
            old_size: 32,
            tail: Vec::new(),
        }
    }
}

/// A payload in the making.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    pub machine: &'static Machine,
    pub profile: &'static Profile,
    pub build_id: Vec<u8>,
    pub depends: Vec<u8>,
    pub base: Vec<u8>,
    pub metadata: Option<Vec<u8>>,
    /// Functions of the payload and their code.
    pub functions: BTreeMap<&'static str, Vec<u8>>,
    /// Relocations of the function `new`, as of the sections below.
    pub code_relocations: Vec<(u64, u32, &'static str, i64)>,
    pub records: Vec<Record>,
    /// Hook sections: name after the prefix and functions pointed at.
    pub hooks: Vec<(&'static str, Vec<&'static str>)>,
    /// Further sections: name, kind, contents or size, and relocations (offset, type, symbol,
    /// addend).
    pub sections: Vec<Extra>,
    pub globals: Vec<&'static str>,
    /// Further symbols without a size: name, the function of the payload that they count from, and
    /// how far. One that begins with `<` is no function; one that ends with `>` has a size.
    pub labels: Vec<(&'static str, &'static str, u64)>,
    pub leave_out: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Extra {
    pub name: String,
    pub flags: u64,
    pub kind: SectionKind,
    pub data: Vec<u8>,
    pub bss: u64,
    pub relocations: Vec<(u64, u32, &'static str, i64)>,
}

impl Extra {
    pub(crate) fn new(name: &str, flags: u64, data: &[u8]) -> Extra {
        Extra {
            name: name.to_owned(),
            flags,
            kind: SectionKind::ReadOnlyData,
            data: data.to_vec(),
            bss: 0,
            relocations: Vec::new(),
        }
    }

    pub(crate) fn relocated(
        mut self,
        offset: u64,
        kind: u32,
        symbol: &'static str,
        addend: i64,
    ) -> Self {
        self.relocations.push((offset, kind, symbol, addend));
        self
    }
}

const WORDS: &str = ".xsplice.words";
const WORD_NAME: &str = "start of .rodata.word";

/// `R_X86_64_64`.
pub(crate) const R64: u32 = 1;
/// Allocated; with code; with written data.
pub(crate) const A: u64 = 2;
pub(crate) const AX: u64 = 6;
pub(crate) const AW: u64 = 3;

impl Maker {
    /// A payload that replaces `f0` by `new`, 16 bytes of `0xcc` after its number.
    pub(crate) fn new(number: u8) -> Maker {
        let mut code = vec![number; 16];
        code[15] = 0xc3;
        Maker {
            machine: OF_RUNTIME,
            profile: &XSPLICE,
            build_id: vec![number; 20],
            depends: BASE_ID.to_vec(),
            base: BASE_ID.to_vec(),
            metadata: Some(b"abi=xsplice\0name=test\0".to_vec()),
            functions: BTreeMap::from([("new", code)]),
            code_relocations: Vec::new(),
            records: vec![Record::replacing("f0")],
            hooks: Vec::new(),
            sections: Vec::new(),
            globals: Vec::new(),
            labels: Vec::new(),
            leave_out: Vec::new(),
        }
    }

    pub(crate) fn of(profile: &'static Profile, number: u8) -> Maker {
        let mut maker = Maker::new(number);
        maker.profile = profile;
        maker.metadata = Some(format!("abi={}\0", profile.name).into_bytes());
        for record in &mut maker.records {
            record.tail = version_of(profile);
        }
        maker
    }

    pub(crate) fn stacked_on(mut self, number: u8) -> Maker {
        self.depends = vec![number; 20];
        self
    }

    /// With a word that becomes `value`.
    pub(crate) fn with_word(mut self, address: u64, expected: u64, value: u64) -> Maker {
        let mut entry = Vec::new();
        for field in [0, address, expected, value] {
            entry.extend(field.to_le_bytes());
        }
        match self.sections.iter_mut().find(|extra| extra.name == WORDS) {
            Some(words) => {
                let at = words.data.len() as u64;
                words.data.extend(entry);
                words.relocations.push((at, R64, WORD_NAME, 0));
            }
            None => {
                self.sections.push(Extra::new(".rodata.word", A, b"word\0"));
                let words = Extra::new(WORDS, A, &entry);
                self.sections.push(words.relocated(0, R64, WORD_NAME, 0));
            }
        }
        self
    }

    /// The payload's file.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut writer = Writer::new(self.machine);
        let word = self.machine.word.number;
        let prefix = self.profile.prefix;
        for (name, code) in &self.functions {
            let id = writer.section(&format!(".text.{name}"), SectionKind::Text, AX, code, 16);
            writer.define(name, id, 0, code.len(), self.globals.contains(name));
            let relocations = self.code_relocations.iter().filter(|_| *name == "new");
            for (offset, kind, symbol, addend) in relocations {
                writer.relocate(id, *offset, *kind, symbol, *addend);
            }
            for (label, _, value) in self.labels.iter().filter(|label| label.1 == *name) {
                let size = usize::from(label.ends_with('>'));
                writer.define(label, id, *value, size, false);
            }
        }
        let strings: Vec<u8> = self
            .records
            .iter()
            .flat_map(|record| record.name.bytes().chain([0]))
            .collect();
        if !self.records.is_empty() {
            let name = format!("{prefix}strings");
            let strings_id = writer.section(&name, SectionKind::ReadOnlyData, A, &strings, 1);
            self.write_records(&mut writer, strings_id);
        }
        let mut note = |name: String, id: &[u8]| {
            if self.leave_out.iter().all(|suffix| !name.ends_with(suffix)) {
                let mut bytes = Vec::new();
                for word in [4, u32::try_from(id.len()).expect("short"), 3] {
                    bytes.extend(word.to_le_bytes());
                }
                bytes.extend(b"GNU\0");
                bytes.extend(id);
                writer.section(&name, SectionKind::Note, A, &bytes, 4);
            }
        };
        note(".note.gnu.build-id".to_owned(), &self.build_id);
        note(format!("{prefix}depends"), &self.depends);
        if self.profile.base_note == BaseNote::Mandatory {
            note(format!("{prefix}xen_depends"), &self.base);
        }
        if let Some(metadata) = &self.metadata {
            writer.section(".modinfo", SectionKind::ReadOnlyData, A, metadata, 1);
        }
        for (hook, functions) in &self.hooks {
            let data = vec![0; functions.len() * 8];
            let name = format!("{prefix}hooks.{hook}");
            let id = writer.section(&name, SectionKind::ReadOnlyData, A, &data, 8);
            for (index, function) in functions.iter().enumerate() {
                let offset = u64::try_from(index * 8).expect("small");
                writer.relocate(id, offset, word, function, 0);
            }
        }
        for extra in &self.sections {
            let id = writer.section(&extra.name, extra.kind, extra.flags, &extra.data, 8);
            if extra.bss > 0 {
                writer.object.append_section_bss(id, extra.bss, 8);
            }
            if extra.flags & A != 0 {
                let name = extra.name.clone();
                writer.define(&format!("start of {name}"), id, 0, 1, false);
            }
            for (offset, kind, symbol, addend) in &extra.relocations {
                writer.relocate(id, *offset, *kind, symbol, *addend);
            }
        }
        writer
            .object
            .write()
            .expect("the test's payload can be written")
    }

    fn write_records(&self, writer: &mut Writer, strings: SectionId) {
        let size = self.profile.record_bytes;
        let mut data = vec![0; size * self.records.len()];
        let name = format!("{}funcs", self.profile.prefix);
        let mut names = 0;
        let mut relocations = Vec::new();
        for (index, record) in self.records.iter().enumerate() {
            let at = index * size;
            let offset = u64::try_from(at).expect("small");
            relocations.push((offset, Err(names)));
            names += i64::try_from(record.name.len()).expect("short") + 1;
            for (field, target) in [(8, &record.new), (16, &record.old)] {
                match target {
                    Target::Number(number) => {
                        data[at + field..at + field + 8].copy_from_slice(&number.to_le_bytes());
                    }
                    Target::Undefined(name) | Target::New(name) => {
                        relocations.push((offset + field as u64, Ok(*name)));
                    }
                }
            }
            data[at + 24..at + 28].copy_from_slice(&record.new_size.to_le_bytes());
            data[at + 28..at + 32].copy_from_slice(&record.old_size.to_le_bytes());
            for (offset, bytes) in &record.tail {
                data[at + offset..at + offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        let id = writer.section(&name, SectionKind::ReadOnlyData, A, &data, 8);
        let word = self.machine.word.number;
        for (offset, target) in relocations {
            match target {
                Ok(name) => writer.relocate(id, offset, word, name, 0),
                Err(addend) => {
                    let symbol = writer.object.section_symbol(strings);
                    writer.relocate_symbol(id, offset, word, symbol, addend);
                }
            }
        }
    }
}

/// The version byte that a profile demands.
pub(crate) fn version_of(profile: &Profile) -> Vec<(usize, Vec<u8>)> {
    match profile.tail {
        Tail::Zero => Vec::new(),
        Tail::Version(version) | Tail::VersionAndExpect(version) => vec![(32, vec![version])],
    }
}

/// Caller's memory: the name with its NUL, then whatever follows.
pub(crate) fn area(name: &str, rest: &[u8]) -> (Name, Vec<u8>) {
    let mut area = name.as_bytes().to_vec();
    area.push(0);
    let argument = Name {
        name_handle: U64::new(0),
        size: U16::new(u16::try_from(area.len()).expect("short")),
        pad: [U16::ZERO; 3],
    };
    area.extend(rest);
    (argument, area)
}

/// Calls with the name of an errno instead of its number.
pub(crate) trait Caller {
    fn call(&self, operation: &mut Operation, area: &mut [u8]) -> i32;

    fn upload(&self, name: &str, file: &[u8]) -> i32 {
        let (argument, mut area) = area(name, file);
        let upload = Upload {
            name: argument,
            size: U64::new(u64::try_from(file.len()).expect("small")),
            payload_handle: U64::new(argument.size.get().into()),
        };
        self.call(&mut Operation::with(OP_UPLOAD, &upload), &mut area)
    }

    fn get(&self, name: &str) -> Result<(u32, i32), i32> {
        let (argument, mut area) = area(name, &[]);
        let get = Get {
            name: argument,
            ..Get::default()
        };
        let mut operation = Operation::with(OP_GET, &get);
        match self.call(&mut operation, &mut area) {
            0 => {
                let status = operation.read::<Get>().status;
                Ok((status.state.get(), status.rc.get()))
            }
            error => Err(error),
        }
    }

    fn schedule(&self, name: &str, cmd: u32, flags: u32) -> i32 {
        let (argument, mut area) = area(name, &[]);
        let action = Action {
            name: argument,
            cmd: U32::new(cmd),
            flags: U32::new(flags),
            ..Action::default()
        };
        self.call(&mut Operation::with(OP_ACTION, &action), &mut area)
    }

    fn stop(&self);

    /// Schedules, lets the CPUs come, and returns the payload's result.
    fn act(&self, name: &str, cmd: u32) -> i32 {
        match self.schedule(name, cmd, 0) {
            0 => {
                self.stop();
                self.get(name).map_or_else(|error| error, |(_, rc)| rc)
            }
            error => error,
        }
    }
}

impl<P: Platform> Caller for Runtime<'_, P> {
    fn call(&self, operation: &mut Operation, area: &mut [u8]) -> i32 {
        self.hypercall(Privilege::Privileged, operation, area)
    }

    fn stop(&self) {
        self.safe_point(CpuId(0));
    }
}

/// Bytes of memory at an address.
pub(crate) fn peek(runtime: &Runtime<'_, MemoryPlatform>, address: u64, bytes: usize) -> Vec<u8> {
    peek_on(runtime.platform(), address, bytes)
}

/// The same of any platform.
pub(crate) fn peek_on(platform: &impl Platform, address: u64, bytes: usize) -> Vec<u8> {
    let mut into = vec![0; bytes];
    platform
        .read(address, &mut into)
        .expect("the test reads what is mapped");
    into
}

/// Where the jump at an address lands, if there is one.
pub(crate) fn jump_at(runtime: &Runtime<'_, MemoryPlatform>, address: u64) -> Option<u64> {
    let code = peek(runtime, address, 5);
    if code[0] != 0xe9 {
        return None;
    }
    let displacement = i32::from_le_bytes(code[1..5].try_into().expect("four bytes"));
    Some(
        address
            .wrapping_add(5)
            .wrapping_add_signed(displacement.into()),
    )
}
