//! Builds small trees with gcc and links bases with ld, so that the tests speak of what real
//! tools emit.

pub(crate) mod complete;
pub(crate) mod hand;

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use xsplice_abi::Profile;
use xsplice_diff::Extract;
use xsplice_diff::Originals;
use xsplice_diff::Verdict;
use xsplice_link::Base;
use xsplice_link::LinkError;
use xsplice_link::LinkOptions;
use xsplice_link::Payload;
use xsplice_test_objects::compile;
pub(crate) use xsplice_test_objects::run;

/// Where the test bases are linked to: the top 2 GiB, as a kernel.
pub(crate) const BASE_ADDRESS: &str = "0xffffffff81000000";

/// Flags that every object is compiled with.
const FLAGS: &[&str] = &[
    "-O2",
    "-ffunction-sections",
    "-fdata-sections",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-mno-red-zone",
];

/// Position-independent code with hidden visibility undone, so that globals go through the GOT.
pub(crate) const PIC: &[&str] = &["-fpic", "-fcf-protection=none"];
/// The kernel's code model.
pub(crate) const KERNEL: &[&str] = &["-fno-pic", "-mcmodel=kernel", "-fcf-protection=none"];
/// With `endbr64` at every function.
pub(crate) const ENDBR: &[&str] = &["-fno-pic", "-mcmodel=kernel", "-fcf-protection=branch"];

/// A tree of sources, compiled.
#[derive(Debug)]
pub(crate) struct Tree {
    directory: TempDir,
    /// Path in the tree and bytes, in the order given.
    pub objects: Vec<(String, Vec<u8>)>,
    paths: Vec<PathBuf>,
}

impl Tree {
    /// Compiles `(path, source)` pairs.
    pub(crate) fn compile(sources: &[(&str, &str)], flags: &[&str]) -> Tree {
        let directory = tempfile::tempdir().unwrap();
        let mut objects = Vec::new();
        let mut paths = Vec::new();
        for (path, source) in sources {
            let source_path = directory.path().join(path);
            std::fs::create_dir_all(source_path.parent().unwrap()).unwrap();
            std::fs::write(&source_path, source).unwrap();
            let object = Path::new(path).with_extension("o");
            let bytes = compile(directory.path(), "gcc", &[FLAGS, flags].concat(), path);
            objects.push((object.to_str().unwrap().to_owned(), bytes));
            paths.push(directory.path().join(&object));
        }
        Tree {
            directory,
            objects,
            paths,
        }
    }

    /// Links every object into an image.
    pub(crate) fn link(&self) -> Vec<u8> {
        self.link_with(&["--build-id=sha1"])
    }

    /// Links every object into an image with further options of ld.
    pub(crate) fn link_with(&self, options: &[&str]) -> Vec<u8> {
        let address = format!("-Ttext-segment={BASE_ADDRESS}");
        self.link_anywhere(&[&[address.as_str()], options].concat())
    }

    /// Links every object into an image where ld likes it.
    pub(crate) fn link_anywhere(&self, options: &[&str]) -> Vec<u8> {
        let image = self.directory.path().join("image");
        run(Command::new("ld")
            .args(["-e", "0", "-z", "max-page-size=4096"])
            .args(options)
            .arg("-o")
            .arg(&image)
            .args(&self.paths));
        std::fs::read(&image).unwrap()
    }

    /// Links every object into an image up there by another linker.
    pub(crate) fn link_by(&self, linker: &str, options: &[&str]) -> Vec<u8> {
        let image = self.directory.path().join("image");
        let address = if options.contains(&"-pie") {
            Vec::new()
        } else {
            vec![format!("--image-base={BASE_ADDRESS}")]
        };
        let address = match linker {
            "ld.lld" => address,
            _ => vec![format!("-Ttext-segment={BASE_ADDRESS}")]
                .into_iter()
                .take(address.len())
                .collect(),
        };
        run(Command::new(linker)
            .args(["-e", "0", "-z", "max-page-size=4096"])
            .args(address)
            .args(options)
            .arg("-o")
            .arg(&image)
            .args(&self.paths));
        std::fs::read(&image).unwrap()
    }

