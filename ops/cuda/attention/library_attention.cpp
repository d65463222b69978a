#include "ops/cuda/attention/library_attention.h"

#include <vector>

#include "core/tensor.h"
#include "ops/backend.h"
#include "ops/cuda/attention/full_attention.h"
#include "ops/cuda/attention/full_attention_kernels.h"

namespace elastron::ops::cuda {

namespace {

constexpr int64_t kItem = int64_t(sizeof(bf16));

// The sequences of a batch that have tokens, as cuDNN wants them: lengths, and beginnings in
// tensors of each token stride, on the device.
class Sequences {
 public:
  Sequences(const Varlen& varlen, std::vector<int64_t> strides, Device& device)
      : strides_(std::move(strides)) {
    const auto cu = varlen.cu_seqlens;
    std::vector<int32_t> numbers, lengths;
    std::vector<int64_t> begins;
    for (int64_t s = 0; s < varlen.sequences(); ++s) {
      const int32_t length = cu[size_t(s) + 1] - cu[size_t(s)];
      if (length == 0) continue;
      numbers.push_back(int32_t(s));
      lengths.push_back(length);
      begins.push_back(cu[size_t(s)]);
      longest_ = std::max<int64_t>(longest_, length);
    }
    count_ = int64_t(numbers.size());
    begins.push_back(varlen.tokens());
    std::vector<int64_t> starts;
    for (const int64_t stride : strides_) {
      for (const int64_t begin : begins) starts.push_back(begin * stride);
    }
    numbers.insert(numbers.end(), lengths.begin(), lengths.end());
    starts_ = on_device(std::span<const int64_t>(starts), device);
    numbers_ = on_device(std::span<const int32_t>(numbers), device);
  }

  int64_t count() const { return count_; }
  int64_t longest() const { return longest_; }
  const int32_t* numbers() const { return static_cast<const int32_t*>(numbers_.raw()); }
  const int32_t* lengths() const { return numbers() + count_; }
  PackedHeads packed(const void* data, int64_t stride) const {
    for (size_t i = 0; i < strides_.size(); ++i) {
      if (strides_[i] != stride) continue;
      return {data, static_cast<const int64_t*>(starts_.raw()) + int64_t(i) * (count_ + 1)};
    }
    throw LogicError("a tensor of a stride that was not announced");
  }

