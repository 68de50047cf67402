#!/usr/bin/env bash
# Makes a hotpatch from a source patch, with everything that a reviewer and a machine need beside it.
#
#   make-hotpatch.sh --source DIR --patch FIX.patch --orig DIR --base ELF --build COMMAND --out DIR
#       [OPTION]... [-- OPTION-OF-XSPLICE-BUILD...]
#
#   --source DIR     the source that the running build was made from; it is copied, not changed
#   --patch FILE     the fix, applied with `patch -p1` and without fuzz; the payload has its name
#   --orig DIR       the object tree that was kept when the running build was shipped
#   --base ELF       the linked image that runs, with its symbols
#   --build COMMAND  builds the patched source: run by bash, with SOURCE (the patched copy) and OUTPUT
#                    (an empty folder for the objects) in its environment
#   --work DIR       where these two folders are made, as DIR/source and DIR/objects; DIR must not
#                    exist. Builds that put their folder into the objects need it to be the one that
#                    ORIG was built in [default: a temporary folder]
#   --out DIR        where the results go; it must not hold results yet
#   --abi ABI        the payload's ABI [default: xsplice]; livepatch for Xen
#   --depends FILE   the payload that is applied already, to stack on; repeat, the lowest first
#   --key PEM        signs the payload, together with --cert
#   --cert PEM       the certificate of the key
#
# What it leaves in OUT:
#   NAME.xsplice     the payload (NAME.livepatch for Xen); signed where a key was given
#   NAME.sig         its signature alone
#   report.json      the report for pipelines, schema 2
#   report.html      the report to be read and signed off
#   report.txt       what was said on the way, with every reason down to the instructions
#   inspect.txt      what is in the payload
#   verify.json      what the loader will say, check by check
#   SHA256SUMS       of all of these
#
# Exit status: that of xsplice-build. 0 a payload was made and verified; 1 could not run; 2 refused,
# and the reports say why; 3 no functional change. Reports are left in all cases but 1.
set -euo pipefail

die() {
    echo "make-hotpatch: $*" >&2
    exit 1
}

source='' patch='' orig='' build='' work='' out='' base='' abi=xsplice key='' cert='' below=()
while [ $# -gt 0 ]; do
    case $1 in
    --) shift && break ;;
    --source | --patch | --orig | --build | --work | --out | --base | --abi | --key | --cert)
        [ $# -gt 1 ] || die "$1: a value is missing"
        declare "${1#--}=$2"
        shift 2
        ;;
    --depends)
        [ $# -gt 1 ] || die "$1: a value is missing"
        below+=("$(realpath -- "$2")")
        shift 2
        ;;
    *) die "$1: not known; options of xsplice-build go behind --" ;;
    esac
done
for command in xsplice-build xsplice-link patch sha256sum; do
    command -v "$command" > /dev/null || die "$command: not found; is it installed, and in PATH?"
done
for needed in source patch orig base build out; do
    [ -n "${!needed}" ] || die "--$needed is missing"
done
[ -z "${key:+x}${cert:+x}" ] || [ "${key:+x}${cert:+x}" = xx ] || die "--key and --cert belong together"
[ ! -e "$out/report.json" ] || die "$out: holds results already"

mkdir -p -- "$out"
out=$(realpath -- "$out")
patch=$(realpath -- "$patch")
orig=$(realpath -- "$orig")
name=$(basename -- "$patch")
name=${name%.*}
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
if [ -n "$work" ]; then
    mkdir -- "$work" || die "$work: must not exist yet, for what is left there would be compared"
    work=$(realpath -- "$work")
    trap 'rm -rf -- "$scratch" "$work"' EXIT
else
    work=$scratch
fi

echo "== $name: the patched source"
cp -a -- "$source" "$work/source"
# An edit that does not fit exactly is another edit than the one that was reviewed.
patch --directory "$work/source" --strip 1 --fuzz 0 --no-backup-if-mismatch --input "$patch" ||
    die "$patch: does not apply to $source"

echo "== $name: its build"
mkdir "$work/objects"
SOURCE=$work/source OUTPUT=$work/objects bash -euo pipefail -c "$build" ||
    die "the build of the patched source failed"

echo "== $name: the payload"
case $abi in
livepatch) payload=$out/$name.livepatch ;;
*) payload=$out/$name.xsplice ;;
esac
options=(--orig "$orig" --patched "$work/objects" --base "$base" --patch "$patch" --name "$name"
    --abi "$abi" --output "$payload" --json "$out/report.json" --html "$out/report.html" --explain)
[ ${#below[@]} -eq 0 ] || options+=(--depends "${below[-1]}")
status=0
xsplice-build "${options[@]}" "$@" 2>&1 | tee "$out/report.txt" || status=${PIPESTATUS[0]}

if [ "$status" -eq 0 ]; then
    check=(verify --base "$base" --json "$out/verify.json")
    for payload_below in "${below[@]}"; do
        check+=(--stack "$payload_below")
    done
    if [ -n "$key" ]; then
        echo "== $name: its signature"
        bytes=$(stat -c %s "$payload")
        xsplice-link sign --key "$key" --cert "$cert" --output "$scratch/signed" "$payload"
        mv -- "$scratch/signed" "$payload"
        # The signature is what stands behind the payload.
        tail -c "+$((bytes + 1))" "$payload" >"$out/$name.sig"
        check+=(--cert "$cert")
    fi
    xsplice-link inspect "$payload" >"$out/inspect.txt"
    xsplice-link "${check[@]}" "$payload" || die "$payload: does not pass verify; see verify.json"
    echo "== $name: $payload"
fi
if [ "$status" -ne 1 ]; then
    (cd "$out" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)
fi
exit "$status"
