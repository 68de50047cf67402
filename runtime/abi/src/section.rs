//! Section names of payloads. Those that carry a profile's prefix are given without it.

/// The records.
pub const FUNCS: &str = "funcs";
/// Names that the records point at.
pub const STRINGS: &str = "strings";
/// Build-id note of what the payload stacks on.
pub const DEPENDS: &str = "depends";
/// Build-id note of the base image.
pub const XEN_DEPENDS: &str = "xen_depends";
/// Expectations of 64-byte records.
pub const EXPECT: &str = "expect";
/// In-place data words.
pub const WORDS: &str = "words";
/// Prefix (after the profile's) of every hook section.
pub const HOOKS: &str = "hooks.";
/// Prefix (after the profile's) of the non-allocated sections in which a source accepts changes
/// that a payload cannot contain.
pub const ACCEPT: &str = "accept";

/// The payload's own build-id note.
pub const BUILD_ID: &str = ".note.gnu.build-id";
/// What all code of an object or image takes part in, as a note.
pub const PROPERTY: &str = ".note.gnu.property";
/// `key=value` strings, each ended by NUL.
pub const MODINFO: &str = ".modinfo";
/// Code that exception table entries continue at.
pub const FIXUP: &str = ".fixup";
/// Replacement code of alternatives.
pub const ALTINSTR_REPLACEMENT: &str = ".altinstr_replacement";

/// Keys of `.modinfo`.
pub mod modinfo {
    /// The profile's name, as `--abi` takes it.
    pub const ABI: &str = "abi";
    /// The payload's name.
    pub const NAME: &str = "name";
    /// The tool that made it, and its version.
    pub const TOOL: &str = "tool";
    /// What was not compared with the base.
    pub const BASE_PROOF: &str = "base-proof";
    /// That references to the base are addresses.
    pub const PRELINKED: &str = "prelinked";
    /// A difference that the author accepted; several lines may have it.
    pub const ACCEPTED: &str = "accepted";
    /// A vulnerability or advisory that it mends; several lines may have it.
    pub const FIXES: &str = "fixes";
    /// All of them.
    pub const KEYS: [&str; 7] = [ABI, NAME, TOOL, BASE_PROOF, PRELINKED, ACCEPTED, FIXES];
}
