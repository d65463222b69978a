#!/usr/bin/env bash
# gpu_bundle.sh [OUT]: packs the program, the GPU tests and benchmarks, and mpirun, built for sm_90a (or
# ELASTRON_CUDA_ARCHITECTURES) and any x86-64-v3 processor, with the libraries they need (MPI and its parts,
# HDF5, yaml-cpp, glog and theirs) into OUT (default gpu-bundle.tar.xz): for a machine with a GPU and its
# driver but none of our packages. CUDA's own libraries are left out; launch/gpu_check.sh finds them there.
# BUILD_DIR: pack what a build made before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-gpu-bundle.tar.xz}
build=${BUILD_DIR:-build-gpu}

if [ -z "${BUILD_DIR:-}" ]; then
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DELASTRON_NATIVE=OFF \
    -DELASTRON_CUDA=ON \
    "-DELASTRON_CUDA_ARCHITECTURES=${ELASTRON_CUDA_ARCHITECTURES:-90a-real}" >/dev/null
  # Whatever tests there are on a GPU.
  tests=$(ninja -C "$build" -t targets all | sed -n 's|^tests/ops/\([a-z_]*cuda_test\): .*|\1|p')
  # shellcheck disable=SC2086 # names
  cmake --build "$build" -j "$(nproc)" -- elastron elastron_bench_gpu $tests
fi

work=$(mktemp -d)
trap 'rm -rf "$work" "$out.tmp"' EXIT
mkdir -p "$work"/{bin,lib,openmpi,pmix}
cp "$build/elastron" "$build/bench/gpu/elastron_bench_gpu" "$work/bin/"
cp "$build"/tests/ops/*cuda_test "$work/bin/"
cp -L "$(command -v mpirun)" "$work/bin/mpirun"
strip "$work"/bin/*
git rev-parse --short=12 HEAD >"$work/commit"
# Open MPI and PMIx load their parts by themselves; those for other networks bring libraries of their own.
openmpi=$(ompi_info --parsable --path pkglibdir | cut -d: -f3)
cp -L "$openmpi"/*.so "$work/openmpi/"
(cd "$work/openmpi" && rm -f -- *ucx* *ofi* *verbs* *openib* *psm* *usnic* *monitoring* *cuda*)
# Where PMIx is a library of its own, its parts lie beside it.
pmix=$(ldd "$work"/openmpi/*pmix* | awk '$1 ~ /^libpmix/ { print $3; exit }')
if [ -n "$pmix" ]; then
  for folder in "$(dirname "$(readlink -f "$pmix")")/pmix" "$(dirname "$pmix")/pmix"; do
    [ ! -d "$folder" ] || cp -L "$folder"/*.so "$work/pmix/"
  done
fi
# All but the C library (a newer machine has a newer one) and CUDA.
find "$work/bin" "$work/openmpi" "$work/pmix" -type f | while read -r binary; do
  ldd "$binary" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }'
done | sort -u | while read -r name path; do
  case "$name" in
    libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | libresolv.so*) ;;
    libcuda* | libcublas* | libcudnn* | libnccl*) ;;
    *) cp -L "$path" "$work/lib/$name" ;;
  esac
done
XZ_OPT=-T0 tar -C "$work" -cJf "$out.tmp" .
mv "$out.tmp" "$out"
du -h "$out"
