// Pieces of sequences, as ranks of a context group have them, against the whole sequences:
// XAttention and forms that count from a sequence's end.
#include "tests/ops/attention_pieces.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace elastron::testing {
namespace {

using ops::Branches;
using ops::KeySetKind;
using ops::KeySetPair;

const std::vector<int32_t> kLengths = {130, 1, 0, 64, 700, 1000};

AttentionProblem problem_of(KeySetPair pair, int64_t q_heads, int64_t kv_heads,
                            const std::vector<int32_t>& lengths) {
  AttentionProblem p = attention_problem(q_heads, kv_heads, 20, lengths, Gates::mixed);
  p.sets = pair;
  p.rule = {16, 1, 6};
  p.xattention = {16, 64, 0.6, false};
  return p;
}

void expect_whole(const AttentionProblem& whole, int64_t blocks, Branches branches) {
  const auto pieces = pieces_of(whole, blocks);
  expect_whole_run(joined(whole, pieces, run_attention<double>(cut(whole, pieces), branches)),
                   run_attention<double>(whole, branches), 1e-12);
}

TEST(AttentionPieces, AreTheWholeInModesWithBlocks) {
  int round = 0;
  for (const KeySetPair pair : {kFaXa, kXaSsa}) {
    for (const int64_t blocks : {1, 2, 3}) {
      for (const Branches branches : {Branches::both, Branches::selected}) {
        SCOPED_TRACE("pair " + name_of(pair) + " blocks " + std::to_string(blocks));
        AttentionProblem p = problem_of(pair, 4, 2, kLengths);
        p.xattention.block = round % 3 == 2 ? 128 : 64;
        p.xattention.threshold = 0.4 + 0.1 * (round % 4);
        p.padding = round % 2;
        fill_problem<float>(p, uint64_t(++round), 2.0);
        expect_whole(p, blocks, branches);
      }
    }
  }
}

// The last queries of the whole see all: in its last pieces, in others never, across a cut.
TEST(AttentionPieces, ADenseTailIsTheWholeSequences) {
  int round = 0;
  for (const KeySetPair pair : {kFaSsa, kXaSsa}) {
    for (const int64_t tail : {1, 60, 64, 100, 300, 2000}) {
      SCOPED_TRACE("pair " + name_of(pair) + " tail " + std::to_string(tail));
      AttentionProblem p = problem_of(pair, 4, 2, kLengths);
      p.rule.dense_tail = tail;
      fill_problem<float>(p, uint64_t(++round));
      expect_whole(p, 1 + round % 3, Branches::both);
    }
  }
}

// Without the whole length every piece would end with a dense tail.
TEST(AttentionPieces, TheWholeLengthDecides) {
  AttentionProblem p = problem_of(kFaSsa, 2, 1, {640});
  p.rule.dense_tail = 30;
  fill_problem<float>(p, 1);
  AttentionProblem piece = cut(p, {{0, 256, 512}});
  const AttentionRun run = run_attention<float>(piece);
  piece.whole_lengths = {};
  EXPECT_GT(largest_error(run.selected, run_attention<float>(piece).selected) +
                largest_error(run.other, run_attention<float>(piece).other),
            1e-3);
}

TEST(AttentionPieces, ChooseTheBlocksOfTheWhole) {
  CpuDevice device;
  int round = 0;
  for (const auto& [stride, block] :
       {std::pair<int64_t, int64_t>{16, 128}, {8, 64}, {4, 256}, {64, 64}, {2, 192}}) {
    for (const int64_t blocks : {1, 2, 5}) {
      SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(block));
      AttentionProblem p = problem_of(kFaXa, 4, 2, {130, 0, 1, 2600, 900});
      p.xattention = {stride, block, round % 2 == 0 ? 0.5 : 0.3, false};
      fill_problem<float>(p, uint64_t(++round), 3.0);
      expect_whole_choice<double>(device, p, blocks);
      expect_whole_choice<float>(device, p, blocks);
      fill_problem<bf16>(p, uint64_t(++round), 3.0);
      expect_whole_choice<bf16>(device, p, blocks);
    }
  }
}

// The first chunk of the published code, by positions, and as long as the batch's first sequence
// has it.
TEST(AttentionPieces, ThePublishedRuleIsThatOfTheWhole) {
  CpuDevice device;
  AttentionProblem p = problem_of(kFaXa, 1, 1, {5000, 6000, 3000});
  p.head_dim = 4;
  p.scale = 0.5;
  p.xattention = {16, 64, 0.7, true};
  fill_problem<float>(p, 3, 4.0);
  expect_whole_choice<float>(device, p, 4);
}

TEST(AttentionPieces, RefusesPartsOfBlocks) {
  AttentionProblem p = problem_of(kFaXa, 2, 1, {300});
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
