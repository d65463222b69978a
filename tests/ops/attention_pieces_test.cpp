// Pieces of sequences, as ranks of a context group have them, against the whole sequences:
// XAttention and forms that count from a sequence's end.
#include "tests/ops/attention_pieces.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace elastron::testing {
namespace {

using ops::AttentionMode;
using ops::Branches;

const std::vector<int32_t> kLengths = {130, 1, 0, 64, 700, 1000};

AttentionProblem problem_of(AttentionMode mode, int64_t q_heads, int64_t kv_heads,
                            const std::vector<int32_t>& lengths) {
  AttentionProblem p = attention_problem(q_heads, kv_heads, 20, lengths, Gates::mixed);
  p.mode = mode;
  p.rule = {16, 1, 6};
  p.xattention = {16, 64, 0.6, false};
  return p;
}

// Rows have the bits of the whole, and sums over the pieces are its own.
void expect_whole(const AttentionProblem& whole, int64_t blocks, Branches branches) {
  const auto pieces = pieces_of(whole, blocks);
  const AttentionRun truth = run_attention<double>(whole, branches);
  const AttentionRun run =
      joined(whole, pieces, run_attention<double>(cut(whole, pieces), branches));
  EXPECT_EQ(run.selected, truth.selected);
  EXPECT_EQ(run.other, truth.other);
  EXPECT_EQ(run.lse, truth.lse);
  EXPECT_EQ(run.lse_other, truth.lse_other);
  EXPECT_EQ(run.dq, truth.dq);
  EXPECT_EQ(run.visited, truth.visited);
  EXPECT_LE(largest_error(run.dk, truth.dk), 1e-12);
  EXPECT_LE(largest_error(run.dv, truth.dv), 1e-12);
  EXPECT_LE(largest_error(run.d_gate, truth.d_gate), 1e-11);
}

TEST(AttentionPieces, AreTheWholeInModesWithBlocks) {
  int round = 0;
  for (const AttentionMode mode : {AttentionMode::fa_xa, AttentionMode::xa_ssa}) {
    for (const int64_t blocks : {1, 2, 3}) {
      for (const Branches branches : {Branches::both, Branches::selected}) {
        SCOPED_TRACE("mode " + std::to_string(int(mode)) + " blocks " + std::to_string(blocks));
        AttentionProblem p = problem_of(mode, 4, 2, kLengths);
        p.xattention.block = round % 3 == 2 ? 128 : 64;
        p.xattention.threshold = 0.4 + 0.1 * (round % 4);
        p.padding = round % 2;
        fill_problem<float>(p, uint64_t(++round), 2.0);
        if (p.padding > 0) std::fill_n(p.q.end() - 80, 80, 0.0);
        expect_whole(p, blocks, branches);
      }
    }
  }
}

// The last queries of the whole see all: in its last pieces, in others never, across a cut.
TEST(AttentionPieces, ADenseTailIsTheWholeSequences) {
  int round = 0;
  for (const AttentionMode mode : {AttentionMode::fa_ssa, AttentionMode::xa_ssa}) {
    for (const int64_t tail : {1, 60, 64, 100, 300, 2000}) {
      SCOPED_TRACE("mode " + std::to_string(int(mode)) + " tail " + std::to_string(tail));
      AttentionProblem p = problem_of(mode, 4, 2, kLengths);
      p.rule.dense_tail = tail;
      fill_problem<float>(p, uint64_t(++round));
      expect_whole(p, 1 + round % 3, Branches::both);
    }
  }
}

// Without the whole length every piece would end with a dense tail.
TEST(AttentionPieces, TheWholeLengthDecides) {
  AttentionProblem p = problem_of(AttentionMode::fa_ssa, 2, 1, {640});
  p.rule.dense_tail = 30;
  fill_problem<float>(p, 1);
  AttentionProblem piece = cut(p, {{0, 256, 512}});
  const AttentionRun run = run_attention<float>(piece);
  piece.whole_lengths = {};
  EXPECT_GT(largest_error(run.selected, run_attention<float>(piece).selected) +
                largest_error(run.other, run_attention<float>(piece).other),
            1e-3);
}

ops::BlockChoice chosen(const ops::RoutedAttentionInput& in) {
  return ops::choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, in.xattention, in.gate,
                            ops::ChoiceFor::all);
}

