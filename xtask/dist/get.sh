#!/bin/sh
# Fetches the archive of Threefold that is made for this machine, checks it against its checksum, and installs it.
#
#   curl -fsSL URL/get.sh | sh                       install
#   curl -fsSL URL/get.sh | sh -s -- --dry-run       show what would change; all options of install.sh work
#
# THREEFOLD_URL names another place that holds the archives, THREEFOLD_VERSION another version.
set -eu

# All of it is read before any of it is run: half a download does nothing.
main() {
    # The release fills these two in.
    url=${THREEFOLD_URL:-@URL@}
    version=${THREEFOLD_VERSION:-@VERSION@}

    case "$(uname -s)" in
    Linux) system=unknown-linux-gnu ;;
    Darwin) system=apple-darwin ;;
    *) refuse "there is no archive for $(uname -s): Threefold runs on Linux and macOS" ;;
    esac
    case "$(uname -m)" in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) refuse "there is no archive for $(uname -m): build it from its source" ;;
    esac
    name=threefold-$version-$machine-$system

    if command -v sha256sum >/dev/null 2>&1; then
        sums='sha256sum'
    elif command -v shasum >/dev/null 2>&1; then
        sums='shasum -a 256'
    else
        refuse 'neither sha256sum nor shasum is there to check the archive with'
    fi
    if command -v curl >/dev/null 2>&1; then
        fetch() { curl -fsSL -o "$2" "$1"; }
    elif command -v wget >/dev/null 2>&1; then
        fetch() { wget -q -O "$2" "$1"; }
    else
        refuse 'neither curl nor wget is there to fetch the archive with'
    fi

    folder=$(mktemp -d) || refuse 'no temporary folder can be made'
    trap 'rm -rf "$folder"' EXIT
    for file in "$name.tar.gz" "$name.tar.gz.sha256"; do
        fetch "$url/$file" "$folder/$file" || refuse "$url/$file cannot be fetched"
    done
    (cd "$folder" && $sums -c "$name.tar.gz.sha256" >/dev/null 2>&1) ||
        refuse "$name.tar.gz is not what its checksum says; try again"
    tar -xzf "$folder/$name.tar.gz" -C "$folder" || refuse "$name.tar.gz cannot be unpacked"
    "$folder/$name/install.sh" "$@"
}

refuse() {
    printf 'get.sh: %s; nothing was changed\n' "$1" >&2
    exit 1
}

main "$@"
