#include "ops/xattention.h"

#include <omp.h>

#include <algorithm>

#include "ops/attention/front.h"
#include "ops/attention/streaming_rule.h"
#include "ops/attention/tile_plan.h"
#include "ops/backend.h"
#include "ops/cpu/xattention.h"
#include "ops/cuda/meta_attention.h"
#include "ops/cuda/xattention.h"

namespace elastron::ops {

namespace {
constexpr const char* kOp = "choose_blocks";
constexpr int64_t kMostHeadDim = 256;
}  // namespace

BlockChoiceView BlockChoice::view() const {
  if (!defined()) return {};
  return {.rows = static_cast<const uint32_t*>(rows.raw()),
          .columns = static_cast<const uint32_t*>(columns.raw()),
          .starts = static_cast<const int32_t*>(starts.raw()),
          .head_words = rows.size(1),
          .block = int32_t(block)};
}

BlockChoice choose_blocks(const Tensor& q, const Tensor& k, const Varlen& varlen,
                          double softmax_scale, const XAttentionRule& rule, const Tensor& gate,
                          ChoiceFor whose) {
  ELASTRON_CHECK(q.defined() && k.defined() && gate.defined() && q.rank() == 3 && k.rank() == 3,
                 "choose_blocks: q and k are [tokens, heads, head_dim]");
  ELASTRON_CHECK(rule.stride >= 1 && rule.block >= 1 && rule.block % rule.stride == 0 &&
                     rule.block % kTileKeys == 0,
                 "choose_blocks: a block is a multiple of the stride and of 64");
  ELASTRON_CHECK(rule.threshold >= 0 && rule.threshold <= 1,
                 "choose_blocks: the threshold is a share");
  ELASTRON_CHECK(varlen.cu_keys.empty() || varlen.keys() <= k.size(0),
                 "choose_blocks: cu_keys must stay within k");
  check_block_offsets(varlen, rule.block, kOp);
  const AttentionShape shape{q.size(1), k.size(1), q.size(2)};
  ELASTRON_CHECK(shape.kv_heads > 0 && shape.q_heads % shape.kv_heads == 0,
                 "choose_blocks: kv heads must divide query heads");
  ELASTRON_CHECK(shape.head_dim > 0 && shape.head_dim <= kMostHeadDim,
                 "choose_blocks: head_dim is at most 256");
  check_shape(gate, Shape{varlen.sequences(), shape.kv_heads}, kOp);
  Device& device = q.device();
  const DType dtype = q.dtype();

  const auto starts = block_choice_starts(varlen, rule.block);
  BlockChoice choice;
  choice.block = rule.block;
  const Shape words{shape.q_heads, starts.back()};
  choice.rows = Tensor::zeros(words, DType::i32, device);
  choice.columns = Tensor::zeros(words, DType::i32, device);
  choice.starts = Tensor::from(starts, {int64_t(starts.size())}, device);

  BlockChoiceArgs args;
  args.q = heads_view(q, q.size(0), shape.q_heads, shape.head_dim, dtype, kOp);
  args.k = heads_view(k, varlen.cu_keys.empty() ? q.size(0) : k.size(0), shape.kv_heads,
                      shape.head_dim, dtype, kOp);
  args.gate = gate.data<uint8_t>();
  args.varlen = varlen;
  args.shape = shape;
  args.scale = softmax_scale;
  args.rule = rule;
  args.whose = whose;
  args.rows = static_cast<uint32_t*>(choice.rows.raw());
  args.columns = static_cast<uint32_t*>(choice.columns.raw());
  args.starts = starts;
  const int threads = omp_get_max_threads();
  const auto threads_memory = [&] {
    int64_t longest = 0;
    for (int64_t s = 0; s < varlen.sequences(); ++s) {
      longest = std::max(longest, varlen.key_length(s));
    }
    return workspace_for(threads,
                         cpu::choose_blocks_workspace(rule, shape.head_dim, longest,
                                                      dtype_size(accumulator_dtype(dtype))),
                         device);
  };
  run_on(
      device,
      [&] {
        const Tensor workspace = threads_memory();
        with_float_dtype(dtype, [&]<class T>() {
          cpu::choose_blocks<T>(args, threads, static_cast<std::byte*>(workspace.raw()));
        });
      },
      [&](auto stream) {
        with_device_dtype(dtype, [&]<class T>() { cuda::choose_blocks<T>(args, device, stream); });
      },
      [&](MetaDevice& meta) {
        OpCost cost = touches(kOp, q, k, choice.rows, choice.columns);
        cost.kind = WorkKind::block_choice;
        // A score per pair of groups, which is a sum over an antidiagonal of stride pairs.
        double pairs = 0;
        for (int64_t s = 0; s < varlen.sequences(); ++s) {
          const int64_t past = varlen.key_length(s), first = past - varlen.length(s);
          pairs += double(causal_pairs(past) - causal_pairs(first));
        }
        cost.flops = 2 * pairs / double(rule.stride) * double(shape.q_heads * shape.head_dim);
        if (meta.behaves_as() == DeviceKind::cpu) {
          threads_memory();
        } else {
          cost.launches = cuda::meta_choose_blocks(args, dtype, meta);
        }
        meta.record(cost);
      });
  return choice;
}

}  // namespace elastron::ops
