// Pieces of sequences on the GPU, as ranks of a context group have them, against the whole
// sequences there: every kernel, in the modes with XAttention and with a dense tail.
#include "tests/ops/attention_pieces.h"

#include "ops/cuda/attention/hopper_kernels.h"
#include "tests/ops/cuda/both_devices.h"

namespace elastron::testing {
namespace {

using ops::AttentionKernels;
using ops::Branches;
using ops::KeySetKind;
using ops::KeySetPair;

class CudaAttentionPieces : public test::BothDevices {
 protected:
  template <class Storage>
  void expect_whole(const AttentionProblem& whole, int64_t blocks, Branches branches,
                    AttentionKernels kernels, double tolerance) {
    const auto run = [&](const AttentionProblem& p) {
      return run_attention_on<Storage>(*gpu_, p, branches, true, ops::FullAttentionBy::own,
                                       kernels);
    };
    const auto pieces = pieces_of(whole, blocks);
    expect_whole_run(joined(whole, pieces, run(cut(whole, pieces))), run(whole), tolerance);
  }

  // Modes with blocks, and a dense tail that goes over a cut.
  template <class Storage>
  void every_mode(int64_t block, int64_t group, AttentionKernels kernels, double tolerance) {
    int round = 0;
    for (const KeySetPair pair : kPairs) {
      for (const Branches branches : {Branches::both, Branches::selected}) {
        SCOPED_TRACE("pair " + name_of(pair) + " kernels " + std::to_string(int(kernels)) +
                     (branches == Branches::both ? " both" : " selected"));
        AttentionProblem p =
            attention_problem(2 * group, 2, 64, {int32_t(block), 1, 0, 700}, Gates::mixed);
        p.sets = pair;
        p.rule = {16, 1, 6};
        p.rule.dense_tail = 150;
        p.xattention = {16, block, 0.4 + 0.1 * (round % 3), false};
        fill_problem<bf16>(p, uint64_t(++round), 2.0);
        expect_whole<Storage>(p, 1 + round % 2, branches, kernels, tolerance);
      }
    }
  }
};

TEST_F(CudaAttentionPieces, PlainKernels) {
  every_mode<float>(64, 2, AttentionKernels::plain, 1e-5);
}

TEST_F(CudaAttentionPieces, TensorCores) { every_mode<bf16>(64, 2, AttentionKernels::mma, 2e-2); }

TEST_F(CudaAttentionPieces, Hopper) {
  need_hopper_kernels();
  if (HasFatalFailure() || IsSkipped()) return;
  every_mode<bf16>(128, 2, AttentionKernels::hopper, 2e-2);
}

// By the plain kernel and by that on tensor cores; the published rule in the first chunk as well.
TEST_F(CudaAttentionPieces, ChooseTheBlocksOfTheWhole) {
  int round = 0;
  for (const auto& [stride, block] :
       {std::pair<int64_t, int64_t>{16, 128}, {8, 64}, {64, 64}, {2, 192}}) {
    for (const int64_t blocks : {1, 3}) {
      SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(block));
      AttentionProblem p = attention_problem(2, 1, 16, {130, 0, 1, 1500, 900}, Gates::mixed);
      p.sets = kFaXa;
      p.xattention = {stride, block, round % 2 == 0 ? 0.5 : 0.3, false};
      fill_problem<bf16>(p, uint64_t(++round), 3.0);
      expect_whole_choice<float>(*gpu_, p, blocks);
      expect_whole_choice<bf16>(*gpu_, p, blocks);
    }
  }
  AttentionProblem p = attention_problem(1, 1, 8, {5000, 4000}, Gates::mixed);
  p.sets = kFaXa;
  p.xattention = {16, 64, 0.7, true};
  fill_problem<bf16>(p, 3, 4.0);
  expect_whole_choice<float>(*gpu_, p, 10);
  expect_whole_choice<bf16>(*gpu_, p, 10);
}

}  // namespace
}  // namespace elastron::testing
