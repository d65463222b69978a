#!/usr/bin/env bash
# Installs the Debian 12 packages that Elastron is built from, unless they are there already; where
# there is the CUDA toolkit also the headers of cuDNN's frontend, into .deps/ of this folder.
# Safe to run again; needs root (or sudo) only when something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/no_arguments.sh
no_arguments launch/setup.sh "installs the Debian 12 packages that Elastron is built from, unless they are
there already; needs root (or sudo) only when something is missing" "$@"
frontend=nvidia-cudnn-frontend==1.32.0

packages=(g++ cmake ninja-build ccache pkg-config openmpi-bin libopenmpi-dev libhdf5-openmpi-dev
          libyaml-cpp-dev libgoogle-glog-dev libfmt-dev libcli11-dev nlohmann-json3-dev
          libxxhash-dev librandom123-dev libutf8proc-dev libpcre2-dev libcpp-httplib-dev libdnnl-dev libprotobuf-dev protobuf-compiler
          libgtest-dev libbenchmark-dev iproute2 procps python3)
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
  if ! command -v apt-get >/dev/null; then
    echo "error: packages are missing (${missing[*]}): install what stands for them on this system;" \
      "Debian 12 has all of them" >&2
    exit 2
  fi
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "error: packages are missing (${missing[*]}): run launch/setup.sh as root once, or" \
        "install sudo" >&2
      exit 2
    fi
    as_root=(sudo)
  fi
  echo "installing: ${missing[*]}"
  # apt's own words are shown where it fails. sudo hands no variables on; another apt may be at work.
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
      apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1
  }
  # Lists of which a part could not be fetched may do.
  apt update || true
  if ! apt install -y --no-install-recommends "${missing[@]}"; then
    cat "$log" >&2
    echo "error: packages could not be installed (apt-get): see above; the network or the sources of" \
      "packages may be the cause" >&2
    exit 2
  fi
fi

# Headers only; the Python package is where they come from. Without them the build has no cuDNN.
if $has_cuda && [ "$(cat .deps/cudnn-frontend/version 2>/dev/null)" != "$frontend" ]; then
  echo "fetching: $frontend"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder" "${log:-}"' EXIT
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
