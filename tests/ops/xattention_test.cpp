// XAttention's choice against docs/method.md, Worked values, and against the formulas written
// plainly.
#include "ops/cpu/xattention.h"

#include <gtest/gtest.h>
#include <omp.h>

#include "core/error.h"
#include "ops/detail/xattention_math.h"
#include "tests/ops/routed_attention_problem.h"
#include "tests/support/xattention_reference.h"

namespace elastron::testing {
namespace {

using ops::ChoiceFor;

std::set<int64_t> selected(const std::vector<double>& mass, double need, bool lagging) {
  std::vector<int64_t> units;
  for (const double m : mass) units.push_back(ops::detail::mass_units(m));
  std::set<int64_t> chosen;
  ops::cpu::select_blocks(units, ops::detail::needed_units(need, 1), lagging,
                          [&](int64_t j) { chosen.insert(j); });
  return chosen;
}

TEST(XAttention, WorkedSelection) {  // docs/method.md, Worked values, 11
  const std::vector<double> mass = {.05, .10, .40, .02, .25, .18};
  using Set = std::set<int64_t>;
  EXPECT_EQ(selected(mass, 0.9, false), (Set{0, 1, 2, 4, 5}));
  EXPECT_EQ(selected(mass, 0.8, false), (Set{0, 2, 4, 5}));
  EXPECT_EQ(selected(mass, 0.8, true), (Set{0, 1, 2, 4, 5}));
  EXPECT_EQ(selected({1.0}, 0.9, false), (Set{0}));
}

TEST(XAttention, SelectionAgreesWithTheWords) {
  std::mt19937_64 engine(7);
  std::uniform_int_distribution<int> count(1, 40), size(0, 12);
  for (int round = 0; round < 500; ++round) {
    std::vector<double> mass(size_t(count(engine)));
    double total = 0;
    // Multiples of 1/64 add up exactly, and there are many equals.
    for (double& m : mass) total += m = size(engine) / 64.0;
    for (const double share : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      for (const bool lagging : {false, true}) {
        const double need = share * total;
        std::vector<int64_t> units;
        for (const double m : mass) units.push_back(ops::detail::mass_units(m));
        std::set<int64_t> chosen;
        ops::cpu::select_blocks(units, ops::detail::mass_units(need), lagging,
                                [&](int64_t j) { chosen.insert(j); });
        EXPECT_EQ(chosen, selection_reference(mass, need, lagging)) << round << " " << share;
      }
    }
  }
}

TEST(XAttention, ChunksOfThePublishedCode) {  // docs/method.md, Worked values, 11
  const std::pair<int64_t, int64_t> values[] = {{1000, 2048},  {8192, 8192},  {8193, 16384},
                                                {16385, 8192}, {40000, 4096}, {65537, 2048}};
  for (const auto& [tokens, chunk] : values) {
    EXPECT_EQ(ops::detail::reference_chunk(tokens), chunk) << tokens;
  }
}

TEST(XAttention, WorkedMasses) {  // docs/method.md, Worked values, 10
  AttentionProblem p;
  p.cu_seqlens = {0, 12};
  p.xattention.stride = 2;
  p.xattention.block = 4;
  p.q = {1, 0, 0, 1, 1, 0, 2, 1, 0, 2, 1, 1};
  p.k = {1, 1, 0, 0, 2, 0, 0, 1, 1, 0, 3, 1};
  const Masses mass = mass_reference(p, 0, 0);
  EXPECT_NEAR(mass[1][0], 1.22800, 1e-5);
  EXPECT_NEAR(mass[1][1], 0.77200, 1e-5);
  EXPECT_NEAR(mass[2][0], 0.46795, 1e-5);
  EXPECT_NEAR(mass[2][1], 0.82088, 1e-5);
  EXPECT_NEAR(mass[2][2], 0.71116, 1e-5);
  using Set = std::set<int64_t>;
  EXPECT_EQ(selection_reference(mass[2], 0.9 * 2, false), (Set{0, 1, 2}));
  EXPECT_EQ(selection_reference(mass[2], 0.5 * 2, false), (Set{0, 2}));
}

AttentionProblem problem_of(int64_t q_heads, int64_t kv_heads, int64_t head_dim,
                            const std::vector<int32_t>& lengths) {
  AttentionProblem p = attention_problem(q_heads, kv_heads, head_dim, lengths, Gates::mixed);
  p.sets = kFaXa;
  return p;
}

template <class Storage>
ops::BlockChoice choose(const AttentionProblem& p, ChoiceFor whose = ChoiceFor::all) {
  static CpuDevice device;
  const AttentionTensors<Storage> tensors(p, device);
  const auto& in = tensors.input;
  return ops::choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, *in.pattern.chooser(), in.gate,
                            whose);
}

template <class Storage>
void expect_reference(const AttentionProblem& p) {
  const ops::BlockChoice choice = choose<Storage>(p);
  const Choice truth = choice_reference(p);
  const auto view = choice.view();
  for (int64_t s = 0; s < p.sequences(); ++s) {
    const int64_t length = p.cu_seqlens[size_t(s) + 1] - p.cu_seqlens[size_t(s)];
    const int64_t blocks = ceil_of(length, p.xattention.block);
    for (int64_t h = 0; h < p.q_heads; ++h) {
      for (int64_t i = 0; i < blocks; ++i) {
        std::set<int64_t> row;
        for (int64_t j = 0; j < blocks; ++j) {
          if (view.row(h, s, length, i).has(j)) row.insert(j);
          ASSERT_EQ(view.row(h, s, length, i).has(j), view.column(h, s, length, j).has(i));
        }
        ASSERT_EQ(row, truth[size_t(s)][size_t(h)][size_t(i)])
            << "sequence " << s << " head " << h << " block " << i;
      }
    }
  }
}

TEST(XAttention, AgreesWithTheFormulas) {
  int round = 0;
  for (const bool reference : {false, true}) {
    for (const auto& [stride, block] :
         {std::pair<int64_t, int64_t>{16, 128}, {8, 64}, {4, 256}, {64, 64}, {2, 192}}) {
      AttentionProblem p = problem_of(4, 2, 20, {1, 15, 130, 0, 700, 1000, 16, 128});
      p.xattention = {stride, block, round % 2 == 0 ? 0.9 : 0.6, reference};
      p.padding = 3;
      SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(block));
      fill_problem<float>(p, uint64_t(++round), 3.0);
      expect_reference<double>(p);
      expect_reference<float>(p);
      fill_problem<bf16>(p, uint64_t(++round), 3.0);
      expect_reference<bf16>(p);
    }
  }
}

