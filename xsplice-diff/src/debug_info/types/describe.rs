//! Describes types: names as C writes them, sizes, and how a function takes its arguments.

use super::{EntryId, HOPS_MAX, Types, is_pointer, is_transparent};

/// How one argument or result is passed, as far as caller and callee have to agree on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Passing {
    /// No result.
    Nothing,
    /// An address.
    Pointer,
    /// A number in a general register: bytes, and for narrow ones whether the caller extends the
    /// sign.
    Integer(u64, Option<bool>),
    /// A number in a vector or floating-point register, in bytes.
    Float(u64),
    /// A structure or union: its name and bytes.
    Aggregate(String, u64),
    /// Further arguments of any type.
    Variadic,
    /// Not in the debug information.
    Unknown,
}

/// Numbers below this many bytes are extended by the caller.
const REGISTER_BYTES_MIN: u64 = 4;

impl Types<'_> {
    /// Size of a type or of what a member holds, in bytes; `None` when it is not complete.
    #[must_use]
    pub fn size_bytes(&self, id: EntryId) -> Option<u64> {
        let mut at = id;
        let mut times = 1_u64;
        for _ in 0..HOPS_MAX {
            let entry = self.entry(at);
            if entry.tag != gimli::DW_TAG_member
                && let Some(bytes) = entry.size_bytes
            {
                return bytes.checked_mul(times);
            }
            if is_pointer(entry.tag) {
                /// Of an x86-64 address.
                const ADDRESS_BYTES: u64 = 8;
                return ADDRESS_BYTES.checked_mul(times);
            }
            if entry.tag == gimli::DW_TAG_array_type {
                for dimension in self.children(at) {
                    times = times.checked_mul(self.entry(dimension).count.unwrap_or(0))?;
                }
            }
            at = self.type_of(at)?;
        }
        None
    }

    /// Size of what a member holds, in bits; 0 when it is not known.
    #[must_use]
    pub fn member_bits(&self, id: EntryId) -> u64 {
        self.entry(id)
            .size_bits
            .or_else(|| self.size_bytes(id)?.checked_mul(8))
            .unwrap_or(0)
    }

    /// Offset of a member from the start of what it is in, in bits.
    #[must_use]
    pub fn member_offset_bits(&self, id: EntryId) -> u64 {
        self.entry(id).offset_bits
    }

    /// A type as C writes it, with its typedefs.
    #[must_use]
    pub fn said(&self, id: Option<EntryId>) -> String {
        self.say(id, Typedefs::Kept, 0)
    }

    /// A type as C writes it, without typedefs and qualifiers: equal for types that are the same to
    /// the compiler.
    #[must_use]
    pub fn meant(&self, id: Option<EntryId>) -> String {
        self.say(id, Typedefs::Resolved, 0)
    }

    fn say(&self, id: Option<EntryId>, typedefs: Typedefs, depth: usize) -> String {
        /// Deeper than real declarations nest.
        const DEPTH_MAX: usize = 12;
        let Some(id) = id else {
            return "void".to_owned();
        };
        if depth > DEPTH_MAX {
            return "...".to_owned();
        }
        let entry = self.entry(id);
        let inner = || self.say(self.type_of(id), typedefs, depth + 1);
        let tagged = |keyword: &str| {
            if entry.name.is_empty() {
                format!("{keyword} {{...}}")
            } else {
                format!("{keyword} {}", entry.name)
            }
        };
        match entry.tag {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => tagged("struct"),
            gimli::DW_TAG_union_type => tagged("union"),
            gimli::DW_TAG_enumeration_type => tagged("enum"),
            gimli::DW_TAG_typedef if typedefs == Typedefs::Kept => entry.name.to_owned(),
            gimli::DW_TAG_typedef => {
                let target = self.stripped(id);
                match target {
                    // A structure without a tag is known by its typedef.
                    Some(target)
                        if super::kind(self.entry(target).tag).is_some()
                            && self.entry(target).name.is_empty() =>
                    {
                        entry.name.to_owned()
                    }
                    _ => inner(),
                }
            }
            gimli::DW_TAG_const_type if typedefs == Typedefs::Kept => format!("const {}", inner()),
            gimli::DW_TAG_volatile_type if typedefs == Typedefs::Kept => {
                format!("volatile {}", inner())
            }
            tag if is_transparent(tag) => inner(),
            tag if is_pointer(tag) => {
                let target = self.type_of(id);
                let function = target
                    .filter(|target| self.entry(*target).tag == gimli::DW_TAG_subroutine_type);
                match function {
                    Some(function) => self.say_function(function, "(*)", typedefs, depth + 1),
                    None => format!("{} *", inner()).replace("* *", "**"),
                }
            }
            gimli::DW_TAG_subroutine_type => self.say_function(id, "", typedefs, depth + 1),
            gimli::DW_TAG_array_type => {
                let mut text = inner();
                text.push(' ');
                for dimension in self.children(id) {
                    match self.entry(dimension).count {
                        Some(count) => text.push_str(&format!("[{count}]")),
                        None => text.push_str("[]"),
                    }
                }
                text
            }
            _ if !entry.name.is_empty() => entry.name.to_owned(),
            _ => "?".to_owned(),
        }
    }

    /// The prototype of a function or function type.
    #[must_use]
    pub fn prototype(&self, id: EntryId) -> String {
        self.say_function(id, self.name_of(id), Typedefs::Kept, 0)
    }

    /// The prototype without typedefs and qualifiers.
    #[must_use]
    pub fn prototype_meant(&self, id: EntryId) -> String {
        self.say_function(id, self.name_of(id), Typedefs::Resolved, 0)
    }

    fn say_function(&self, id: EntryId, name: &str, typedefs: Typedefs, depth: usize) -> String {
        let mut parameters: Vec<String> = Vec::new();
        for parameter in self.children(id) {
            match self.entry(parameter).tag {
                gimli::DW_TAG_formal_parameter => {
                    parameters.push(self.say(self.type_of(parameter), typedefs, depth));
                }
                gimli::DW_TAG_unspecified_parameters => parameters.push("...".to_owned()),
                _ => {}
            }
        }
        if parameters.is_empty() {
            parameters.push("void".to_owned());
        }
        let result = self.say(self.type_of(id), typedefs, depth);
        let gap = if result.ends_with('*') { "" } else { " " };
        format!("{result}{gap}{name}({})", parameters.join(", "))
    }

    /// How a function takes its arguments and gives its result, the result first.
    #[must_use]
    pub fn passing(&self, id: EntryId) -> Vec<Passing> {
        let mut all = vec![self.passing_of(self.type_of(id))];
        for parameter in self.children(id) {
            match self.entry(parameter).tag {
                gimli::DW_TAG_formal_parameter => {
                    all.push(self.passing_of(self.type_of(parameter)));
                }
                gimli::DW_TAG_unspecified_parameters => all.push(Passing::Variadic),
                _ => {}
            }
        }
        all
    }

    fn passing_of(&self, id: Option<EntryId>) -> Passing {
        let Some(id) = id else {
            return Passing::Nothing;
        };
        let Some(id) = self.stripped(id) else {
            return Passing::Nothing;
        };
        let entry = self.entry(id);
        let bytes = self.size_bytes(id).unwrap_or(0);
        match entry.tag {
            tag if is_pointer(tag) => Passing::Pointer,
            gimli::DW_TAG_enumeration_type => Passing::Integer(bytes, None),
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => {
                Passing::Aggregate(self.said(Some(id)), bytes)
            }
            gimli::DW_TAG_base_type => match entry.encoding {
                Some(gimli::DW_ATE_float | gimli::DW_ATE_complex_float) => Passing::Float(bytes),
                Some(encoding) => {
                    let is_signed =
                        matches!(encoding, gimli::DW_ATE_signed | gimli::DW_ATE_signed_char);
                    let sign = (bytes < REGISTER_BYTES_MIN).then_some(is_signed);
                    Passing::Integer(bytes, sign)
                }
                None => Passing::Unknown,
            },
            _ => Passing::Unknown,
        }
    }

    /// How the function is called that a member or variable points to; `None` when it points to
    /// none.
    #[must_use]
    pub fn called_through(&self, id: EntryId) -> Option<Vec<Passing>> {
        let pointer = self.stripped(self.type_of(id)?)?;
        if !is_pointer(self.entry(pointer).tag) {
            return None;
        }
        let function = self.stripped(self.type_of(pointer)?)?;
        (self.entry(function).tag == gimli::DW_TAG_subroutine_type).then(|| self.passing(function))
    }
}

/// Whether typedefs and qualifiers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Typedefs {
    Kept,
    Resolved,
}
