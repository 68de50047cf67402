//! Fetches what the proof needs from the Debian archive, through apt, into the cache.
//!
//! apt gets a configuration, lists and a cache of its own inside the cache folder: the system's
//! sources, lists and packages are neither used nor changed. The signatures are checked with the
//! keyring that every Debian system has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::platform::Platform;
use super::process::{output_of, run_logged, run_quiet};
use super::release::{Release, Source, XEN_4_17};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The programs that builds and boots call on every machine, each with its Debian package.
const PROGRAMS: [&str; 12] = [
    "ld=binutils",
    "make=make",
    "flex=flex",
    "bison=bison",
    "perl=perl",
    "python3=python3",
    "openssl=openssl",
    "patch=patch",
    "tar=tar",
    "xz=xz-utils",
    "dpkg-source=dpkg-dev",
    "apt-get=apt",
];

/// What a root folder for builds of Xen holds beside Debian's smallest system.
const IN_ROOT: &str = "gcc,libc6-dev,make,flex,bison,python3-minimal,perl-base";

/// What has been fetched and unpacked.
#[derive(Debug)]
pub struct Archive {
    /// The unpacked Debian source of Xen, never built in.
    pub source: PathBuf,
    /// The root folder all binary packages were unpacked into.
    pub root: PathBuf,
    /// The dom0 kernel image.
    pub kernel: PathBuf,
    /// The kernel modules dom0 loads.
    pub modules: Vec<PathBuf>,
}

/// Makes sure the programs are there, as the other tests do it.
pub fn ensure_programs(platform: &Platform) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ensure-packages.sh");
    let of_configurations = platform.configurations.iter().flat_map(|one| one.programs);
    let status = Command::new(&script)
        .args(PROGRAMS)
        .args(platform.programs)
        .args(of_configurations)
        .status()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(
        status.success(),
        "programs that the proof calls are missing"
    );
    Ok(())
}

/// apt with a configuration of its own under `cache/apt`.
#[derive(Debug)]
pub struct PrivateApt {
    directory: PathBuf,
    /// Debian's name of the packages' architecture.
    architecture: &'static str,
}

impl PrivateApt {
    /// Writes the configuration; nothing is fetched yet. `cache/log` must be there.
    pub fn set_up(cache: &Path, mirror: Option<&str>, platform: &Platform) -> Result<Self> {
        let directory = cache.join("apt");
        for part in ["state/lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(directory.join(part)).context("cannot make apt's folders")?;
        }
        let mirror = match mirror {
            Some(mirror) => mirror.to_owned(),
            None => system_mirror()?,
        };
        let suite = platform.release.suite;
        let line = |kind: &str| format!("{kind} [signed-by={KEYRING}] {mirror} {suite} main\n");
        fs::write(
            directory.join("sources.list"),
            line("deb") + &line("deb-src"),
        )
        .context("cannot write apt's sources")?;
        // What the system has installed is no reason to take another version of a package.
        fs::write(directory.join("status"), "").context("cannot write apt's status")?;
        Ok(Self {
            directory,
            architecture: platform.debian,
        })
    }

    /// Fetches the lists of packages.
    pub fn update(&self, logs: &Path) -> Result<()> {
        run_logged(
            "apt-get update",
            self.command("apt-get").arg("update"),
            &logs.join("apt-update.log"),
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |part: &str| self.directory.join(part).display().to_string();
        for (key, value) in [
            ("Dir::Etc::sourcelist", place("sources.list")),
            ("Dir::Etc::sourceparts", "-".to_owned()),
            ("Dir::State", place("state")),
            ("Dir::State::lists", place("state/lists")),
            ("Dir::State::status", place("status")),
            ("Dir::Cache", place("cache")),
            ("APT::Architecture", self.architecture.to_owned()),
            ("APT::Architectures", self.architecture.to_owned()),
            // Downloads land in the cache folder, which apt's own user may not be able to reach.
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
        ] {
            command.arg("-o").arg(format!("{key}={value}"));
        }
        command
    }
}

/// Where this system gets its own Debian packages: the mirror its administrator chose, which has
/// other releases too.
fn system_mirror() -> Result<String> {
    let listed = run_quiet(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
    ]))?;
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        if let (Some(mirror), Some(release), Some("main")) =
            (words.next(), words.next(), words.next())
            && release == XEN_4_17.suite
        {
            return Ok(mirror.to_owned());
        }
    }
    bail!(
        "this system's apt knows no archive of {}; name one with --mirror URI",
        XEN_4_17.suite
    )
}

