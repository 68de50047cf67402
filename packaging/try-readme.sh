#!/bin/sh
# Does what README.md says, as somebody does who has the commands and nothing else of xsplice.
# usage: try-readme.sh COMMANDS FOLDER [README CASES]
#   COMMANDS   the folder with the commands, or - for those that are in the path
#   FOLDER     where it is done; what is there goes
#   README     the text [default: that of this repository]
#   CASES      the folder that the first example is in [default: fixtures/cases]
# Needs gcc, binutils, make and patch.
set -eu
here=$(dirname "$0")/..
readme=$(realpath "${3:-$here/README.md}")
cases=$(realpath "${4:-$here/fixtures/cases}")
if [ "$1" != - ]; then
    PATH=$(realpath "$1"):$PATH
    export PATH
fi
rm -rf "$2"
mkdir -p "$2/fixtures/cases" "$2/target" "$2/own"
cd "$2"
cp -r "$cases/string-only" fixtures/cases

echo "== the first example"
sed -n 's/^\$ //p' "$readme" > example.sh
test -s example.sh
sh -ex example.sh | tee example.txt
grep -q 'passes verify' example.txt
# What the command tells to do next.
sed -n 's/^read it:  //p; s/^check it: //p' example.txt > next.sh
test "$(wc -l < next.sh)" -eq 2
sh -ex next.sh

echo "== your own"
cd own
cat > f.c <<'SOURCE'
int g(int x);
int f(int x) { return g(x) + 1; }
SOURCE
echo 'int g(int x) { return x * 7; }' > g.c
cat > Makefile <<'MAKEFILE'
CFLAGS := -O2 -g -ffunction-sections -fdata-sections -ffreestanding -fno-pie -mcmodel=kernel -fcf-protection=none
build/image: build/f.o build/g.o
	ld -static -nostdlib --build-id=sha1 -e f -Ttext-segment=0xffffffff80000000 -o $@ $^
build/%.o: %.c
	mkdir -p build
	gcc $(CFLAGS) -c -o $@ $<
MAKEFILE
cat > fix.patch <<'PATCH'
--- a/f.c
+++ b/f.c
@@ -1,2 +1,2 @@
 int g(int x);
-int f(int x) { return g(x) + 1; }
+int f(int x) { return g(x) + 2; }
PATCH
# The first block of shell that keeps what is shipped, as it stands there; the next is for Xen.
awk '/^```sh$/ { block = ""; is_code = 1; next }
     /^```$/ { if (is_code && block ~ /cp -a build shipped/) { printf "%s", block; exit } is_code = 0 }
     is_code { block = block $0 "\n" }' "$readme" > own.sh
test -s own.sh
sh -ex own.sh
xsplice-link verify --base shipped/image fix.xsplice
echo "== done"
