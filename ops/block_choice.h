// The choice of key blocks from the input: which blocks of keys each block of queries reads. One
// interface for every rule; the rules say what is chosen (ops/xattention.h, ops/topk.h). No
// gradient goes through a choice.
//
// A further rule: a struct with the members of XAttentionRule, an alternative of BlockChooser, and
// a chooser in each back end.
#pragma once
#include <variant>

#include "core/host_device.h"
#include "core/tensor.h"
#include "ops/attention/block_bits.h"
#include "ops/topk.h"
#include "ops/varlen.h"
#include "ops/xattention.h"

namespace elastron::ops {

using BlockChooser = std::variant<XAttentionRule, TopkRule>;

// Tokens of a block.
inline int64_t block_of(const BlockChooser& chooser) {
  return std::visit([](const auto& rule) { return rule.block; }, chooser);
}
// Query heads, of `group` that read one kv head, that share a mask.
inline int64_t mask_shared_by(const BlockChooser& chooser, int64_t group) {
  return std::visit([&](const auto& rule) { return rule.shared_by(group); }, chooser);
}
// Tokens at the beginning of a sequence that every query reads.
inline int64_t first_tokens(const BlockChooser& chooser) {
  return std::visit([](const auto& rule) { return rule.first_tokens(); }, chooser);
}
// Causal pairs of the queries [first, past) of a sequence that are chosen; `expected` is the share
// of them where it depends on the input.
inline double chosen_pairs(const BlockChooser& chooser, int64_t first, int64_t past,
                           double expected) {
  return std::visit([&](const auto& rule) { return rule.pairs(first, past, expected); }, chooser);
}
// Products of a query with a key that the choice takes, for each causal pair of attention.
inline double scores_per_pair(const BlockChooser& chooser, int64_t group) {
  return std::visit([&](const auto& rule) { return rule.scores_per_pair(group); }, chooser);
}

// Whose blocks are chosen: of every head, or of those of the (sequence, kv head) pairs whose gate
// is open or closed. The bits of others are zeros.
enum class ChoiceFor : uint8_t { all, open, closed };
ELASTRON_HD constexpr bool is_wanted(ChoiceFor whose, bool open) {
  return whose == ChoiceFor::all || open == (whose == ChoiceFor::open);
}

struct BlockChoice {
  Tensor rows, columns;   // [masks, words] int32, bits as BlockChoiceView says
  Tensor starts;          // [sequences + 1] int32
  int64_t block = 0;      // 0: nothing was chosen
  int64_t shared_by = 1;  // query heads that read one mask
  int64_t first = 0;      // tokens of a sequence that every query reads

  bool defined() const { return block != 0; }
  BlockChoiceView view() const;
};

// The choice for a query block depends on it and what is before it alone: a sequence that begins
// behind keys of others (varlen.cu_keys) has the bits of these rows of the whole. Its offset must
// be a multiple of the block, and its end as well unless the whole sequence ends there.
//
// q [tokens, q_heads, head_dim], k [keys, kv_heads, head_dim], both after RoPE; dims 1 and 2
// contiguous. gate [sequences, kv_heads] uint8. head_dim is at most 256.
// Working memory is linear in the number of tokens. On a GPU q and k are float32 or bf16, and
// nothing waits for the host.
BlockChoice choose_blocks(const Tensor& q, const Tensor& k, const Varlen& varlen,
                          double softmax_scale, const BlockChooser& chooser, const Tensor& gate,
                          ChoiceFor whose);

}  // namespace elastron::ops
