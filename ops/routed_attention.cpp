#include "ops/routed_attention.h"

#include <omp.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "ops/attention/expectations.h"
#include "ops/attention/expected_pairs.h"
#include "ops/attention/front.h"
#include "ops/attention/tile_plan.h"
#include "ops/attention_means.h"
#include "ops/backend.h"
#include "ops/cpu/routed_attention.h"
#include "ops/cuda/attention/kernel_choice.h"
#include "ops/cuda/attention/library_attention.h"
#include "ops/cuda/attention/library_batch.h"
#include "ops/cuda/attention/meta_attention.h"
#include "ops/cuda/attention/routed_attention.h"
#include "ops/kernel_families.h"

namespace elastron::ops {

namespace {

constexpr const char* kOp = "routed_attention";

AttentionShape checked_shape(const RoutedAttentionInput& in) {
  ELASTRON_CHECK(in.q.defined() && in.k.defined() && in.v.defined() && in.gate.defined(),
                 "routed_attention: missing input");
  ELASTRON_CHECK(in.q.rank() == 3 && in.k.rank() == 3,
                 "routed_attention: q and k are [tokens, heads, head_dim]");
  const AttentionShape shape{in.q.size(1), in.k.size(1), in.q.size(2)};
  ELASTRON_CHECK(shape.kv_heads > 0 && shape.q_heads > 0 && shape.q_heads % shape.kv_heads == 0,
                 "routed_attention: kv heads must divide query heads");
  ELASTRON_CHECK(shape.head_dim > 0, "routed_attention: head_dim must be positive");
  ELASTRON_CHECK(shape.group() <= kTileRows,
                 "routed_attention: at most 64 query heads per kv head");
  const KeySetPair sets = in.pattern.kinds();
  ELASTRON_CHECK(sets.retrieval != sets.sparse && sets.sparse != KeySetKind::full,
                 "routed_attention: two sets of different kinds, the sparse one not full");
  const StreamingRule rule = in.pattern.rule();
  ELASTRON_CHECK(
      rule.block >= 1 && rule.sink_blocks >= 0 && rule.local_blocks >= 1 && rule.dense_tail >= 0,
      "routed_attention: the rule needs block >= 1, sink >= 0, local >= 1");
  // Positions, and bounds computed from them, are held in 32 bits by the kernels.
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max();
  ELASTRON_CHECK(rule.block <= kLimit && rule.sink_blocks <= kLimit && rule.local_blocks <= kLimit,
                 "routed_attention: the rule's numbers must fit in 32 bits");
  ELASTRON_CHECK(in.softmax_scale > 0, "routed_attention: softmax_scale must be positive");

  const auto cu = in.varlen.cu_seqlens;
  ELASTRON_CHECK(
      !cu.empty() && cu.front() == 0 && std::ranges::is_sorted(cu) && cu.back() <= in.q.size(0),
      "routed_attention: cu_seqlens must start at 0, not decrease, and stay within the "
      "batch");
  const auto keys = in.varlen.key_bounds();
  ELASTRON_CHECK(keys.size() == cu.size() && keys.front() == 0 && std::ranges::is_sorted(keys) &&
                     keys.back() <= in.k.size(0),
                 "routed_attention: cu_keys must start at 0, not decrease, and stay within k");
  for (int64_t s = 0; s < in.varlen.sequences(); ++s) {
    ELASTRON_CHECK(in.varlen.offset(s) >= 0,
                   "routed_attention: a sequence has at least as many keys as tokens");
  }
  const auto whole = in.varlen.whole_lengths;
  ELASTRON_CHECK(whole.empty() || int64_t(whole.size()) == in.varlen.sequences(),
                 "routed_attention: whole_lengths has one number for each sequence");
  for (size_t s = 0; s < whole.size(); ++s) {
    ELASTRON_CHECK(whole[s] >= in.varlen.key_length(int64_t(s)),
                   "routed_attention: a sequence is at least as long as it has keys");
  }
  if (in.pattern.chooser() != nullptr) check_block_offsets(in.varlen, in.pattern.block(), kOp);
  check_shape(in.gate, Shape{in.varlen.sequences(), shape.kv_heads}, kOp);
  check_dense(kOp, in.gate);
  ELASTRON_CHECK(&in.q.device() == &in.k.device() && &in.q.device() == &in.v.device() &&
                     &in.q.device() == &in.gate.device(),
                 "routed_attention: tensors on several devices");
  ELASTRON_CHECK(in.gate.dtype() == DType::u8, "routed_attention: the gate is uint8");
  return shape;
}

void zero_padding(const Tensor& t, int64_t from) {
  if (from < t.size(0)) t.slice(0, from, t.size(0)).zero();
}

// cuda::SequenceTiles, and the memory behind them.
class DeviceTiles {
 public:
  DeviceTiles(const Varlen& varlen, Device& device) {
    const auto cu = varlen.cu_seqlens, cu_keys = varlen.key_bounds();
    std::vector<int32_t> numbers(cu.begin(), cu.end());
    numbers.insert(numbers.end(), cu_keys.begin(), cu_keys.end());
    for (int64_t s = 0; s < varlen.sequences(); ++s) {
      numbers.push_back(int32_t(varlen.whole_length(s)));
    }
    memory_ = on_device(std::span<const int32_t>(numbers), device);
    const auto* begin = static_cast<const int32_t*>(memory_.raw());
    view_ = {.cu_seqlens = begin,
             .cu_keys = begin + cu.size(),
             .whole_lengths = begin + cu.size() + cu_keys.size()};
  }
  const cuda::SequenceTiles& view() const { return view_; }

