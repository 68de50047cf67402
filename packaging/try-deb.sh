#!/usr/bin/env bash
# Installs a package in a root that is made from the archive, and does there what its README says.
# usage: try-deb.sh FILE.deb FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."

package=$(realpath "$1")
root=$2/bookworm
rm -rf "$root"
mkdir -p "$2"
# The archive that this machine uses, whatever mirror that is.
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | awk 'NR == 1')
mmdebstrap --quiet --variant=minbase --include=man-db,gcc,libc6-dev,make,patch bookworm "$root" ${mirror:+"$mirror"}

cp "$package" "$root/tmp/xsplice.deb"
mkdir "$root/tmp/cases"
cp -r fixtures/cases/string-only "$root/tmp/cases"
cp packaging/try-readme.sh "$root/tmp"
chroot "$root" sh -e <<'INSIDE'
dpkg --install /tmp/xsplice.deb
/tmp/try-readme.sh - /tmp/readme /usr/share/doc/xsplice/README.md /tmp/cases
for command in xsplice-build xsplice-store xsplice-diff xsplice-link xsplice-ctl; do
    "$command" --version
    test -s /usr/share/man/man1/$command.1.gz || echo "no manual page of $command (minbase leaves them out)"
done
test -s /usr/include/xsplice.h
dpkg --purge xsplice
test ! -e /usr/bin/xsplice-build
INSIDE
echo "installed, tried and removed in $root"
