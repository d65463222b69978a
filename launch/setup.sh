#!/usr/bin/env bash
# Installs the Debian 12 packages that Elastron is built from, unless they are there already.
# Safe to run again; needs root (or sudo) only when something is missing.
set -euo pipefail

packages=(g++ cmake ninja-build ccache pkg-config openmpi-bin libopenmpi-dev libhdf5-openmpi-dev
          libyaml-cpp-dev libgoogle-glog-dev libfmt-dev libcli11-dev nlohmann-json3-dev
          libxxhash-dev libutf8proc-dev libpcre2-dev libdnnl-dev libprotobuf-dev protobuf-compiler
          libgtest-dev libbenchmark-dev)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' \
    || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

echo "installing: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "error: packages are missing (${missing[*]}): install them as root, or install sudo" >&2
    exit 2
  fi
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
