#include "ops/cuda/attention/library_attention.h"

#include "core/tensor.h"
#include "ops/cuda/attention/full_attention.h"
#include "ops/cuda/attention/full_attention_kernels.h"
#include "ops/cuda/attention/library_memory.h"
#include "ops/cuda/attention/library_sequences.h"

namespace elastron::ops::cuda {

namespace {

constexpr int64_t kItem = int64_t(sizeof(bf16));

constexpr auto kReadTokens = PackedRows::read_tokens, kReadKeys = PackedRows::read_keys,
               kWrittenTokens = PackedRows::written_tokens, kWrittenKeys = PackedRows::written_keys;

const void* at(const void* data, int64_t elements) {
  return static_cast<const char*>(data) + elements * kItem;
}

// `rows` of one kv head's numbers [.., width] to or from their place between those of others: what
// the library reads and writes in place is at addresses of 16 bytes, and its float32 sums have the
// strides of its results.
void put_back(Device& device, const Tensor& own, int64_t rows, void* all, int64_t head,
              int64_t heads) {
  const size_t row = own.bytes() / size_t(own.size(0));
  device.copy_rows(static_cast<char*>(all) + size_t(head) * row, row * size_t(heads), own.raw(),
                   row, row, size_t(rows));
}
void take_out(Device& device, const void* all, int64_t head, int64_t heads, const Tensor& own,
              int64_t rows) {
  const size_t row = own.bytes() / size_t(own.size(0));
  device.copy_rows(own.raw(), row, static_cast<const char*>(all) + size_t(head) * row,
                   row * size_t(heads), row, size_t(rows));
}

// Of the pairs of each kv head.
class PairLengths {
 public:
  PairLengths(const AttentionArgs& args, const LibrarySequences& sequences, const Tensor& lengths,
              Stream stream)
      : lengths_(static_cast<const int32_t*>(lengths.raw())),
        sequences_(sequences.count()),
        kv_heads_(args.shape.kv_heads),
        keys_at_((lengths.size(0) - 1) * kv_heads_ * sequences_) {
    pair_lengths(args.gate, sequences.numbers(), sequences.lengths(), sequences_, kv_heads_,
                 lengths.size(0), static_cast<int32_t*>(lengths.raw()), stream);
  }
  const int32_t* tokens(int64_t head) const { return lengths_ + head * sequences_; }
  const int32_t* keys(int64_t head) const { return tokens(head) + keys_at_; }

 private:
  const int32_t* lengths_;
  int64_t sequences_, kv_heads_, keys_at_;
};

// Both outputs of all pairs.
void both_branches(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                   const LibrarySequences& sequences, const FullAttentionShape& shape,
                   FullAttentionPlan* plan, Device& device, Stream stream) {
  {
    const Tensor workspace = library_workspace(plan->workspace_bytes(), device);
    plan->run({.lengths = sequences.lengths(),
               .key_lengths = sequences.key_lengths(),
               .q = sequences.packed(kReadTokens, args.q.data, shape.q_stride),
               .k = sequences.packed(kReadKeys, args.k.data, shape.k_stride),
               .v = sequences.packed(kReadKeys, args.v.data, shape.v_stride),
               .out = sequences.packed(kWrittenTokens, args.selected, shape.out_stride),
               .lse = sequences.packed(kWrittenTokens, args.lse, shape.lse_stride)},
              workspace.raw(), stream);
  }
  AttentionForwardArgs sparse = args;
  sparse.gate = nullptr;
  sparse.selected = args.other;
  sparse.other = nullptr;
  sparse.lse = args.lse_other;
  sparse.lse_other = nullptr;
  routed_attention_forward<bf16>(sparse, tiles, Pairs::all, device, stream);
  swap_closed_pairs(args.gate, tiles.cu_seqlens, args.varlen.sequences(), args.varlen.tokens(),
                    args.shape.q_heads, args.shape.kv_heads, args.shape.head_dim,
                    static_cast<bf16*>(args.selected), static_cast<bf16*>(args.other),
                    static_cast<float*>(args.lse), static_cast<float*>(args.lse_other), stream);
}

}  // namespace

bool library_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                               int64_t rows, Device& device, Stream stream) {
  const int64_t group = args.shape.group(), dim = args.shape.head_dim;
  const bool both = args.other != nullptr;
  if (args.varlen.tokens() == 0) return false;
  const FullAttentionShape shape =
      library_shape(args, library_batch(args.varlen), both ? args.shape.kv_heads : 1);
  FullAttentionPlan* plan = full_attention_plan(device, shape);
  if (plan == nullptr) return false;
  const LibrarySequences sequences(args.varlen, forward_tensors(args), rows, args.varlen.keys(),
                                   device);
  if (both) {
    both_branches(args, tiles, sequences, shape, plan, device, stream);
    return true;
  }
  {
    const LibraryMemory memory =
        library_memory(args, sequences.batch(), rows, plan->workspace_bytes(), device);
    const PairLengths lengths(args, sequences, memory.lengths, stream);
    for (int64_t h = 0; h < args.shape.kv_heads; ++h) {
      const void *q = at(args.q.data, h * group * dim), *k = at(args.k.data, h * dim),
                 *v = at(args.v.data, h * dim), *out = at(args.selected, h * group * dim);
      plan->run({.lengths = lengths.tokens(h),
                 .key_lengths = lengths.keys(h),
                 .q = sequences.packed(kReadTokens, q, shape.q_stride),
                 .k = sequences.packed(kReadKeys, k, shape.k_stride),
                 .v = sequences.packed(kReadKeys, v, shape.v_stride),
                 .out = sequences.packed(kWrittenTokens, out, shape.out_stride),
                 .lse = sequences.packed(kWrittenTokens, memory.lse.raw(), group)},
                memory.workspace.raw(), stream);
      put_back(device, memory.lse, args.varlen.tokens(), args.lse, h, args.shape.kv_heads);
    }
  }
  routed_attention_forward<bf16>(args, tiles, Pairs::closed, device, stream);
  return true;
}

