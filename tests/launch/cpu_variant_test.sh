#!/bin/sh
# cpu_variant_test.sh PROGRAM NATIVE: which kernels the program says it takes, under the words that oneDNN knows. NATIVE
# is ON of a build for one machine, which has one kind of them.
set -eu
program=$1 native=$2
fail() { echo "FAILED: $1" >&2; exit 1; }
taken() { ONEDNN_MAX_CPU_ISA=$1 "$program" --version | sed -n 's/^CPU kernels: //p'; }
if [ "$native" = ON ]; then
  for most in AVX2 ALL; do [ "$(taken $most)" = native ] || fail "$most: $(taken $most)"; done
  exit 0
fi
best=avx2
has() { grep -qw "$1" /proc/cpuinfo; }
if has avx512f && has avx512bw && has avx512cd && has avx512dq && has avx512vl; then
  best=avx512
  if has avx512_bf16; then best=avx512_bf16; fi
fi
[ "$(taken ALL)" = $best ] || fail "ALL: $(taken ALL), not $best"
[ "$(taken DEFAULT)" = $best ] || fail "DEFAULT: $(taken DEFAULT), not $best"
[ "$(taken AVX512_CORE_AMX)" = $best ] || fail "AVX512_CORE_AMX: $(taken AVX512_CORE_AMX), not $best"
[ "$(taken AVX2)" = avx2 ] || fail "AVX2: $(taken AVX2)"
case $best in
  avx2) most=avx2 ;;
  *) most=avx512 ;;
esac
[ "$(taken AVX512_CORE)" = $most ] || fail "AVX512_CORE: $(taken AVX512_CORE), not $most"
