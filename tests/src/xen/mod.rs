//! The proof on a real hypervisor, run by `make xen`.
//!
//! Everything the other tests check against the bundled kernel is checked here against a loader
//! nobody on this project wrote: the Xen of the Debian archive, built twice, patched while it runs
//! by the unmodified `xen-livepatch` of the same archive. The way through:
//!
//! ```text
//! archive ── packages, source ──> build ── two trees a change ──> payload ── .livepatch files
//!                                                                    │ what `verify` foretells
//! table <── outcomes ── guest (QEMU) <── initramfs <── script <── scenario
//! ```
//!
//! Nothing outside the cache folder is written.

pub mod archive;
pub mod beside;
pub mod boots;
pub mod build;
pub mod change;
mod changes_4_14;
pub mod changes_arm64;
mod changes_common;
pub mod configuration;
pub mod each;
pub mod faults;
pub mod guest;
pub mod in_tree;
pub mod initramfs;
pub mod life;
pub mod one_line;
pub mod payload;
pub mod platform;
pub mod process;
pub mod prophecy;
pub mod release;
pub mod run;
pub mod scenario;
pub mod script;
pub mod second_look;
pub mod stacks;
pub mod table;
pub mod traps;
