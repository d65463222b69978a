#!/usr/bin/env bash
# Installs the Debian 12 packages that Elastron is built from, unless they are there already; where
# there is the CUDA toolkit also the headers of cuDNN's frontend, into .deps/ of this folder.
# Safe to run again; needs root (or sudo) only when something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
frontend=nvidia-cudnn-frontend==1.32.0

packages=(g++ cmake ninja-build ccache pkg-config openmpi-bin libopenmpi-dev libhdf5-openmpi-dev
          libyaml-cpp-dev libgoogle-glog-dev libfmt-dev libcli11-dev nlohmann-json3-dev
          libxxhash-dev libutf8proc-dev libpcre2-dev libdnnl-dev libprotobuf-dev protobuf-compiler
          libgtest-dev libbenchmark-dev iproute2)
has_cuda=false
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  has_cuda=true
  packages+=(python3-pip)
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' \
    || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
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
fi

# Headers only; the Python package is where they come from. Without them the build has no cuDNN.
if $has_cuda && [ "$(cat .deps/cudnn-frontend/version 2>/dev/null)" != "$frontend" ]; then
  echo "fetching: $frontend"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  if python3 -m pip download -q --disable-pip-version-check --no-deps -d "$folder" "$frontend" \
      && python3 -m zipfile -e "$folder"/*.whl "$folder/unpacked"; then
    rm -rf .deps/cudnn-frontend
    mkdir -p .deps/cudnn-frontend
    mv "$folder/unpacked/include" .deps/cudnn-frontend/include
    echo "$frontend" >.deps/cudnn-frontend/version
  else
    echo "warning: $frontend could not be fetched: full attention will not use cuDNN" >&2
  fi
fi