 private:
  std::vector<int64_t> strides_;
  int64_t count_ = 0, longest_ = 0;
  Tensor starts_, numbers_;
};

const void* at(const void* data, int64_t elements) {
  return static_cast<const char*>(data) + elements * kItem;
}

// Of a call for `kv_heads` of the problem's.
template <class Args>
FullAttentionShape shape_of(const Args& args, const Sequences& sequences, int64_t kv_heads) {
  const AttentionShape& whole = args.shape;
  return {.sequences = sequences.count(),
          .longest = rounded_size(sequences.longest()),
          .tokens = rounded_size(args.varlen.tokens()),
          .q_heads = kv_heads * whole.group(),
          .kv_heads = kv_heads,
          .head_dim = whole.head_dim,
          .scale = args.scale,
          .q_stride = args.q.token_stride,
          .k_stride = args.k.token_stride,
          .v_stride = args.v.token_stride,
          .out_stride = whole.q_heads * whole.head_dim,
          .lse_stride = kv_heads * whole.group()};
}

// One kv head's numbers [tokens, width] to or from their place between those of others: what the
// library reads and writes in place is at addresses of 16 bytes, and its float32 sums have the
// strides of its results.
void put_back(Device& device, const Tensor& own, void* all, int64_t head, int64_t heads) {
  const size_t row = own.bytes() / size_t(own.size(0));
  device.copy_rows(static_cast<char*>(all) + size_t(head) * row, row * size_t(heads), own.raw(),
                   row, row, size_t(own.size(0)));
}
void take_out(Device& device, const void* all, int64_t head, int64_t heads, const Tensor& own) {
  const size_t row = own.bytes() / size_t(own.size(0));
  device.copy_rows(own.raw(), row, static_cast<const char*>(all) + size_t(head) * row,
                   row * size_t(heads), row, size_t(own.size(0)));
}

Tensor bytes(int64_t count, Device& device) {
  return Tensor::empty({std::max<int64_t>(count, 1)}, DType::u8, device);
}

Tensor lengths_by_pair(const uint8_t* gate, const Sequences& sequences, int64_t kv_heads,
                       Device& device, Stream stream) {
  Tensor lengths = Tensor::empty({kv_heads, sequences.count()}, DType::i32, device);
  pair_lengths(gate, sequences.numbers(), sequences.lengths(), sequences.count(), kv_heads,
               lengths.data<int32_t>(), stream);
  return lengths;
}

// Both outputs of all pairs.
bool both_branches(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                   const Sequences& sequences, Device& device, Stream stream) {
  const FullAttentionShape shape = shape_of(args, sequences, args.shape.kv_heads);
  FullAttentionPlan* plan = full_attention_plan(device, shape);
  if (plan == nullptr) return false;
  {
    const Tensor workspace = bytes(plan->workspace_bytes(), device);
    plan->run({.lengths = sequences.lengths(),
               .q = sequences.packed(args.q.data, shape.q_stride),
               .k = sequences.packed(args.k.data, shape.k_stride),
               .v = sequences.packed(args.v.data, shape.v_stride),
               .out = sequences.packed(args.selected, shape.out_stride),
               .lse = sequences.packed(args.lse, shape.lse_stride)},
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
  return true;
}

}  // namespace

bool library_attention_forward(const AttentionForwardArgs& args, const SequenceTiles& tiles,
                               Device& device, Stream stream) {
  const int64_t group = args.shape.group(), dim = args.shape.head_dim;
  const Sequences sequences(args.varlen,
                            {args.q.token_stride, args.k.token_stride, args.v.token_stride,
                             args.shape.q_heads * dim, args.shape.q_heads, group},
                            device);
  if (sequences.count() == 0) return false;
  if (args.other != nullptr) return both_branches(args, tiles, sequences, device, stream);
  const FullAttentionShape shape = shape_of(args, sequences, 1);
  FullAttentionPlan* plan = full_attention_plan(device, shape);
  if (plan == nullptr) return false;
  {
    const Tensor workspace = bytes(plan->workspace_bytes(), device);
    const Tensor lengths =
        lengths_by_pair(args.gate, sequences, args.shape.kv_heads, device, stream);
    const Tensor lse = Tensor::empty({args.varlen.tokens(), group}, DType::f32, device);
    for (int64_t h = 0; h < args.shape.kv_heads; ++h) {
      plan->run({.lengths = lengths.data<int32_t>() + h * sequences.count(),
                 .q = sequences.packed(at(args.q.data, h * group * dim), shape.q_stride),
                 .k = sequences.packed(at(args.k.data, h * dim), shape.k_stride),
                 .v = sequences.packed(at(args.v.data, h * dim), shape.v_stride),
                 .out = sequences.packed(at(args.selected, h * group * dim), shape.out_stride),
                 .lse = sequences.packed(lse.raw(), group)},
                workspace.raw(), stream);
      put_back(device, lse, args.lse, h, args.shape.kv_heads);
    }
  }
  routed_attention_forward<bf16>(args, tiles, Pairs::closed, device, stream);
  return true;
}

bool library_attention_gradients(const AttentionBackwardArgs& args, const SequenceTiles& tiles,
                                 Device& device, Stream stream) {
  const int64_t group = args.shape.group(), dim = args.shape.head_dim;
  const int64_t kv_heads = args.shape.kv_heads, tokens = args.varlen.tokens();
  const Sequences sequences(
      args.varlen,
      {args.q.token_stride, args.k.token_stride, args.v.token_stride, args.d_out.token_stride,
       args.shape.q_heads * dim, group * dim, dim, group},
      device);
  if (sequences.count() == 0) return false;
  FullAttentionShape shape = shape_of(args, sequences, 1);
  shape.backward = true;
  shape.d_out_stride = args.d_out.token_stride;
  FullAttentionPlan* plan = full_attention_plan(device, shape);
  if (plan == nullptr) return false;
  {
    const Tensor workspace = bytes(plan->workspace_bytes(), device);
    const Tensor lengths = lengths_by_pair(args.gate, sequences, kv_heads, device, stream);
    const Tensor lse = Tensor::empty({tokens, group}, DType::f32, device);
    const Tensor dq = Tensor::empty({tokens, group * dim}, DType::bf16, device);
    const Tensor dk = Tensor::empty({tokens, dim}, DType::bf16, device);
    const Tensor dv = Tensor::empty({tokens, dim}, DType::bf16, device);
    for (int64_t h = 0; h < kv_heads; ++h) {
      take_out(device, args.lse, h, kv_heads, lse);
      plan->run(
          {.lengths = lengths.data<int32_t>() + h * sequences.count(),
           .q = sequences.packed(at(args.q.data, h * group * dim), shape.q_stride),
           .k = sequences.packed(at(args.k.data, h * dim), shape.k_stride),
           .v = sequences.packed(at(args.v.data, h * dim), shape.v_stride),
           .out = sequences.packed(at(args.selected, h * group * dim), shape.out_stride),
           .lse = sequences.packed(lse.raw(), group),
           .d_out = sequences.packed(at(args.d_out.data, h * group * dim), shape.d_out_stride),
           .dq = sequences.packed(dq.raw(), group * dim),
           .dk = sequences.packed(dk.raw(), dim),
           .dv = sequences.packed(dv.raw(), dim)},
          workspace.raw(), stream);
      put_back(device, dq, args.dq, h, kv_heads);
      put_back(device, dk, args.dk, h, kv_heads);
      put_back(device, dv, args.dv, h, kv_heads);
    }
  }
  routed_attention_gradients<bf16>(args, tiles, Pairs::closed, device, stream);
  return true;
}

int64_t library_attention_forward_bytes(const AttentionShape& shape, int64_t tokens, bool both) {
  return both ? 0 : tokens * shape.group() * int64_t(sizeof(float));
}

int64_t library_attention_backward_bytes(const AttentionShape& shape, int64_t tokens) {
  return tokens * (shape.group() + 2) * shape.head_dim * kItem +
         tokens * shape.group() * int64_t(sizeof(float)) +
         full_attention_workspace({.tokens = rounded_size(tokens),
                                   .q_heads = shape.group(),
                                   .kv_heads = 1,
                                   .head_dim = shape.head_dim,
                                   .backward = true,
                                   .lse_stride = shape.group()});
}

}  // namespace elastron::ops::cuda
