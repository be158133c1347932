#!/bin/sh
# Makes the demonstration film: 64 s of 1080p25 H.264 with stereo AAC. Usage: scripts/demo.sh FILE.mp4
# The pipeline is pipelines/demo.launch; the file appears under its name only when it is whole.
set -eu
film=$1
here=$(dirname "$0")
part=$film.part.$$
trap 'rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$(dirname "$film")"

# gst-launch-1.0 reads words, not files: no value in the template holds a blank, so the shell may split it.
set -f
# shellcheck disable=SC2046
if ! log=$(gst-launch-1.0 --quiet $(grep -v '^#' "$here/../pipelines/demo.launch") ! filesink "location=$part" 2>&1); then
    echo "demo: the film could not be made: $(echo "$log" | grep -m1 -i error || echo "$log" | head -n 1)" >&2
    exit 1
fi
mv "$part" "$film"
