#!/usr/bin/env bash
# Installs a package in a root that is made from the archive, and runs the README's first example
# there.
# usage: try-deb.sh FILE.deb FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."

package=$(realpath "$1")
root=$2/bookworm
rm -rf "$root"
mkdir -p "$2"
# The archive that this machine uses, whatever mirror that is.
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | awk 'NR == 1')
mmdebstrap --quiet --variant=minbase --include=man-db bookworm "$root" ${mirror:+"$mirror"}

cp "$package" "$root/tmp/xsplice.deb"
mkdir "$root/tmp/example"
cp -r fixtures/cases/string-only "$root/tmp/example"
chroot "$root" sh -e <<'INSIDE'
dpkg --install /tmp/xsplice.deb
cd /tmp/example
xsplice-build --orig string-only/original --patched string-only/patched --base string-only/base \
    --name version-fix
xsplice-link verify --base string-only/base version-fix.xsplice
for command in xsplice-build xsplice-diff xsplice-link xsplice-ctl; do
    "$command" --version
    test -s /usr/share/man/man1/$command.1.gz || echo "no manual page of $command (minbase leaves them out)"
done
test -s /usr/include/xsplice.h
dpkg --purge xsplice
test ! -e /usr/bin/xsplice-build
INSIDE
echo "installed, tried and removed in $root"