// A first chunk, where the published rule differs, and what follows it, where it does not.
TEST(XAttention, ThePublishedRuleEndsWithTheFirstChunk) {
  AttentionProblem p = problem_of(1, 1, 4, {1100, 3000});
  p.xattention = {16, 64, 0.7, true};
  fill_problem<float>(p, 3, 4.0);
  expect_reference<float>(p);
  AttentionProblem exact = p;
  exact.xattention.reference = false;
  const Choice lagging = choice_reference(p), plain = choice_reference(exact);
  int differ = 0;
  for (size_t i = 0; i < plain[1][0].size(); ++i) {
    const bool same = lagging[1][0][i] == plain[1][0][i];
    differ += same ? 0 : 1;
    EXPECT_TRUE(same || i * 64 < 2048);
  }
  EXPECT_GT(differ, 10);
}

TEST(XAttention, OnlyTheHeadsThatNeedIt) {
  AttentionProblem p = problem_of(4, 2, 16, {300, 200});
  fill_problem<float>(p, 4);
  const auto all = choose<float>(p).rows.to_vector<int32_t>();
  const auto open = choose<float>(p, ChoiceFor::open).rows.to_vector<int32_t>();
  const auto closed = choose<float>(p, ChoiceFor::closed).rows.to_vector<int32_t>();
  size_t bits = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(open[i] | closed[i], all[i]);
    EXPECT_EQ(open[i] & closed[i], 0);
    bits += open[i] != 0 ? 1 : 0;
  }
  EXPECT_GT(bits, 0u);
  EXPECT_LT(bits, all.size());
}

TEST(XAttention, ThreadsDoNotChangeBits) {
  AttentionProblem p = problem_of(4, 2, 16, {900, 130, 1});
  fill_problem<float>(p, 5, 2.0);
  const auto truth = choose<float>(p);
  const int before = omp_get_max_threads();
  for (const int n : {1, 3, 8}) {
    omp_set_num_threads(n);
    const auto choice = choose<float>(p);
    EXPECT_EQ(choice.rows.to_vector<int32_t>(), truth.rows.to_vector<int32_t>()) << n;
    EXPECT_EQ(choice.columns.to_vector<int32_t>(), truth.columns.to_vector<int32_t>()) << n;
  }
  omp_set_num_threads(before);
}

// Linear in the sequence: scores of all pairs of groups never exist.
TEST(XAttention, WorkingMemoryIsLinear) {
  const ops::XAttentionRule rule;
  const auto bytes = [&](int64_t tokens) {
    return int64_t(ops::cpu::xattention_workspace(rule, 128, tokens, 4));
  };
  const int64_t step = bytes(131072) - bytes(65536);
  EXPECT_EQ(bytes(262144) - bytes(131072), 2 * step);
  EXPECT_LE(step, 65536 * 8);
}

TEST(XAttention, ExtremeScoresStayInOrder) {
  AttentionProblem p = problem_of(2, 1, 16, {400});
  fill_problem<float>(p, 6);
  p.scale = 1;
  for (double& x : p.q) x = x > 0 ? 25 : -25;
  for (double& x : p.k) x = x > 0 ? 25 : -25;
  expect_reference<float>(p);
}

TEST(XAttention, RefusesWhatItCannotDo) {
  AttentionProblem p = problem_of(2, 1, 16, {100});
  fill_problem<float>(p, 7);
  p.xattention.block = 96;
  EXPECT_THROW(choose<float>(p), LogicError);
  p.xattention = {24, 128, 0.9, false};
  EXPECT_THROW(choose<float>(p), LogicError);
  p.xattention = {16, 128, 1.5, false};
  EXPECT_THROW(choose<float>(p), LogicError);
}

}  // namespace
}  // namespace elastron::testing
