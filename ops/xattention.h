// XAttention's choice of key blocks (docs/method.md, XAttention): which blocks of keys each block
// of queries of a query head reads, estimated from sums over antidiagonals of every stride x stride
// square of scores.
//
//   A[a, b] = sum over j < stride of q[a stride + stride - 1 - j] . k[b stride + j],  b <= a
//   P[a, :] = softmax over b <= a of A[a, b] softmax_scale / stride
//   Mass[I, J] = sum over groups a in query block I, b in key block J of P[a, b]
//
// A sequence that ends within a group goes on with zeros. Sums, maxima and exponentials are in the
// accumulator type; masses are then rounded to whole units of 2^-32, so that the choice among them
// does not depend on the order in which they are added up, and is the same on every device unless
// two masses, or a sum and the threshold, agree to their last digits.
//
// The first block and the query's own are always chosen. Then (select exact) blocks of the largest
// mass, the lower one of equals, until the chosen ones hold `threshold` of the row's mass. No
// gradient goes through the choice (docs/method.md, XAttention).
#pragma once
#include "core/host_device.h"
#include "core/tensor.h"
#include "ops/attention/block_choice.h"
#include "ops/varlen.h"

namespace elastron::ops {

struct XAttentionRule {
  int64_t stride = 16;  // tokens of a group
  int64_t block = 128;  // tokens of a block, a multiple of stride and of 64
  double threshold = 0.9;
  // As the published code chooses: in the first chunk of a sequence one more block, and the first
  // block by its mass only until all else is done (docs/method.md, First chunk).
  bool reference = false;
};

// Whose blocks are chosen: of every head, or of those of the (sequence, kv head) pairs whose gate
// is open or closed. The bits of others are zeros.
enum class ChoiceFor : uint8_t { all, open, closed };
ELASTRON_HD constexpr bool is_wanted(ChoiceFor whose, bool open) {
  return whose == ChoiceFor::all || open == (whose == ChoiceFor::open);
}

struct BlockChoice {
  Tensor rows, columns;  // [q_heads, words] int32, bits as BlockChoiceView says
  Tensor starts;         // [sequences + 1] int32
  int64_t block = 0;     // 0: nothing was chosen

  bool defined() const { return block != 0; }
  BlockChoiceView view() const;
};

// The choice for a query block depends on it and what is before it alone: a sequence that begins
// behind keys of others (varlen.cu_keys) has the bits of these rows of the whole. Its offset must
// be a multiple of the block, and its end as well unless the whole sequence ends there.
//
// q [tokens, q_heads, head_dim], k [keys, kv_heads, head_dim], both after RoPE; dims 1 and 2
// contiguous. gate [sequences, kv_heads] uint8.
// Working memory is linear in the number of tokens. On a GPU q and k are float32 or bf16, and
// nothing waits for the host.
BlockChoice choose_blocks(const Tensor& q, const Tensor& k, const Varlen& varlen,
                          double softmax_scale, const XAttentionRule& rule, const Tensor& gate,
                          ChoiceFor whose);

}  // namespace elastron::ops
