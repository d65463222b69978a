// The choice of the top k blocks: against its words, its invariants, and whole runs against
// PyTorch.
#include "ops/topk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "ops/detail/topk_math.h"
#include "tests/ops/attention_oracle.h"
#include "tests/ops/attention_pieces.h"
#include "tests/support/topk_reference.h"

namespace elastron::testing {
namespace {

AttentionProblem problem_of(int64_t group, const std::vector<int32_t>& lengths,
                            const ops::TopkRule& rule, Gates gates = Gates::mixed) {
  AttentionProblem p = attention_problem(2 * group, 2, 20, lengths, gates);
  p.sets = kFaXa;
  p.rule = {64, 1, 2};
  p.topk = rule;
  return p;
}

template <class Storage>
ops::BlockChoice choice_of(const AttentionProblem& p, Device& device,
                           ops::ChoiceFor whose = ops::ChoiceFor::all) {
  const AttentionTensors<Storage> tensors(p, device);
  const auto& in = tensors.input;
  return ops::choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, *in.pattern.chooser(), in.gate,
                            whose);
}

// f(sequence, kv head, rows as sets of key blocks), after rows and columns were seen to agree.
template <class F>
void over_rows(const AttentionProblem& p, const ops::BlockChoice& choice, const F& f) {
  const ops::BlockChoiceView view = choice.view();
  ASSERT_EQ(choice.rows.size(0), p.kv_heads);
  ASSERT_EQ(choice.shared_by, p.group());
  for (int64_t s = 0; s < p.sequences(); ++s) {
    const int64_t length = p.cu_seqlens[size_t(s) + 1] - p.cu_seqlens[size_t(s)];
    const int64_t blocks = (length + p.block() - 1) / p.block();
    for (int64_t kv = 0; kv < p.kv_heads; ++kv) {
      std::vector<std::set<int64_t>> rows{size_t(blocks)};
      for (int64_t h = kv * p.group(); h < (kv + 1) * p.group(); ++h) {
        for (int64_t i = 0; i < blocks; ++i) {
          for (int64_t j = 0; j < blocks; ++j) {
            const bool has = view.row(h, s, length, i).has(j);
            ASSERT_EQ(has, view.column(h, s, length, j).has(i));
            if (has) rows[size_t(i)].insert(j);
          }
        }
      }
      f(s, kv, rows);
    }
  }
}

template <class Storage>
void expect_reference(AttentionProblem p, uint64_t seed) {
  CpuDevice device;
  fill_problem<Storage>(p, seed);
  over_rows(p, choice_of<Storage>(p, device), [&](int64_t s, int64_t kv, const auto& rows) {
    EXPECT_EQ(rows, topk_reference(p, s, kv)) << s << " " << kv;
  });
}

TEST(Topk, ChoosesAsItsWordsSay) {
  uint64_t seed = 1;
  for (const int64_t group : {1, 3, 4}) {
    for (const ops::TopkRule& rule : {ops::TopkRule{64, 3, 1}, ops::TopkRule{64, 4, 0},
                                      ops::TopkRule{128, 1, 0}, ops::TopkRule{192, 3, 2}}) {
      SCOPED_TRACE("group " + std::to_string(group) + " blocks " + std::to_string(rule.blocks) +
                   " of " + std::to_string(rule.block));
      const AttentionProblem p = problem_of(group, {700, 1, 0, 64, 65, 1000}, rule);
      expect_reference<double>(p, ++seed);
      expect_reference<float>(p, ++seed);
      expect_reference<bf16>(p, ++seed);
    }
  }
}

TEST(Topk, TheSinkAndTheOwnBlockAreAlwaysRead) {
  CpuDevice device;
  for (const int64_t sink : {0, 1, 3}) {
    for (const int64_t blocks : {sink + 1, sink + 2, sink + 5}) {
      AttentionProblem p = problem_of(2, {2000, 200}, {64, blocks, sink});
      fill_problem<float>(p, 9);
      over_rows(p, choice_of<float>(p, device), [&](int64_t, int64_t, const auto& rows) {
        for (int64_t i = 0; i < int64_t(rows.size()); ++i) {
          const auto& row = rows[size_t(i)];
          EXPECT_EQ(int64_t(row.size()), std::min(i + 1, blocks));
          EXPECT_EQ(*row.rbegin(), i);
          for (int64_t j = 0; j < std::min(sink, i + 1); ++j) EXPECT_TRUE(row.contains(j));
        }
      });
    }
  }
}

TEST(Topk, OfEqualsTheLowerBlock) {
  CpuDevice device;
  AttentionProblem p = problem_of(2, {1000}, {64, 4, 1});
  fill_problem<float>(p, 3);
  std::fill(p.k.begin(), p.k.end(), 0.25);
  over_rows(p, choice_of<float>(p, device), [&](int64_t, int64_t, const auto& rows) {
    for (int64_t i = 4; i < int64_t(rows.size()); ++i) {
      EXPECT_EQ(rows[size_t(i)], (std::set<int64_t>{0, 1, 2, i}));
    }
  });
  // Zeros of either sign are one score.
  std::ranges::fill(p.k, 0);
  for (size_t i = 0; i < p.q.size(); ++i) p.q[i] = i % 3 == 0 ? -1 : 1;
  over_rows(p, choice_of<float>(p, device), [&](int64_t, int64_t, const auto& rows) {
    EXPECT_EQ(rows.back(), (std::set<int64_t>{0, 1, 2, 15}));
  });
}

TEST(Topk, OrderOfScores) {
  const auto check = []<class T>(T) {
    const T values[] = {-std::numeric_limits<T>::infinity(),
                        std::numeric_limits<T>::lowest(),
                        T(-1),
                        -std::numeric_limits<T>::denorm_min(),
                        T(0),
                        std::numeric_limits<T>::denorm_min(),
                        T(1),
                        std::numeric_limits<T>::max(),
                        std::numeric_limits<T>::infinity()};
    for (size_t i = 1; i < std::size(values); ++i) {
      EXPECT_LT(ops::detail::order_key(values[i - 1]), ops::detail::order_key(values[i])) << i;
    }
    EXPECT_EQ(ops::detail::order_key(T(-0.0)), ops::detail::order_key(T(0)));
  };
  check(float{});
  check(double{});
}

// With as many blocks as there are both branches are full attention, bit for bit.
TEST(Topk, AllBlocksAreFullAttention) {
  AttentionProblem p = problem_of(4, {500, 70}, {64, 8, 1}, Gates::sparse);
  fill_problem<float>(p, 4);
  const AttentionRun run = run_attention<float>(p);
  EXPECT_EQ(run.selected, run.other);
  EXPECT_EQ(run.lse, run.lse_other);
  for (const double d : run.d_gate) EXPECT_EQ(d, 0);
  AttentionProblem dense = p;
  dense.sets = kFaSsa;
  dense.rule = {64, 0, 100};
  const AttentionRun truth = run_attention<float>(dense);
  EXPECT_LE(largest_error(run.selected, truth.selected), 1e-6);
  EXPECT_LE(largest_error(run.dk, truth.dk), 1e-5);
  p.topk->blocks = 3;
  EXPECT_GT(largest_error(run_attention<float>(p).selected, truth.selected), 1e-3);
}

TEST(Topk, BlocksOfHeadsThatNeedThem) {
  CpuDevice device;
  AttentionProblem p = problem_of(2, {600, 300}, {64, 3, 1}, Gates::mixed);
  fill_problem<float>(p, 5);
  const auto all = choice_of<float>(p, device);
  for (const bool open : {true, false}) {
    const auto some =
        choice_of<float>(p, device, open ? ops::ChoiceFor::open : ops::ChoiceFor::closed);
    for (int64_t s = 0; s < p.sequences(); ++s) {
      const int64_t length = p.cu_seqlens[size_t(s) + 1] - p.cu_seqlens[size_t(s)];
      for (int64_t h = 0; h < p.q_heads; ++h) {
        const bool wanted = (p.gate[size_t(s * p.kv_heads + h / p.group())] != 0) == open;
        for (int64_t i = 0; i * 64 < length; ++i) {
          for (int64_t j = 0; j <= i; ++j) {
            EXPECT_EQ(some.view().row(h, s, length, i).has(j),
                      wanted && all.view().row(h, s, length, i).has(j));
          }
        }
      }
    }
  }
}

// Ranks of a context group have pieces of a sequence and all keys before their end.
TEST(Topk, PiecesChooseAndAttendAsTheWhole) {
  CpuDevice device;
  uint64_t seed = 20;
  for (const ops::KeySetPair pair : {kFaXa, kXaSsa}) {
    for (const int64_t group : {1, 2, 3}) {
      AttentionProblem p = problem_of(group, {700, 64, 0, 1, 333}, {64, 3, 1});
      p.sets = pair;
      p.rule = {16, 1, 3};
      fill_problem<float>(p, ++seed);
      for (const int64_t blocks : {1, 3}) {
        expect_whole_choice<float>(device, p, blocks);
        expect_whole_choice<bf16>(device, p, blocks);
        const auto pieces = pieces_of(p, blocks);
        expect_whole_run(joined(p, pieces, run_attention<float>(cut(p, pieces))),
                         run_attention<float>(p), 1e-5);
      }
    }
  }
}

TEST(Topk, RefusesRulesThatChooseNothing) {
  CpuDevice device;
  for (const ops::TopkRule& rule :
       {ops::TopkRule{96, 4, 1}, ops::TopkRule{0, 4, 1}, ops::TopkRule{64, 0, 0},
        ops::TopkRule{64, 2, 2}, ops::TopkRule{64, 2, -1}}) {
    AttentionProblem p = problem_of(1, {100}, rule);
    fill_problem<float>(p, 1);
    EXPECT_THROW(choice_of<float>(p, device), LogicError);
  }
}

// tests/oracle/make_topk_fixtures.py: its own choice, dense scores and autograd.
class TopkPyTorch : public ::testing::TestWithParam<const char*> {};

TEST_P(TopkPyTorch, Agrees) {
  AttentionFixture fixture(std::string("topk/") + GetParam());
  AttentionProblem& p = fixture.problem;
  const auto topk = fixture.numbers("topk");
  p.topk = ops::TopkRule{topk[0], topk[1], topk[2]};
  p.sets = topk[3] != 0 ? kXaSsa : kFaXa;
  fixture.compare(run_attention<double>(p), 1e-13, 1e-12, 1e-11);
  fixture.compare(run_attention<float>(p), 5e-6, 5e-5, 5e-4);  // the inputs are float values
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TopkPyTorch, ::testing::Values("fa_topk", "topk_ssa"));

}  // namespace
}  // namespace elastron::testing