    /// Links the objects into one first, as the kbuild of hypervisors does, and that into an image.
    pub(crate) fn link_in_steps(&self) -> Vec<u8> {
        let whole = self.directory.path().join("built_in.o");
        run(Command::new("ld")
            .args(["-r", "-o"])
            .arg(&whole)
            .args(&self.paths));
        let image = self.directory.path().join("image");
        run(Command::new("ld")
            .args(["-e", "0", "-z", "max-page-size=4096", "--build-id=sha1"])
            .arg(format!("-Ttext-segment={BASE_ADDRESS}"))
            .arg("-o")
            .arg(&image)
            .arg(&whole));
        std::fs::read(&image).unwrap()
    }

    /// The object at `path`.
    pub(crate) fn object(&self, path: &str) -> &[u8] {
        &self
            .objects
            .iter()
            .find(|(name, _)| name == path)
            .unwrap()
            .1
    }
}

/// Two builds and the base that the first was linked into.
#[derive(Debug)]
pub(crate) struct Fix {
    pub original: Tree,
    pub patched: Tree,
    pub image: Vec<u8>,
}

impl Fix {
    /// Builds `original` and links it, and builds it again with the sources of `patched` in place
    /// of those of the same path.
    pub(crate) fn build(
        original: &[(&str, &str)],
        patched: &[(&str, &str)],
        flags: &[&str],
    ) -> Fix {
        let mut sources = original.to_vec();
        for change in patched {
            match sources.iter_mut().find(|(path, _)| *path == change.0) {
                Some(source) => *source = *change,
                None => sources.push(*change),
            }
        }
        let original = Tree::compile(original, flags);
        let image = original.link();
        Fix {
            original,
            patched: Tree::compile(&sources, flags),
            image,
        }
    }

    /// The base, parsed.
    pub(crate) fn base(&self) -> Base<'_> {
        Base::parse("image", &self.image).unwrap()
    }

    /// Extracts of every object that differs, in the order of the tree.
    pub(crate) fn extracts(&self, abi: &'static Profile) -> Vec<Extract<'_>> {
        let options = xsplice_diff::Options {
            abi,
            ..xsplice_diff::Options::default()
        };
        let mut extracts = Vec::new();
        for (path, patched) in &self.patched.objects {
            let original = self.original.objects.iter().find(|(name, _)| name == path);
            let diff = match original {
                Some((_, original)) => {
                    xsplice_diff::diff_objects(path, original, patched, &options)
                }
                None => xsplice_diff::take_whole(path, patched, &options),
            }
            .unwrap();
            assert_ne!(diff.verdict(), Verdict::Refused, "{:?}", diff.refusals);
            extracts.extend(diff.extract);
        }
        extracts
    }

    /// Links with default options.
    pub(crate) fn payload(&self, abi: &'static Profile) -> Payload {
        self.link(&LinkOptions::new("fix", abi)).unwrap()
    }

    /// Links with options.
    pub(crate) fn link(&self, options: &LinkOptions) -> Result<Payload, LinkError> {
        xsplice_link::link(&self.base(), &self.extracts(options.abi), options)
    }

    /// Every function and constant of every original object.
    pub(crate) fn originals(&self) -> Vec<(&str, Originals<'_>)> {
        self.original
            .objects
            .iter()
            .map(|(path, bytes)| (path.as_str(), xsplice_diff::originals(path, bytes).unwrap()))
            .collect()
    }
}

/// What `readelf -aW` says.
pub(crate) fn readelf(bytes: &[u8]) -> String {
    xsplice_test_objects::readelf_of("-aW", bytes)
}

/// The relocation types of an object, in file order.
pub(crate) fn relocation_types(object: &[u8]) -> Vec<u32> {
    let elf = goblin::elf::Elf::parse(object).unwrap();
    elf.shdr_relocs
        .iter()
        .flat_map(|(_, relocations)| relocations.iter())
        .map(|relocation| relocation.r_type)
        .collect()
}
