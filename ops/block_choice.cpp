#include "ops/block_choice.h"

#include <omp.h>

#include <algorithm>

#include "ops/attention/front.h"
#include "ops/attention/tile_plan.h"
#include "ops/backend.h"
#include "ops/cpu/topk.h"
#include "ops/cpu/xattention.h"
#include "ops/cuda/attention/meta_attention.h"
#include "ops/cuda/attention/topk.h"
#include "ops/cuda/attention/xattention.h"

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
          .mask_words = rows.size(1),
          .block = int32_t(block),
          .shared_by = int32_t(shared_by),
          .first_tokens = int32_t(first)};
}

void XAttentionRule::check() const {
  ELASTRON_CHECK(stride >= 1 && block >= 1 && block % stride == 0 && block % kTileKeys == 0,
                 "choose_blocks: a block is a multiple of the stride and of 64");
  ELASTRON_CHECK(threshold >= 0 && threshold <= 1, "choose_blocks: the threshold is a share");
}

void TopkRule::check() const {
  ELASTRON_CHECK(block >= 1 && block % kTileKeys == 0,
                 "choose_blocks: a block is a multiple of 64");
  ELASTRON_CHECK(sink_blocks >= 0 && sink_blocks < blocks,
                 "choose_blocks: the sink has less than all the blocks that are read");
}

namespace {

int64_t longest_keys(const Varlen& varlen) {
  int64_t longest = 0;
  for (int64_t s = 0; s < varlen.sequences(); ++s) {
    longest = std::max(longest, varlen.key_length(s));
  }
  return longest;
}

// Bytes of scratch that so many threads take on the CPU.
int64_t workspace_bytes(const XAttentionRule& rule, const BlockChoiceArgs& args, DType dtype,
                        int threads) {
  return threads *
         int64_t(cpu::xattention_workspace(rule, args.shape.head_dim, longest_keys(args.varlen),
                                           dtype_size(accumulator_dtype(dtype))));
}
int64_t workspace_bytes(const TopkRule&, const BlockChoiceArgs& args, DType dtype, int) {
  return int64_t(cpu::topk_workspace(args, dtype_size(accumulator_dtype(dtype))));
}

}  // namespace

BlockChoice choose_blocks(const Tensor& q, const Tensor& k, const Varlen& varlen,
                          double softmax_scale, const BlockChooser& chooser, const Tensor& gate,
                          ChoiceFor whose) {
  ELASTRON_CHECK(q.defined() && k.defined() && gate.defined() && q.rank() == 3 && k.rank() == 3,
                 "choose_blocks: q and k are [tokens, heads, head_dim]");
  std::visit([](const auto& rule) { rule.check(); }, chooser);
  const int64_t block = block_of(chooser);
  ELASTRON_CHECK(varlen.cu_keys.empty() || varlen.keys() <= k.size(0),
                 "choose_blocks: cu_keys must stay within k");
  check_block_offsets(varlen, block, kOp);
  const AttentionShape shape{q.size(1), k.size(1), q.size(2)};
  ELASTRON_CHECK(shape.kv_heads > 0 && shape.q_heads % shape.kv_heads == 0,
                 "choose_blocks: kv heads must divide query heads");
  ELASTRON_CHECK(shape.head_dim > 0 && shape.head_dim <= kMostHeadDim,
                 "choose_blocks: head_dim is at most 256");
  check_shape(gate, Shape{varlen.sequences(), shape.kv_heads}, kOp);
  Device& device = q.device();
  const DType dtype = q.dtype();

  const auto starts = block_choice_starts(varlen, block);
  BlockChoice choice;
  choice.block = block;
  choice.shared_by = mask_shared_by(chooser, shape.group());
  choice.first = first_tokens(chooser);
  const Shape words{shape.q_heads / choice.shared_by, starts.back()};
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
  args.block = block;
  args.shared_by = choice.shared_by;
  args.whose = whose;
  args.rows = static_cast<uint32_t*>(choice.rows.raw());
  args.columns = static_cast<uint32_t*>(choice.columns.raw());
  args.starts = starts;
  std::visit(
      [&](const auto& rule) {
        const int threads = omp_get_max_threads();
        const auto threads_memory = [&] {
          return Tensor::empty({workspace_bytes(rule, args, dtype, threads)}, DType::u8, device);
        };
        run_on(
            device,
            [&] {
              const Tensor workspace = threads_memory();
              with_float_dtype(dtype, [&]<class T>() {
                cpu::choose_blocks<T>(args, rule, threads,
                                      static_cast<std::byte*>(workspace.raw()));
              });
            },
            [&](auto stream) {
              with_device_dtype(
                  dtype, [&]<class T>() { cuda::choose_blocks<T>(args, rule, device, stream); });
            },
            [&](MetaDevice& meta) {
              OpCost cost = touches(kOp, q, k, choice.rows, choice.columns);
              cost.kind = WorkKind::block_choice;
              double pairs = 0;
              for (int64_t s = 0; s < varlen.sequences(); ++s) {
                const int64_t past = varlen.key_length(s), first = past - varlen.length(s);
                pairs += double(causal_pairs(past) - causal_pairs(first));
              }
              cost.flops = 2 * pairs * rule.scores_per_pair(shape.group()) *
                           double(shape.q_heads * shape.head_dim);
              if (meta.behaves_as() == DeviceKind::cpu) {
                threads_memory();
              } else {
                cost.launches = cuda::meta_choose_blocks(args, rule, dtype, meta);
              }
              meta.record(cost);
            });
      },
      chooser);
  return choice;
}

}  // namespace elastron::ops
