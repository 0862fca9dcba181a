#!/bin/sh
# Installs Threefold from the folder that this file lies in, for the user who runs it. It needs neither
# cargo nor a network, and checks every file against SHA256SUMS before anything is changed.
#
#   ./install.sh               install; a second time it changes nothing
#   ./install.sh --dry-run     show what would change
#   ./install.sh --timer       also save every ten minutes, even if the hooks stop running
#   ./install.sh --help        all options
#   ./install.sh --uninstall   remove it; saved conversations stay
#
# `./setup doctor` tells whether it works.
set -eu

refuse() {
    printf 'install.sh: %s; nothing was changed\n' "$1" >&2
    exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
sums=$here/SHA256SUMS

if command -v sha256sum >/dev/null 2>&1; then
    sha256() { sha256sum; }
elif command -v shasum >/dev/null 2>&1; then
    sha256() { shasum -a 256; }
else
    refuse 'neither sha256sum nor shasum is there to check the files with'
fi

[ -s "$sums" ] || refuse 'SHA256SUMS is missing; unpack the archive again'
while read -r wanted name; do
    [ -f "$here/$name" ] || refuse "$name is missing; unpack the archive again"
    found=$(sha256 <"$here/$name") || refuse "$name cannot be read"
    [ "${found%% *}" = "$wanted" ] || refuse "$name is damaged: it is not what SHA256SUMS says; unpack the archive again"
done <"$sums"
# A list that was cut short would check less than is run.
for file in "$here/setup" "$here"/bin/*; do
    name=${file#"$here/"}
    grep -q "  $name\$" "$sums" || refuse "$name is not in SHA256SUMS; unpack the archive again"
done
"$here/setup" --version >/dev/null 2>&1 ||
    refuse "setup does not run on this machine ($(uname -sm)): take the archive that is made for it"

case ${1-} in
--uninstall)
    shift
    exec "$here/setup" uninstall "$@"
    ;;
*)
    exec "$here/setup" install "$@"
    ;;
esac
