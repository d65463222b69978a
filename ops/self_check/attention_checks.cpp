#include "ops/self_check/attention_checks.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <vector>

#include "ops/attention/tile_plan.h"
#include "ops/backend.h"
#include "ops/cuda/attention/kernel_choice.h"
#include "ops/cuda/attention/routed_attention.h"
#include "ops/cuda/attention/xattention_work.h"
#include "ops/routed_attention.h"
#include "ops/self_check/comparison.h"
#include "ops/self_check/dense_checks.h"
#include "ops/self_check/forbidding.h"

namespace elastron::ops::self_check {

namespace {

constexpr int64_t kKvHeads = 2;

// The use's sets of keys, so small that sequences of a few tiles have tiles of every kind.
HeadPattern small_pattern(const KernelUse& use) {
  HeadPattern pattern = use.pattern;
  for (KeySet* set : {&pattern.retrieval, &pattern.sparse}) {
    if (set->kind == KeySetKind::streaming) {
      set->rule = {.block = 16,
                   .sink_blocks = 1,
                   .local_blocks = 2,
                   .dense_tail = std::min<int64_t>(set->rule.dense_tail, 20)};
    }
    if (auto* topk = std::get_if<TopkRule>(&set->chooser); topk != nullptr) {
      topk->blocks = 2;
      topk->sink_blocks = std::min<int64_t>(topk->sink_blocks, 1);
    }
    if (auto* xa = std::get_if<XAttentionRule>(&set->chooser); xa != nullptr) xa->threshold = 0.6;
  }
  return pattern;
}

// Where sequences begin: one of a token, one beyond a small tile, one of two tiles of the fastest
// kernels, or three blocks, and a rest.
std::vector<int32_t> sequence_bounds(const HeadPattern& pattern) {
  const auto longest = int32_t(pattern.block() > 0 ? 3 * pattern.block() + 5 : 203);
  return {0, 1, 67, 67 + longest};
}

std::vector<uint8_t> mixed_gates(int64_t sequences) {
  std::vector<uint8_t> gates;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t h = 0; h < kKvHeads; ++h) gates.push_back(uint8_t((s + h) % 2));
  }
  return gates;
}

// Inputs of routed attention, with what they refer to.
struct Problem {
  Problem(const KernelUse& use, Inputs& in, AttentionBy by)
      : pattern(small_pattern(use)), bounds(sequence_bounds(pattern)) {
    const int64_t tokens = bounds.back(), heads = kKvHeads * use.group;
    const int64_t sequences = int64_t(bounds.size()) - 1;
    input.q = in.normal({tokens, heads, use.head_dim}, use.dtype);
    input.k = in.normal({tokens, kKvHeads, use.head_dim}, use.dtype);
    input.v = in.normal({tokens, kKvHeads, use.head_dim}, use.dtype);
    input.gate = in.from(mixed_gates(sequences), {sequences, kKvHeads});
    input.varlen = {.cu_seqlens = bounds};
    input.pattern = pattern;
    input.softmax_scale = 1 / std::sqrt(double(use.head_dim));
    input.full_by = by.library ? FullAttentionBy::cudnn : FullAttentionBy::own;
    input.kernels = by.kernels;
    d_out = in.normal(input.q.shape(), use.dtype);
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;

  HeadPattern pattern;
  std::vector<int32_t> bounds;
  RoutedAttentionInput input;
  Tensor d_out;
};

// What differs is the choice, which has a check of its own.
bool same_choice(const BlockChoice& a, const BlockChoice& b) {
  return !a.defined() || host_numbers(a.rows) == host_numbers(b.rows);
}

void compare_forward(const KernelUse& use, Comparison& c, Problem& wanted, Problem& found) {
  const double most = tolerance(use.dtype);
  const auto a = routed_attention_forward(wanted.input, Branches::both);
  const auto b = routed_attention_forward(found.input, Branches::both);
  if (!same_choice(a.choice, b.choice)) return;
  c.same("selected branch", a.selected, b.selected, most);
  c.same("other branch", a.other, b.other, most);
  c.same("log-sum-exp", a.lse, b.lse, most);
  c.same("log-sum-exp of the other branch", a.lse_other, b.lse_other, most);
  c.same("visited tiles", a.visited, b.visited, 0);
  const auto alone = routed_attention_forward(found.input, Branches::selected);
  c.same("selected branch alone", a.selected, alone.selected, most);
}

void compare_gradients(const KernelUse& use, Comparison& c, Problem& wanted, Problem& found,
                       AttentionBy by) {
  const double most = tolerance(use.dtype);
  found.input.kernels = AttentionKernels::plain;
  found.input.full_by = FullAttentionBy::own;
  const auto a = routed_attention_forward(wanted.input, Branches::both);
  const auto b = routed_attention_forward(found.input, Branches::both);
  if (!same_choice(a.choice, b.choice)) return;
  found.input.kernels = by.kernels;
  found.input.full_by = by.library ? FullAttentionBy::cudnn : FullAttentionBy::own;
  const auto x = routed_attention_backward(wanted.d_out, wanted.input, a, true, true);
  const auto y = routed_attention_backward(found.d_out, found.input, b, true, true);
  c.same("dq", x.q, y.q, most);
  c.same("dk", x.k, y.k, most);
  c.same("dv", x.v, y.v, most);
  c.same("gradient of the gates", x.gate, y.gate, most);
}

int64_t bits(double word) { return __builtin_popcount(uint32_t(int64_t(word))); }

// Where masses are almost equal the order of a sum decides: a few blocks may differ.
constexpr double kOtherBlocks = 0.03;
// Random scores are almost equal, and nearly all blocks would be chosen: these tell blocks apart.
constexpr double kPeaked = 16;

}  // namespace

