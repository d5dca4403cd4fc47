#!/usr/bin/env bash
# The system packages that the project needs, for images, continuous integration and `make setup` alike. Installs what
# is missing on Debian and Ubuntu as root; says what to install anywhere else. Harmless when repeated.
#
#   install.sh [full|bridge] [PACKAGE ...]    full: rendering and video too; bridge: Python alone, for the robot's computer
set -euo pipefail

kind=${1:-full}
wanted=("${@:2}")
case $kind in
full) wanted+=(libegl1 libegl-mesa0 libgl1-mesa-dri ffmpeg) ;; # rendering without a display, video
bridge) ;;
*)
    echo "install.sh: '$kind' is neither full nor bridge" >&2
    exit 2
    ;;
esac

missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
if [ "$kind" = full ]; then
    command -v make >/dev/null || missing+=(make)
fi
"${PYTHON:-python3}" -c "import ensurepip" 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "may be missing on this system: ${missing[*]} (Debian: sudo apt-get install ${missing[*]})" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