bool library_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                                 Device& device, Stream stream) {
  const int64_t group = args.shape.group(), dim = args.shape.head_dim;
  const int64_t kv_heads = args.shape.kv_heads;
  const int64_t tokens = args.varlen.tokens(), keys = args.varlen.keys();
  if (tokens == 0) return false;
  const FullAttentionShape shape = library_gradient_shape(args, library_batch(args.varlen));
  FullAttentionPlan* plan = full_attention_plan(device, shape);
  if (plan == nullptr) return false;
  const LibrarySequences sequences(args.varlen, gradient_tensors(args), tokens, keys, device);
  {
    const LibraryMemory memory =
        library_gradient_memory(args, sequences.batch(), plan->workspace_bytes(), device);
    const PairLengths lengths(args, sequences, memory.lengths, stream);
    for (int64_t h = 0; h < kv_heads; ++h) {
      take_out(device, args.lse, h, kv_heads, memory.lse, tokens);
      const void *q = at(args.q.data, h * group * dim), *k = at(args.k.data, h * dim),
                 *v = at(args.v.data, h * dim), *out = at(args.selected, h * group * dim),
                 *d_out = at(args.d_out.data, h * group * dim);
      plan->run({.lengths = lengths.tokens(h),
                 .key_lengths = lengths.keys(h),
                 .q = sequences.packed(kReadTokens, q, shape.q_stride),
                 .k = sequences.packed(kReadKeys, k, shape.k_stride),
                 .v = sequences.packed(kReadKeys, v, shape.v_stride),
                 .out = sequences.packed(kReadTokens, out, shape.out_stride),
                 .lse = sequences.packed(kReadTokens, memory.lse.raw(), group),
                 .d_out = sequences.packed(kReadTokens, d_out, shape.d_out_stride),
                 .dq = sequences.packed(kWrittenTokens, memory.dq.raw(), group * dim),
                 .dk = sequences.packed(kWrittenKeys, memory.dk.raw(), dim),
                 .dv = sequences.packed(kWrittenKeys, memory.dv.raw(), dim)},
                memory.workspace.raw(), stream);
      put_back(device, memory.dq, tokens, args.dq, h, kv_heads);
      put_back(device, memory.dk, keys, args.dk, h, kv_heads);
      put_back(device, memory.dv, keys, args.dv, h, kv_heads);
    }
  }
  routed_attention_gradients<bf16>(args, tiles, Pairs::closed, device, stream);
  return true;
}

}  // namespace elastron::ops::cuda