 private:
  Tensor memory_;
  cuda::SequenceTiles view_;
};

KernelFamilies forbidden_of(Device& device) { return device.attached<ForbiddenKernels>().families; }

// Whether a library computes the full attention of the op.
bool by_library(const RoutedAttentionInput& in, const AttentionShape& shape,
                std::initializer_list<HeadsView> views, bool gradients) {
  int64_t longest = 0;
  for (int64_t s = 0; s < in.varlen.sequences(); ++s) {
    if (in.varlen.length(s) > 0) longest = std::max(longest, in.varlen.key_length(s));
  }
  return cuda::library_wanted({.full_by = in.full_by,
                               .dtype = in.q.dtype(),
                               .shape = shape,
                               .sets = in.pattern.kinds(),
                               .longest = longest,
                               .aligned = cuda::aligned_rows(views),
                               .gradients = gradients,
                               .forbidden = forbidden_of(in.q.device())}) &&
         may_have_library(in.q.device(), gradients);
}

}  // namespace

int64_t dense_tiles(const HeadPattern& pattern, int64_t group, int64_t tokens, int64_t keys) {
  const int64_t heads = heads_of_tile(group, pattern.shared_by(group)), each = tile_tokens(heads);
  int64_t tiles = 0;
  for (int64_t begin = keys - tokens; begin < keys; begin += each) {
    tiles += tile_count(std::min(keys, begin + each), kTileKeys);
  }
  return tiles * (group / heads);
}

namespace {

// The arguments that forward and backward give the kernels alike.
template <class Args>
Args kernel_args(const RoutedAttentionInput& in, const BlockChoice& choice,
                 const AttentionShape& shape) {
  const DType dtype = in.q.dtype();
  const int64_t keys = in.k.size(0);
  Args args;
  args.q = heads_view(in.q, in.q.size(0), shape.q_heads, shape.head_dim, dtype, kOp);
  args.k = heads_view(in.k, keys, shape.kv_heads, shape.head_dim, dtype, kOp);
  args.v = heads_view(in.v, keys, shape.kv_heads, shape.head_dim, dtype, kOp);
  args.gate = in.gate.data<uint8_t>();
  args.varlen = in.varlen;
  args.sets = in.pattern.kinds();
  args.rule = in.pattern.rule();
  args.choice = choice.view();
  args.shape = shape;
  args.scale = in.softmax_scale;
  args.kernels = in.kernels;
  args.forbidden = forbidden_of(in.q.device());
  return args;
}

// Two products forward: of queries and keys, and with the values.
double flops_of_pairs(const AttentionShape& shape, double pairs) {
  return 4 * double(shape.q_heads * shape.head_dim) * pairs;
}

OpCost forward_cost(const RoutedAttentionInput& in, const RoutedAttentionOutput& out,
                    const AttentionShape& shape, bool library, int64_t launches, MetaDevice& meta) {
  const auto pairs = expected_pairs(in.varlen, in.pattern, meta.attached<AttentionExpectations>());
  const bool both = out.other.defined();
  OpCost cost = touches(kOp, in.q, in.k, in.v, out.selected, out.lse);
  if (both) cost.bytes += double(out.other.bytes() + out.lse_other.bytes());
  if (library) cost.name = "routed_attention_by_library";
  cost.kind = both ? WorkKind::attention_both : WorkKind::attention_selected;
  cost.flops = flops_of_pairs(shape, both ? pairs.both : pairs.selected);
  cost.launches = launches;
  return cost;
}

// Five products, as the scores are computed again; without gradients of q, k and v none.
OpCost backward_cost(const RoutedAttentionInput& in, const RoutedAttentionGradient& gradient,
                     const AttentionShape& shape, const Tensor& d_out, bool library,
                     int64_t launches, MetaDevice& meta) {
  OpCost cost = touches("routed_attention_backward", d_out, d_out, in.q, in.k, in.v);
  if (library) cost.name = "routed_attention_backward_by_library";
  cost.kind = WorkKind::attention_backward;
  cost.launches = launches;
  if (!gradient.q.defined()) return cost;
  const auto pairs = expected_pairs(in.varlen, in.pattern, meta.attached<AttentionExpectations>());
  cost.flops = 2.5 * flops_of_pairs(shape, pairs.selected);
  cost.bytes += double(gradient.q.bytes() + gradient.k.bytes() + gradient.v.bytes());
  return cost;
}

// Whose blocks are needed: of all heads for both branches, or of those that read blocks.
ChoiceFor choice_for(KeySetPair sets, Branches branches) {
  if (branches == Branches::both) return ChoiceFor::all;
  return sets.retrieval == KeySetKind::blocks ? ChoiceFor::open : ChoiceFor::closed;
}

}  // namespace

RoutedAttentionOutput routed_attention_forward(const RoutedAttentionInput& in, Branches branches) {
  const AttentionShape shape = checked_shape(in);
  const DType dtype = in.q.dtype(), accumulator = accumulator_dtype(dtype);
  const int64_t tokens = in.q.size(0);
  Device& device = in.q.device();

  RoutedAttentionOutput out;
  if (const BlockChooser* chooser = in.pattern.chooser()) {
    out.choice = choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, *chooser, in.gate,
                               choice_for(in.pattern.kinds(), branches));
  }
  auto args = kernel_args<AttentionForwardArgs>(in, out.choice, shape);
  const bool library = by_library(in, shape, {args.q, args.k, args.v}, false);
  const int64_t dummies = library ? cuda::library_batch(in.varlen).dummies : 0;
  const auto output = [&](const Shape& of, DType type) {
    Shape with_dummies = of;
    with_dummies.set(0, tokens + dummies);
    Tensor t = Tensor::empty(with_dummies, type, device).slice(0, 0, tokens);
    zero_padding(t, in.varlen.tokens());
    return t;
  };
  const Shape rows{tokens, shape.q_heads};
  out.selected = output(in.q.shape(), dtype);
  out.lse = output(rows, accumulator);
  args.selected = out.selected.raw();
  args.lse = out.lse.raw();
  if (branches == Branches::both) {
    out.other = output(in.q.shape(), dtype);
    out.lse_other = output(rows, accumulator);
    args.other = out.other.raw();
    args.lse_other = out.lse_other.raw();
  }
  out.visited = Tensor::zeros(in.gate.shape(), DType::i64, device);
  args.visited = out.visited.data<int64_t>();