/// Fetches and unpacks everything, or finds it in the cache.
pub fn fetch(cache: &Path, mirror: Option<&str>, platform: &Platform) -> Result<Archive> {
    let stamp = cache.join("archive.complete");
    let root = cache.join("root");
    let source = cache.join("source");
    let release = platform.release;
    if fs::read_to_string(&stamp).is_ok_and(|version| version == release.version) {
        println!("== packages and source: in the cache");
    } else {
        println!("== packages and source: fetching through apt");
        for stale in [&root, &source] {
            remove(stale)?;
        }
        let apt = PrivateApt::set_up(cache, mirror, platform)?;
        apt.update(&cache.join("log"))?;
        match release.source {
            Source::Package => {
                fetch_source(&apt, cache, "xen", Some(release.version), &source)?;
            }
            Source::Original => fetch_original(&apt, cache, release, &source)?,
        }
        fetch_packages(&apt, cache, &root, platform)?;
        fs::write(&stamp, release.version).context("cannot stamp the archive")?;
    }
    let kernel = only_entry(&root.join("boot"), "vmlinuz-")?;
    let modules = platform
        .modules
        .iter()
        .map(|name| find_file(&root.join("lib/modules"), name))
        .collect::<Result<_>>()?;
    Ok(Archive {
        source,
        root,
        kernel,
        modules,
    })
}

/// Fetches the source of `package` (this `version`, or the one that the release carries), unpacks
/// it to `source` and tells its version.
pub fn fetch_source(
    apt: &PrivateApt,
    cache: &Path,
    package: &str,
    version: Option<&str>,
    source: &Path,
) -> Result<String> {
    let folder = cache.join("debs/source").join(package);
    remove(&folder)?;
    fs::create_dir_all(&folder).context("cannot make the source's folder")?;
    let wanted = match version {
        Some(version) => format!("{package}={version}"),
        None => package.to_owned(),
    };
    run_logged(
        &format!("apt-get source {package}"),
        apt.command("apt-get")
            .args(["source", "--download-only", "--only-source"])
            .arg(wanted)
            .current_dir(&folder),
        &cache.join("log").join(format!("apt-source-{package}.log")),
    )?;
    let description = fs::read_dir(&folder)
        .context("cannot list the source's folder")?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|end| end == "dsc"))
        .with_context(|| format!("apt fetched no description of {package}"))?;
    // apt has checked the signature already; the maintainers' keys are not on every system.
    run_logged(
        "dpkg-source",
        Command::new("dpkg-source")
            .args(["--no-check", "-x"])
            .arg(&description)
            .arg(source),
        &cache.join("log").join(format!("dpkg-source-{package}.log")),
    )?;
    let name = description
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    // The name of a description is PACKAGE_VERSION, without the version's epoch.
    let (_, version) = name
        .split_once('_')
        .with_context(|| format!("{}: names no version", description.display()))?;
    Ok(version.to_owned())
}

