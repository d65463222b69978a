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
  // Attention only, [S + 1], starts at 0: sequence s attends to the keys [cu_keys[s], cu_keys[s +
  // 1]), at least as many as it has tokens, of which the last are its own: those before them are of
  // a prompt that was computed once for several sequences. Empty: keys and tokens are the same.
  std::span<const int32_t> cu_keys = {};
  // Attention only, [S]: how many positions each sequence has in all, at least as many as keys,
  // where it is a part of one that goes on elsewhere: rules that count from a sequence's end need
  // it. Empty: every sequence ends with its last key.
  std::span<const int32_t> whole_lengths = {};
  // As many of the first sequence of the whole batch, where these are parts of its sequences and
  // the first of them may be of another. Negative: whole_length(0).
  int64_t first_whole_length = -1;

  int64_t sequences() const { return int64_t(cu_seqlens.size()) - 1; }
  int64_t begin(int64_t s) const { return cu_seqlens[size_t(s)]; }
  int64_t length(int64_t s) const { return cu_seqlens[size_t(s) + 1] - cu_seqlens[size_t(s)]; }
  int64_t tokens() const { return cu_seqlens.back(); }  // without padding

  std::span<const int32_t> key_bounds() const { return cu_keys.empty() ? cu_seqlens : cu_keys; }
  int64_t key_begin(int64_t s) const { return key_bounds()[size_t(s)]; }
  int64_t key_length(int64_t s) const {
    return key_bounds()[size_t(s) + 1] - key_bounds()[size_t(s)];
  }
  int64_t keys() const { return key_bounds().back(); }
  // Position of a sequence's first token: how many keys stand before it.
  int64_t offset(int64_t s) const { return key_length(s) - length(s); }
  int64_t whole_length(int64_t s) const {
    return whole_lengths.empty() ? key_length(s) : whole_lengths[size_t(s)];
  }
};

}  // namespace elastron::ops