  const int threads = omp_get_max_threads();
  const auto threads_memory = [&] {
    return workspace_for(threads, cpu::attention_forward_workspace(shape.head_dim, dtype), device);
  };
  run_on(
      device,
      [&] {
        const Tensor workspace = threads_memory();
        with_float_dtype(dtype, [&]<class T>() {
          cpu::routed_attention_forward<T>(args, threads, static_cast<std::byte*>(workspace.raw()));
        });
      },
      [&](auto stream) {
        const DeviceTiles tiles(in.varlen, device);
        cuda::count_visited_tiles(args, tiles.view(), stream);
        with_device_dtype(dtype, [&]<class T>() {
          if (library &&
              cuda::library_attention_forward(args, tiles.view(), tokens, device, stream)) {
            return;
          }
          cuda::routed_attention_forward<T>(args, tiles.view(), cuda::Pairs::all, device, stream);
        });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() == DeviceKind::cpu) {
          threads_memory();
          return meta.record(forward_cost(in, out, shape, false, 0, meta));
        }
        const DeviceTiles tiles(in.varlen, device);
        const int64_t launches = cuda::meta_attention_forward(args, dtype, library, tokens, meta);
        meta.record(forward_cost(in, out, shape, library, launches, meta));
      });
  return out;
}

RoutedAttentionGradient routed_attention_backward(const Tensor& d_out,
                                                  const RoutedAttentionInput& in,
                                                  const RoutedAttentionOutput& out, bool need_qkv,
                                                  bool need_gate) {
  const AttentionShape shape = checked_shape(in);
  const DType dtype = in.q.dtype(), accumulator = accumulator_dtype(dtype);
  const int64_t tokens = in.q.size(0);
  Device& device = in.q.device();

  ELASTRON_CHECK(d_out.defined(), "routed_attention: missing d_out");
  ELASTRON_CHECK(in.pattern.chooser() == nullptr || out.choice.defined(),
                 "routed_attention: backward needs the blocks that forward chose");
  auto args = kernel_args<AttentionBackwardArgs>(in, out.choice, shape);
  args.d_out = heads_view(d_out, tokens, shape.q_heads, shape.head_dim, dtype, kOp);
  ELASTRON_CHECK(out.selected.defined() && out.lse.defined(),
                 "routed_attention: backward needs the forward's outputs");
  check_same(out.selected, in.q, kOp);
  check_contiguous(out.selected, kOp);
  check_shape(out.lse, Shape{tokens, shape.q_heads}, kOp);
  check_contiguous(out.lse, kOp);
  ELASTRON_CHECK(out.lse.dtype() == accumulator, "routed_attention: dtype of lse");
  args.selected = out.selected.raw();
  args.lse = out.lse.raw();

  RoutedAttentionGradient gradient;
  if (need_gate) {
    ELASTRON_CHECK(out.other.defined(),
                   "routed_attention: the gate's gradient needs both branches' outputs");
    check_same(out.other, in.q, kOp);
    check_contiguous(out.other, kOp);
    args.other = out.other.raw();
    gradient.gate =
        Tensor::empty(Shape{in.varlen.sequences(), shape.kv_heads}, accumulator, device);
    args.d_gate = gradient.gate.raw();
  }
  Tensor row_dots, dq;
  if (need_qkv) {
    row_dots = Tensor::empty(Shape{tokens, shape.q_heads}, accumulator, device);
    args.row_dots = row_dots.raw();
    gradient.q = Tensor::empty(in.q.shape(), dtype, device);
    gradient.k = Tensor::empty(in.k.shape(), dtype, device);
    gradient.v = Tensor::empty(in.v.shape(), dtype, device);
    // On the CPU dq is summed over key tiles, in the accumulator type.
    dq = dtype == accumulator || device.behaves_as() == DeviceKind::cuda
             ? gradient.q
             : Tensor::empty(in.q.shape(), accumulator, device);
    zero_padding(gradient.q, in.varlen.tokens());
    for (const Tensor& t : {gradient.k, gradient.v}) zero_padding(t, in.varlen.keys());
    args.dq = gradient.q.raw();
    args.dq_sums = dq.raw();
    args.dk = gradient.k.raw();
    args.dv = gradient.v.raw();
  }

  const int threads = omp_get_max_threads();
  const auto threads_memory = [&] {
    return workspace_for(need_qkv ? threads : 0,
                         cpu::attention_backward_workspace(shape.head_dim, dtype_size(accumulator)),
                         device);
  };
  const auto gaps_memory = [&] {
    return need_gate ? Tensor::empty({tokens, shape.q_heads}, DType::f32, device) : Tensor();
  };
  run_on(
      device,
      [&] {
        const Tensor workspace = threads_memory();
        with_float_dtype(dtype, [&]<class T>() {
          cpu::routed_attention_backward<T>(args, threads,
                                            static_cast<std::byte*>(workspace.raw()));
        });
      },
      [&](auto stream) {
        const DeviceTiles tiles(in.varlen, device);
        const Tensor gaps = gaps_memory();
        with_device_dtype(dtype, [&]<class T>() {
          cuda::routed_attention_row_dots<T>(
              args, tiles.view(), need_gate ? gaps.template data<float>() : nullptr, stream);
          if (!need_qkv) return;
          if (by_library(in, shape, {args.q, args.k, args.v, args.d_out}, true) &&
              cuda::library_attention_gradients(args, tiles.view(), device, stream)) {
            return;
          }
          cuda::routed_attention_gradients<T>(args, tiles.view(), cuda::Pairs::all, device, stream);
        });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() == DeviceKind::cpu) {
          threads_memory();
          return meta.record(backward_cost(in, gradient, shape, d_out, false, 0, meta));
        }
        const DeviceTiles tiles(in.varlen, device);
        const Tensor gaps = gaps_memory();
        int64_t launches = need_gate ? 2 : 1;  // row dots, and the gate's gradient
        const bool library =
            need_qkv && by_library(in, shape, {args.q, args.k, args.v, args.d_out}, true);
        if (need_qkv) launches += cuda::meta_attention_gradients(args, dtype, library, meta);
        meta.record(backward_cost(in, gradient, shape, d_out, library, launches, meta));
      });
  return gradient;
}

}  // namespace elastron::ops
