#!/usr/bin/env bash
# Makes the Debian package of the commands, from what `make build` left in target/release.
# usage: make-deb.sh FOLDER
# Writes FOLDER/xsplice_VERSION_ARCHITECTURE.deb. The same sources and compiler give the same bytes:
# the date is that of the version in CHANGELOG.md.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$1
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# A heading reads: ## 0.1.0 - 2026-11-29
date=$(sed -n "s/^## $version - //p" CHANGELOG.md)
if [ -z "$date" ]; then
    echo "CHANGELOG.md has no heading '## $version - DATE'" >&2
    exit 1
fi
maintainer="The xsplice developers <xsplice@example.com>"
architecture=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=$(date -u -d "$date" +%s)
export SOURCE_DATE_EPOCH

mkdir -p "$out"
root=$(mktemp -d "$(realpath "$out")/root.XXXXXX")
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

make --no-print-directory install-files PREFIX=/usr DESTDIR="$root"
strip --strip-all "$root"/usr/bin/*
find "$root/usr/share/man" -name '*.1' -exec gzip -9n {} +

install -Dm 644 -t "$root/usr/include" runtime/include/xsplice.h
documents=$root/usr/share/doc/xsplice
install -Dm 644 -t "$documents" README.md DESIGN.md
(cd docs && find . -name '*.md' -exec install -Dm 644 {} "$documents/docs/{}" \;)
install -Dm 644 -t "$documents" CHANGELOG.md
gzip -9n > "$documents/changelog.gz" <<CHANGELOG
xsplice ($version) unstable; urgency=medium

  * CHANGELOG.md beside this file says what is new.

 -- $maintainer  $(date -uR -d "$date")
CHANGELOG
cat > "$documents/copyright" <<COPYRIGHT
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: xsplice

Files: *
Copyright: 2026 the xsplice developers
License: Expat or Apache-2.0

License: Expat
$(sed '1,2d; s/^$/./; s/^/ /' LICENSE-MIT)

License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
COPYRIGHT

# dpkg-shlibdeps reads a source package; the one field that it needs is enough.
sources=$(mktemp -d)
mkdir "$sources/debian"
printf 'Source: xsplice\n\nPackage: xsplice\nArchitecture: any\n' > "$sources/debian/control"
libraries=$(cd "$sources" && dpkg-shlibdeps -O "$root"/usr/bin/* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
rm -rf "$sources"

mkdir "$root/DEBIAN"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"
cat > "$root/DEBIAN/control" <<CONTROL
Package: xsplice
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Section: devel
Priority: optional
Depends: $libraries
Recommends: binutils, patch
Installed-Size: $(du -sk --apparent-size "$root/usr" | cut -f1)
Description: make hot patches for hypervisors and kernels
 xsplice takes two builds of a hypervisor or kernel, the one that runs and the
 one with the fix, and writes a payload with the functions that changed: for
 Xen 4.14 to today, and for its own runtime. Each function has a reason that can
 be followed, and the build is proven against the image that runs.
CONTROL
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --build --root-owner-group "$root" "$out/xsplice_${version}_$architecture.deb"
