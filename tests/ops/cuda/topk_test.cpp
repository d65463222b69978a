// The top k blocks on the GPU: the CPU's choice bit for bit, and attention over it by every kind of
// kernels.
#include "ops/topk.h"

#include "tests/ops/attention_pieces.h"
#include "tests/ops/cuda/attention_below_the_front.h"

namespace elastron::testing {
namespace {

class CudaTopk : public AttentionBelowTheFront {
 protected:
  static AttentionProblem problem_of(int64_t group, int64_t head_dim,
                                     const std::vector<int32_t>& lengths,
                                     const ops::TopkRule& rule) {
    AttentionProblem p = attention_problem(2 * group, 2, head_dim, lengths, Gates::mixed);
    p.sets = kFaXa;
    p.rule = {64, 1, 2};
    p.topk = rule;
    p.padding = 3;
    return p;
  }

  template <class Storage>
  ops::BlockChoice choose(const AttentionProblem& p, Device& device, ops::ChoiceFor whose) {
    const AttentionTensors<Storage> tensors(p, device);
    const auto& in = tensors.input;
    return ops::choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, *in.pattern.chooser(),
                              in.gate, whose);
  }
  template <class Storage>
  void expect_the_same_bits(const AttentionProblem& p) {
    for (const auto whose : {ops::ChoiceFor::all, ops::ChoiceFor::open, ops::ChoiceFor::closed}) {
      const auto here = choose<Storage>(p, cpu_, whose), there = choose<Storage>(p, *gpu_, whose);
      EXPECT_EQ(here.rows.template to_vector<int32_t>(), there.rows.template to_vector<int32_t>());
      EXPECT_EQ(here.columns.template to_vector<int32_t>(),
                there.columns.template to_vector<int32_t>());
    }
  }
};

TEST_F(CudaTopk, TheSameBitsAsOnTheCpu) {
  uint64_t seed = 1;
  for (const int64_t group : {1, 3, 4}) {
    for (const ops::TopkRule& rule :
         {ops::TopkRule{64, 3, 1}, ops::TopkRule{64, 2, 0}, ops::TopkRule{64, 1, 0},
          ops::TopkRule{64, 40, 2}, ops::TopkRule{128, 4, 1}}) {
      SCOPED_TRACE("group " + std::to_string(group) + " blocks " + std::to_string(rule.blocks));
      AttentionProblem p = problem_of(group, group == 3 ? 20 : 128, {1, 700, 0, 64, 2300}, rule);
      fill_problem<float>(p, ++seed);
      expect_the_same_bits<float>(p);
      fill_problem<bf16>(p, ++seed);
      expect_the_same_bits<bf16>(p);
    }
  }
}

// Scores that are equal, of either sign and zero, go by the block.
TEST_F(CudaTopk, EqualScoresInTheirOrder) {
  AttentionProblem p = problem_of(2, 16, {3000}, {64, 5, 1});
  fill_problem<float>(p, 1);
  for (size_t i = 0; i < p.k.size(); ++i) p.k[i] = double(i / (2 * 16 * 64) % 3) - 1;
  expect_the_same_bits<float>(p);
  std::fill(p.k.begin(), p.k.end(), 0.0);
  expect_the_same_bits<float>(p);
}

TEST_F(CudaTopk, PiecesChooseAsTheWhole) {
  AttentionProblem p = problem_of(2, 16, {130, 0, 1, 1500, 900}, {64, 4, 1});
  p.padding = 0;
  fill_problem<bf16>(p, 2);
  for (const int64_t blocks : {1, 3}) {
    expect_whole_choice<float>(*gpu_, p, blocks);
    expect_whole_choice<bf16>(*gpu_, p, blocks);
  }
}

// Query heads of a kv head share tiles as far as their number is a power of two: plain kernels, on
// tensor cores, for sm_90a (head_dim 64, blocks of 128).
TEST_F(CudaTopk, AttendsAsOnTheCpu) {
  uint64_t seed = 10;
  for (const ops::KeySetPair pair : {kFaXa, kXaSsa}) {
    for (const int64_t group : {4, 6}) {
      for (const auto& [dim, block] : {std::pair<int64_t, int64_t>{32, 64}, {64, 128}}) {
        SCOPED_TRACE(name_of(pair) + " group " + std::to_string(group) + " dim " +
                     std::to_string(dim));
        AttentionProblem p = problem_of(group, dim, {1, 0, 65, 300}, {block, 2, 0});
        p.sets = pair;
        p.padding = 0;  // the op's front clears it
        fill_problem<float>(p, ++seed, 2.0);
        if (dim == 32) compare<float>(p, 5e-5);
        fill_problem<bf16>(p, seed);
        compare<bf16>(p, 2e-2);
      }
    }
  }
}

}  // namespace
}  // namespace elastron::testing
