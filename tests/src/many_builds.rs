//! `make many-builds`: a security fix as a shop ships it. Five shipped builds in one store, three
//! of a small program and two of Xen in different configurations; one command, then the same in
//! two shards, joined; then each payload with its provenance in an empty folder, as whoever
//! receives it has it.
//!
//! Of the two builds of Xen the smaller is kept with a tarball of its source, which a fix builds as
//! a whole, and the larger with the folder that it was built in, where a fix builds what it
//! touches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;
use xsplice_test_objects::shop::{self, FIX, THREE, adding};

use crate::shell::{Echo, Line, Shell};
use crate::xen::archive::{self, PrivateApt, remove};
use crate::xen::platform::MachineKind;
use crate::xen::process::{run_logged, run_quiet};
use crate::xen::release::XEN_4_17;

/// What of Xen's source the hypervisor is built from.
const PARTS: [&str; 4] = ["xen", "Config.mk", "config", "version.sh"];

/// The builds of Xen, each with what is switched off in its configuration.
const XEN: [(&str, Option<&str>); 2] = [("xen-hvm", None), ("xen-pv", Some("CONFIG_HVM"))];

/// The fix of Xen: one function answers otherwise.
const XEN_FIX: &str = "fixtures/xen/changes/minor-version.patch";

/// An identifier that every payload must carry.
const ADVISORY: &str = "XSA-470";

/// Where the results of the single run, and of both shards joined, go.
const WHOLE: &str = "whole";
const JOINED: &str = "joined";

/// Ships one fix for five builds, two of them of Xen.
#[derive(Debug, Parser)]
#[command(name = "many-builds", max_term_width = 100)]
pub struct Arguments {
    /// Where everything that is fetched and built is kept
    #[arg(long, default_value = "out/many-builds", value_name = "DIR")]
    pub cache: PathBuf,

    /// Xen's source, unpacked and not built [default: fetched from the Debian archive]
    #[arg(long, value_name = "DIR")]
    pub xen_source: Option<PathBuf>,

    /// Keep both builds of Xen with the folders that they were built in: a fix then builds what it
    /// touches, and no Xen is built as a whole
    #[arg(long)]
    pub quick: bool,

    /// The Debian archive to fetch from [default: the one this system uses]
    #[arg(long, value_name = "URI")]
    pub mirror: Option<String>,
}

/// Runs everything.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn run(arguments: &Arguments) -> Result<()> {
    let log = arguments.cache.join("log");
    fs::create_dir_all(&log).with_context(|| log.display().to_string())?;
    let cache = fs::canonicalize(&arguments.cache).context("cannot find the cache folder")?;
    let programs = std::env::current_exe().context("cannot tell where this program is")?;
    let programs = programs.parent().context("a program is in a folder")?;
    let inherited = std::env::var("PATH").context("no PATH")?;
    let shop = Shop {
        shell: Shell {
            folder: cache.clone(),
            echo: Echo::Shown,
            environment: vec![(
                "PATH".to_owned(),
                format!("{}:{inherited}", programs.display()).into(),
            )],
        },
        folder: cache,
    };
    shop.small()?;
    shop.xen(arguments)?;
    shop.keep(arguments)?;
    let started = Instant::now();
    shop.whole()?;
    let whole = started.elapsed();
    let started = Instant::now();
    shop.again()?;
    let again = started.elapsed();
    let started = Instant::now();
    shop.in_shards()?;
    let shards = started.elapsed();
    shop.received()?;
    println!(
        "\none run {} s, again {} s, two shards one after the other {} s; each payload was \
         verified with its provenance in a folder of its own",
        whole.as_secs(),
        again.as_secs(),
        shards.as_secs()
    );
    Ok(())
}

/// Who ships.
struct Shop {
    /// Runs and shows commands, in the folder.
    shell: Shell,
    folder: PathBuf,
}

impl Shop {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn line(&self, text: &str) -> Result<String> {
        let words: Vec<&str> = text.split(' ').collect();
        let (program, arguments) = words.split_first().context("a command has a word")?;
        let line = arguments.iter().fold(Line::new(program), Line::arg);
        self.shell.run(&line)
    }

    /// The builds of the small program.
    fn small(&self) -> Result<()> {
        for (name, config) in THREE {
            remove(&self.path(name))?;
            remove(&self.path(&format!("{name}.built")))?;
            shop::make(&self.folder, name, config);
        }
        fs::write(self.path("small.patch"), FIX).context("small.patch")
    }

