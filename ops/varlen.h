// Sequences laid end to end in one packed batch.
#pragma once
#include <cstdint>
#include <span>

#include "core/tensor.h"

namespace elastron::ops {

struct Varlen {
  // [S + 1] on the host, starts at 0, non-decreasing; sequence s is tokens
  // [cu_seqlens[s], cu_seqlens[s + 1]) of the packed batch. Empty sequences are allowed. Tokens
  // from cu_seqlens[S] on are padding: they take no part in attention and its output there is zero.
  std::span<const int32_t> cu_seqlens;

  int64_t sequences() const { return int64_t(cu_seqlens.size()) - 1; }
  int64_t begin(int64_t s) const { return cu_seqlens[size_t(s)]; }
  int64_t length(int64_t s) const { return cu_seqlens[size_t(s) + 1] - cu_seqlens[size_t(s)]; }
  int64_t tokens() const { return cu_seqlens.back(); }  // without padding
};

}  // namespace elastron::ops
