#!/bin/sh
# Makes the pictures of the report anew, beside this script: `make pictures`.
# They show the report on a few changes of the example kernel.
#
#   refresh.sh COMMANDS WORK
#
# COMMANDS is the folder of xsplice-build; WORK is made anew. KERNEL_LIB may name a kernel that is
# built already, as for fixtures/target/Makefile.
set -eu

commands=$(realpath "$1")
work=$2
images=$(dirname "$(realpath "$0")")
target=$images/../../fixtures/target
changes="new-static static-callee operations traps"

rm -rf "$work"
mkdir -p "$work"
work=$(realpath "$work")
cp -r "$target" "$work/source"
for change in $changes; do
    patch --quiet --directory="$work/source" --strip=1 < "$target/patches/$change.patch"
    cat "$target/patches/$change.patch" >> "$work/tickets-and-traps.patch"
done
make --silent -C "$target" O="$work/original"
make --silent -C "$target" O="$work/patched" SRC="$work/source"

cd "$work"
# The kernel proper is linked from a library that is in neither tree: no account of it.
"$commands/xsplice-build" --orig original --patched patched --base original/xsplice-kernel \
    --no-account --patch tickets-and-traps.patch --html page.html

# picture NAME WIDTH HEIGHT [OPTION]
picture() {
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run \
        --force-device-scale-factor=1 --user-data-dir="$work/profile" ${4:-} \
        --window-size="$2,$3" --screenshot="$images/$1.png" "file://$work/page.html"
}

picture report-light 1280 2170
picture report-dark 1280 2170 --blink-settings=preferredColorScheme=0
picture report-phone 400 1500
