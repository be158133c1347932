#!/bin/sh
# Installs what is missing of the named sections of docker/packages.txt. Says nothing when nothing is missing.
# Usage: scripts/packages.sh SECTION...
set -eu
list=$(dirname "$0")/../docker/packages.txt

wanted=""
for section in "$@"; do
    packages=$(sed -n "s/^$section //p" "$list")
    [ -n "$packages" ] || { echo "packages: $list has no section '$section'" >&2; exit 2; }
    wanted="$wanted $packages"
done

if ! command -v dpkg-query >/dev/null; then
    # Not Debian: the build names what it lacks, the list says what to look for.
    echo "packages: this is not Debian, so nothing is installed; needed are the equivalents of:" $wanted >&2
    exit 0
fi

missing=""
for package in $wanted; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
        installed*) ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

refuse() {
    echo "packages: $1; install these, then try again: apt-get install --no-install-recommends$missing" >&2
    exit 1
}
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || refuse "not root and there is no sudo"
    # Its environment is not ours.
    as_root="sudo env DEBIAN_FRONTEND=noninteractive"
fi
echo "packages: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# A machine fresh from its image has no package index yet, and an old index names files that are gone.
$as_root apt-get update -qq || refuse "apt-get update failed"
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null || refuse "apt-get install failed"