std::string check_attention(const KernelUse& use, AttentionBy by, Pass pass, Device& gpu) {
  const bool plain = by.kernels == AttentionKernels::plain && !by.library;
  Inputs there(plain ? host_device() : gpu), here(gpu);
  Problem wanted(use, there, {}), found(use, here, by);
  // Blocks are chosen alike by both.
  const Forbidding scores(gpu, {KernelFamily::mma_scores});
  Comparison c;
  if (pass == Pass::forward) {
    compare_forward(use, c, wanted, found);
  } else {
    compare_gradients(use, c, wanted, found, by);
  }
  return c.difference();
}

std::string check_block_choice(const KernelUse& use, bool mma, Device& gpu) {
  Inputs there(mma ? gpu : host_device()), here(gpu);
  Problem wanted(use, there, {}), found(use, here, {});
  const auto choose = [&](Problem& p, std::initializer_list<KernelFamily> not_by) {
    const Forbidding scores(p.input.q.device(), not_by);
    const BlockChoice choice =
        choose_blocks(p.input.q, p.input.k, p.input.varlen, kPeaked * p.input.softmax_scale,
                      *p.pattern.chooser(), p.input.gate, ChoiceFor::all);
    return host_numbers(choice.rows);
  };
  const auto a = choose(wanted, {KernelFamily::mma_scores});
  const auto b = mma ? choose(found, {}) : choose(found, {KernelFamily::mma_scores});
  int64_t chosen = 0, other = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    chosen += bits(a[i]);
    other += bits(double(int64_t(a[i]) ^ int64_t(b[i])));
  }
  if (double(other) <= kOtherBlocks * double(chosen)) return "";
  return std::to_string(other) + " blocks are chosen on one side only, of " +
         std::to_string(chosen);
}

bool has_mma_scores(const KernelUse& use) {
  const BlockChooser* chooser = use.pattern.chooser();
  const auto* rule = chooser != nullptr ? std::get_if<XAttentionRule>(chooser) : nullptr;
  return rule != nullptr &&
         cuda::mma_scores(use.dtype, use.head_dim, rule->block / rule->stride, true);
}

AttentionKernels fastest_attention(const KernelUse& use, Pass pass, Device& gpu) {
  cuda::AttentionDevice device;
  run_on(
      gpu, [] {}, [&](auto) { device = cuda::attention_device(); }, [](MetaDevice&) {});
  const cuda::KernelQuestion question{
      .dtype = use.dtype,
      .shape = {kKvHeads * use.group, kKvHeads, use.head_dim},
      .tile_heads = heads_of_tile(use.group, use.pattern.shared_by(use.group)),
      .block = use.pattern.block(),
      .aligned = true,
      .gradients = pass == Pass::gradients};
  return cuda::choose_kernels(question, device);
}

}  // namespace elastron::ops::self_check