    /// The builds of Xen, unless they are there.
    fn xen(&self, arguments: &Arguments) -> Result<()> {
        let root = crate::workspace();
        fs::copy(root.join(XEN_FIX), self.path("xen.patch")).context(XEN_FIX)?;
        for (name, without) in XEN {
            let (source, built) = (self.path(name), self.path(&format!("{name}.built")));
            if built.join(".complete").exists() {
                println!("== {name}: in the cache");
                continue;
            }
            println!("== {name}: building");
            let unpacked = self.unpacked(arguments)?;
            remove(&source)?;
            remove(&built)?;
            fs::create_dir(&source).with_context(|| source.display().to_string())?;
            for part in PARTS {
                let mut copy = Command::new("cp");
                run_quiet(
                    copy.arg("-a")
                        .arg(unpacked.join(part))
                        .arg(source.join(part)),
                )?;
            }
            run_quiet(Command::new("cp").arg("-a").arg(&source).arg(&built))?;
            self.make(name, &built, "defconfig")?;
            let chosen = built.join("xen/.config");
            if let Some(option) = without {
                let text = fs::read_to_string(&chosen).context(".config of Xen")?;
                let text = text.replace(&format!("{option}=y"), &format!("# {option} is not set"));
                fs::write(&chosen, text).context(".config of Xen")?;
                self.make(name, &built, "olddefconfig")?;
            }
            // The source has the choice alone. What is generated from it has nearly the same time,
            // and an archive keeps times in whole seconds.
            fs::copy(&chosen, source.join("xen/.config")).context(".config of Xen")?;
            self.make(name, &built, "build")?;
            fs::write(built.join(".complete"), "").context("cannot stamp the build")?;
        }
        Ok(())
    }

    /// Xen's source, as it was unpacked.
    fn unpacked(&self, arguments: &Arguments) -> Result<PathBuf> {
        if let Some(given) = &arguments.xen_source {
            return Ok(given.clone());
        }
        let source = self.path("source");
        if !source.exists() {
            let platform = MachineKind::X86_64.platform();
            archive::ensure_programs(platform)?;
            let apt = PrivateApt::set_up(&self.folder, arguments.mirror.as_deref(), platform)?;
            apt.update(&self.path("log"))?;
            archive::fetch_source(&apt, &self.folder, "xen", Some(XEN_4_17.version), &source)?;
        }
        Ok(source)
    }