/// Fetches the archive of a release's own source and unpacks it to `source`.
fn fetch_original(apt: &PrivateApt, cache: &Path, release: &Release, source: &Path) -> Result<()> {
    let folder = cache.join("debs/source/original");
    remove(&folder)?;
    for needed in [&folder, source] {
        fs::create_dir_all(needed).context("cannot make the source's folder")?;
    }
    run_logged(
        "apt-get source xen",
        apt.command("apt-get")
            .args(["source", "--download-only", "--only-source", "--tar-only"])
            .arg(format!("xen={}", release.version))
            .current_dir(&folder),
        &cache.join("log/apt-source-xen.log"),
    )?;
    let archive = only_entry(&folder, "xen_")?;
    run_quiet(
        Command::new("tar")
            .args(["--strip-components=1", "-xf"])
            .arg(&archive)
            .arg("-C")
            .arg(source),
    )?;
    Ok(())
}

fn fetch_packages(apt: &PrivateApt, cache: &Path, root: &Path, platform: &Platform) -> Result<()> {
    let folder = cache.join("debs/binary");
    remove(&folder)?;
    fs::create_dir_all(&folder).context("cannot make the packages' folder")?;
    fs::create_dir_all(root).context("cannot make the packages' root")?;
    let metapackage = platform.kernel;
    let depends = run_quiet(apt.command("apt-cache").args(["depends", metapackage]))?;
    let kernel = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("{metapackage} depends on no kernel"))?
        .to_owned();
    run_logged(
        "apt-get download",
        apt.command("apt-get")
            .arg("download")
            .args(platform.release.packages)
            .args(platform.has_own_libc.then_some("libc6"))
            .arg(&kernel)
            .current_dir(&folder),
        &cache.join("log/apt-download.log"),
    )?;
    for entry in fs::read_dir(&folder).context("cannot list the packages")? {
        let package = entry.context("cannot list the packages")?.path();
        let name = package
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(&kernel) {
            unpack_kernel(&package, root, platform)?;
        } else if name.ends_with(".deb") {
            run_quiet(Command::new("dpkg-deb").arg("-x").arg(&package).arg(root))?;
        }
    }
    Ok(())
}

/// Of the kernel's 400 MB only the image and a module or two are wanted.
fn unpack_kernel(package: &Path, root: &Path, platform: &Platform) -> Result<()> {
    let script = r#"package=$0 root=$1; shift
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --wildcards './boot/vmlinuz-*' "$@""#;
    let modules = platform.modules.iter().map(|name| format!("*/{name}"));
    let output = output_of(
        Command::new("sh")
            .args(["-c", script])
            .arg(package)
            .arg(root)
            .args(modules),
    )?;
    ensure!(
        output.status.success(),
        "{}: cannot unpack the kernel: {}",
        package.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A root folder with the compiler of the Debian release `suite`, made from the archive or found in
/// the cache. Only root may make one, and build in it.
pub fn build_root(cache: &Path, mirror: Option<&str>, suite: &str) -> Result<PathBuf> {
    let root = cache.join(format!("root-{suite}"));
    let stamp = root.join(".complete");
    if stamp.is_file() {
        return Ok(root);
    }
    println!("== the compiler of {suite}: fetching through debootstrap");
    remove(&root)?;
    let mirror = match mirror {
        Some(mirror) => mirror.to_owned(),
        None => system_mirror()?,
    };
    run_logged(
        &format!("debootstrap {suite}"),
        Command::new("debootstrap")
            .args([
                "--variant=minbase",
                "--include",
                IN_ROOT,
                "--keyring",
                KEYRING,
            ])
            .arg(suite)
            .arg(&root)
            .arg(mirror),
        &cache.join("log").join(format!("debootstrap-{suite}.log")),
    )?;
    fs::write(&stamp, suite).context("cannot stamp the root")?;
    Ok(root)
}

/// Removes a folder if it is there.
pub fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn only_entry(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect();
    ensure!(
        found.len() == 1,
        "{}: {} files {prefix}*, one expected",
        folder.display(),
        found.len()
    );
    Ok(found.remove(0))
}

/// The file called `name` somewhere below `folder`.
pub fn find_file(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.context("cannot list a folder")?;
            let kind = entry.file_type().context("cannot tell a file's kind")?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() == name {
                return Ok(entry.path());
            }
        }
    }
    bail!("{}: no {name} below it", folder.display())
}