// Bit for bit the rows of the whole, by rows and by columns.
template <class Storage>
void expect_whole_choice(const AttentionProblem& whole, int64_t blocks) {
  CpuDevice device;
  const auto pieces = pieces_of(whole, blocks);
  const AttentionTensors<Storage> tensors(whole, device), parts(cut(whole, pieces), device);
  const ops::BlockChoice truth = chosen(tensors.input), choice = chosen(parts.input);
  const ops::BlockChoiceView a = truth.view(), b = choice.view();
  const int64_t block = whole.xattention.block;
  int64_t left_out = 0;
  for (size_t n = 0; n < pieces.size(); ++n) {
    const AttentionPiece& piece = pieces[n];
    const auto s = size_t(piece.sequence);
    const int64_t length = whole.cu_seqlens[s + 1] - whole.cu_seqlens[s];
    const int64_t before = piece.begin / block, keys = (piece.end + block - 1) / block;
    for (int64_t h = 0; h < whole.q_heads; ++h) {
      for (int64_t i = before; i < keys; ++i) {
        const auto row = a.row(h, piece.sequence, length, i);
        const auto own = b.row(h, int64_t(n), piece.end, i - before);
        for (int64_t j = 0; j < keys; ++j) {
          ASSERT_EQ(own.has(j), row.has(j)) << "head " << h << " blocks " << i << " " << j;
          ASSERT_EQ(own.has(j),
                    b.column(h, int64_t(n), piece.end - piece.begin, j).has(i - before));
          left_out += row.has(j) || j > i ? 0 : 1;
        }
      }
    }
  }
  EXPECT_GT(left_out, 0);
}

TEST(AttentionPieces, ChooseTheBlocksOfTheWhole) {
  int round = 0;
  for (const auto& [stride, block] :
       {std::pair<int64_t, int64_t>{16, 128}, {8, 64}, {4, 256}, {64, 64}, {2, 192}}) {
    for (const int64_t blocks : {1, 2, 5}) {
      SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(block));
      AttentionProblem p = problem_of(AttentionMode::fa_xa, 4, 2, {130, 0, 1, 2600, 900});
      p.xattention = {stride, block, round % 2 == 0 ? 0.5 : 0.3, false};
      fill_problem<float>(p, uint64_t(++round), 3.0);
      expect_whole_choice<double>(p, blocks);
      expect_whole_choice<float>(p, blocks);
      fill_problem<bf16>(p, uint64_t(++round), 3.0);
      expect_whole_choice<bf16>(p, blocks);
    }
  }
}

// The first chunk of the published code, by positions, and as long as the batch's first sequence
// has it.
TEST(AttentionPieces, ThePublishedRuleIsThatOfTheWhole) {
  AttentionProblem p = problem_of(AttentionMode::fa_xa, 1, 1, {5000, 6000, 3000});
  p.head_dim = 4;
  p.scale = 0.5;
  p.xattention = {16, 64, 0.7, true};
  fill_problem<float>(p, 3, 4.0);
  expect_whole_choice<float>(p, 4);
}

TEST(AttentionPieces, RefusesPartsOfBlocks) {
  AttentionProblem p = problem_of(AttentionMode::fa_xa, 2, 1, {300});
  fill_problem<float>(p, 7);
  CpuDevice device;
  const auto refused = [&](const AttentionProblem& piece) {
    EXPECT_THROW(run_attention<float>(piece), LogicError);
    const AttentionTensors<float> tensors(piece, device);
    EXPECT_THROW(chosen(tensors.input), LogicError);
  };
  refused(cut(p, {{0, 30, 128}}));
  refused(cut(p, {{0, 64, 100}}));
  AttentionProblem longer = cut(p, {{0, 64, 128}});
  EXPECT_NO_THROW(run_attention<float>(longer));
  longer.whole_lengths = {100};
  EXPECT_THROW(run_attention<float>(longer), LogicError);
  longer.whole_lengths = {300, 300};
  EXPECT_THROW(run_attention<float>(longer), LogicError);
}

}  // namespace
}  // namespace elastron::testing