    fn make(&self, name: &str, tree: &Path, target: &str) -> Result<()> {
        let script = format!("{} {target}", make_xen());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(tree);
        // Whoever runs this under `make` must not have its flags seen by Xen's makefiles.
        for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CFLAGS"] {
            command.env_remove(variable);
        }
        let log = self.path("log").join(format!("{name}-{target}.log"));
        run_logged(&format!("make {name} {target}"), &mut command, &log)
    }

    /// All builds into the store.
    fn keep(&self, arguments: &Arguments) -> Result<()> {
        remove(&self.path("store"))?;
        for (name, _) in THREE {
            let built = format!("{name}.built");
            let words = adding(name, &built);
            let line = words.iter().fold(Line::new("xsplice-store"), Line::arg);
            self.shell.run(&line)?;
        }
        let of_pv = if arguments.quick {
            "xen-pv.built"
        } else {
            self.line("tar -czf xen-pv.tar.gz xen-pv")?;
            "xen-pv.tar.gz"
        };
        for (name, source) in [("xen-hvm", "xen-hvm.built"), ("xen-pv", of_pv)] {
            let built = format!("{name}.built/xen");
            let line = Line::new("xsplice-store")
                .arg("add")
                .arg("--store=store")
                .arg(format!("--name={name}"))
                .arg(format!("--source={source}"))
                .arg(format!("--objects={built}"))
                .arg(format!("--base={built}/xen-syms"))
                .arg(format!("--make={}", make_xen()));
            self.shell.run(&line)?;
        }
        self.line("xsplice-store check --store store")?;
        Ok(())
    }

    fn build(&self, further: &str) -> Result<String> {
        self.line(&format!(
            "xsplice-build --store store --patch xen.patch --patch-for [abc]-*=small.patch --abi \
             livepatch --name fix --fixes {ADVISORY} {further}"
        ))
    }

    /// One command.
    fn whole(&self) -> Result<()> {
        remove(&self.path(WHOLE))?;
        let told = self.build(&format!("-o {WHOLE}"))?;
        ensure!(told.contains("5 made"), "five payloads were to be made");
        ensure!(
            told.contains("payloads of equal content: a-plain, b-again\n"),
            "two builds of the small program were to have the same payload"
        );
        Ok(())
    }

    /// The same command keeps what is there.
    fn again(&self) -> Result<()> {
        let told = self.build(&format!("-o {WHOLE}"))?;
        let kept = told.matches("(of an earlier run)").count();
        ensure!(kept == builds().count(), "{kept} payloads were kept");
        Ok(())
    }

    /// The same in two shards, joined.
    fn in_shards(&self) -> Result<()> {
        for folder in ["one", "two", JOINED] {
            remove(&self.path(folder))?;
        }
        self.build("--shard 1/2 -o one")?;
        self.build("--shard 2/2 -o two")?;
        self.line(&format!("xsplice-store merge -o {JOINED} one two"))?;
        let index = |folder: &str| -> Result<Value> {
            let path = self.path(folder).join("index.json");
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            Ok(serde_json::from_slice(&text)?)
        };
        ensure!(
            index(WHOLE)? == index(JOINED)?,
            "the joined report is not that of the single run"
        );
        for name in builds() {
            // The provenance names the patched objects, whose debug information names the folder
            // that they were built in.
            for file in ["fix.xsplice", "sbom.cdx.json"] {
                let read = |folder: &str| {
                    let path = self.path(folder).join(name).join(file);
                    fs::read(&path).with_context(|| path.display().to_string())
                };
                ensure!(
                    read(WHOLE)? == read(JOINED)?,
                    "{name}: {file} is not that of the single run"
                );
            }
        }
        Ok(())
    }

    /// Each payload with base and provenance in an empty folder: verified as it is and signed; not
    /// taken with one bit changed, nor with the provenance of another build.
    fn received(&self) -> Result<()> {
        self.line(
            "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=shop -keyout key.pem \
             -out cert.pem",
        )?;
        let mut before: Option<&str> = None;
        for name in builds() {
            let folder = self.path("received").join(name);
            remove(&folder)?;
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let made = self.path(JOINED).join(name);
            for file in ["fix.xsplice", "provenance.json", "sbom.cdx.json"] {
                fs::copy(made.join(file), folder.join(file)).context(file)?;
            }
            let image = if name.starts_with("xen") {
                "xen/xen-syms"
            } else {
                "image"
            };
            let base = format!("{name}.built/{image}");
            fs::copy(self.path(&base), folder.join("base")).context(base)?;
            let there = Shell {
                folder: folder.clone(),
                ..self.shell.clone()
            };
            let verify = "xsplice-link verify --base base --provenance";
            there.run(&Line::script(&format!(
                "{verify} provenance.json fix.xsplice"
            )))?;
            let inspected = there.run(&Line::script("xsplice-link inspect fix.xsplice"))?;
            ensure!(inspected.contains(ADVISORY), "{name}: no {ADVISORY}");
            let bill = fs::read_to_string(folder.join("sbom.cdx.json")).context("the bill")?;
            ensure!(bill.contains(ADVISORY), "{name}: no {ADVISORY} in the bill");
            there.run(&Line::script(
                "xsplice-link sign --key ../../key.pem --cert ../../cert.pem --provenance \
                 provenance.json -o signed.xsplice fix.xsplice",
            ))?;
            there.run(&Line::script(&format!(
                "{verify} provenance.json --cert ../../cert.pem signed.xsplice"
            )))?;

            let mut bytes = fs::read(folder.join("fix.xsplice")).context("the payload")?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(folder.join("changed.xsplice"), bytes).context("a changed payload")?;
            let refused = format!("{verify} provenance.json changed.xsplice");
            let mut refused = vec![refused];
            refused.extend(
                before.map(|other| format!("{verify} ../{other}/provenance.json fix.xsplice")),
            );
            for line in refused {
                let done = there.try_run(&Line::script(&line))?;
                ensure!(done.status != Some(0), "{name}: taken, and should not be");
            }
            before = Some(name);
        }
        Ok(())
    }
}

/// The command that builds Xen in its folder, with debug information, so that hunks are proven.
fn make_xen() -> String {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("LC_ALL=C make -s -C xen -j{jobs} EXTRA_CFLAGS_XEN_CORE=-g")
}

/// The names of all builds.
fn builds() -> impl Iterator<Item = &'static str> {
    let xen = XEN.iter().map(|(name, _)| *name);
    THREE.iter().map(|(name, _)| *name).chain(xen)
}
