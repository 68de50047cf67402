#!/usr/bin/env bash
# Makes sure that the programs the build and the tests call are there.
# usage: ensure-packages.sh PROGRAM=PACKAGE...   (an absolute path stands for a file that is no program)
# Installs what is missing when it may (root, apt); otherwise names the packages and fails.
set -euo pipefail

missing=()
for pair in "$@"; do
    wanted=${pair%%=*}
    [[ $wanted == /* && -e $wanted ]] || command -v "$wanted" >/dev/null || missing+=("${pair#*=}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing: ${missing[*]}"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    if { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    tail -20 "$log" >&2
    rm -f "$log"
fi
echo "please install: ${missing[*]}   (Debian: apt-get install ${missing[*]})" >&2
exit 1
