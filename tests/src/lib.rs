//! What the tests across the rooms share: the cases of `fixtures/cases`, the compilers that
//! rebuild them, the built tools, the golden files, a host to load payloads into, and the
//! mutations that try to break the readers. For the booted kernel: [`qemu`] runs it with a hard
//! limit, [`kernel`] talks to it, [`trees`] builds the example target before and after a patch and
//! the payload between the two, [`shell`] runs what a reader would type;
//! [`demo`] is made of the same. [`xen`] is the proof on a real hypervisor, [`identity`] the one on
//! the objects of real projects.

#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "it calls code that was compiled on the spot")]
pub mod behaviour;
pub mod bench;
pub mod book;
pub mod breaks;
pub mod browser;
pub mod case;
pub mod compiler;
pub mod counterpart;
pub mod demo;
pub mod edit;
pub mod fuzz;
pub mod golden;
#[expect(unsafe_code, reason = "it maps memory and calls code in it")]
pub mod host_platform;
pub mod identity;
pub mod inspected;
pub mod kernel;
pub mod kernel_figures;
pub mod limit;
pub mod listing;
pub mod live;
pub mod loader;
pub mod many_builds;
pub mod operator;
pub mod qemu;
pub mod second_machine;
pub mod served;
pub mod shell;
pub mod tools;
pub mod trees;
pub mod xen;

use std::path::PathBuf;

/// The root of the workspace.
///
/// # Panics
/// When the crate was moved out of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a folder of the workspace")
        .to_path_buf()
}
