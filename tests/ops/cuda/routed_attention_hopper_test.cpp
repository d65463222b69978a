// The kernels for sm_90a against the CPU, on their own queue: every pair, lengths around a tile,
// every gate, sequences with a prompt of others.
#include <random>

#include "ops/cuda/attention/hopper_kernels.h"
#include "tests/ops/cuda/both_devices.h"
#include "tests/ops/routed_attention_problem.h"

namespace elastron::testing {
namespace {

using ops::cuda::ScheduledTile;

class HopperAttention : public test::BothDevices {
 protected:
  void SetUp() override {
    BothDevices::SetUp();
    need_hopper_kernels();
  }

  template <class T>
  Tensor there(const std::vector<T>& values) {
    return Tensor::from(values, {int64_t(values.size())}, *gpu_);
  }

  // Every tile once, in any order: results may not depend on it.
  std::vector<ScheduledTile> tiles_of(const AttentionProblem& p, int64_t heads) {
    std::vector<ScheduledTile> tiles;
    const int64_t each = ops::cuda::kHopperRows / heads;
    for (int64_t s = 0; s < p.sequences(); ++s) {
      const int64_t length = p.cu_seqlens[size_t(s) + 1] - p.cu_seqlens[size_t(s)];
      for (int64_t t = 0; t * each < length; ++t) {
        for (int64_t h = 0; h < p.q_heads; h += heads) {
          tiles.push_back({int32_t(s), int32_t(h), int32_t(t), 1});
        }
      }
    }
    std::shuffle(tiles.begin(), tiles.end(), random_);
    tiles.push_back({0, 0, 0, 0});  // from here on there is nothing to do
    tiles.push_back({0, 0, 0, 0});
    return tiles;
  }

  struct Outputs {
    Tensor selected, other, lse, lse_other, visited;
  };
  Outputs forward(const AttentionProblem& p, ops::Branches branches, const ops::BlockChoice& choice,
                  ops::cuda::Pairs pairs = ops::cuda::Pairs::all) {
    AttentionTensors<bf16> tensors(p, *gpu_);
    const auto& in = tensors.input;
    ops::AttentionForwardArgs args;
    const auto view = [](const Tensor& t) { return ops::HeadsView{t.raw(), t.stride(0)}; };
    args.q = view(in.q);
    args.k = view(in.k);
    args.v = view(in.v);
    args.gate = pairs == ops::cuda::Pairs::all ? in.gate.data<uint8_t>() : nullptr;
    args.varlen = in.varlen;
    args.sets = in.pattern.kinds();
    args.rule = in.pattern.rule();
    ops::BlockChoice choice_there = choice;
    if (choice.defined()) {
      choice_there.rows = on_gpu(choice.rows);
      choice_there.columns = on_gpu(choice.columns);
      choice_there.starts = on_gpu(choice.starts);
      args.choice = choice_there.view();
    }
    args.shape = {p.q_heads, p.kv_heads, p.head_dim};
    args.scale = p.scale;
    EXPECT_TRUE(ops::cuda::hopper_takes(ops::cuda::kernel_question(
        DType::bf16, args, {args.q, args.k, args.v}, /*gradients=*/false)));
    Outputs out;
    const Shape rows{p.tokens(), p.q_heads};
    out.selected = Tensor::empty(in.q.shape(), DType::bf16, *gpu_);
    out.lse = Tensor::empty(rows, DType::f32, *gpu_);
    if (branches == ops::Branches::both) {
      out.other = Tensor::empty(in.q.shape(), DType::bf16, *gpu_);
      out.lse_other = Tensor::empty(rows, DType::f32, *gpu_);
      args.other = out.other.raw();
      args.lse_other = out.lse_other.raw();
    }
    args.selected = out.selected.raw();
    args.lse = out.lse.raw();
    const auto tiles = tiles_of(p, args.tile_heads());
    std::vector<int32_t> numbers;
    for (const ScheduledTile& t : tiles) {
      for (const int32_t x : {t.sequence, t.head, t.tile, t.cost}) numbers.push_back(x);
    }
    const Tensor list = there(numbers), next = there(std::vector<int32_t>{0});
    const Tensor cu = there(p.cu_seqlens);
    const Tensor cu_keys = there(p.cu_keys.empty() ? p.cu_seqlens : p.cu_keys);
    const ops::cuda::SequenceTiles bounds{.cu_seqlens = cu.data<int32_t>(),
                                          .cu_keys = cu_keys.data<int32_t>()};
    out.visited = Tensor::zeros({p.sequences(), p.kv_heads}, DType::i64, *gpu_);
    args.visited = out.visited.data<int64_t>();
    ops::cuda::count_visited_tiles(args, bounds, gpu_->stream());
    ops::cuda::hopper_attention_forward(args, bounds,
                                        {static_cast<const ScheduledTile*>(list.raw()),
                                         int32_t(tiles.size()), next.data<int32_t>()},
                                        pairs, gpu_->stream());
    return out;
  }

  // All tokens, and nothing written behind them.
  void expect_rows(const Tensor& cpu, const Tensor& gpu, const AttentionProblem& p,
                   const std::string& what) {
    ASSERT_EQ(cpu.defined(), gpu.defined()) << what;
    if (!cpu.defined()) return;
    const int64_t tokens = p.cu_seqlens.back();
    const auto a = numbers(cpu), b = numbers(gpu);
    const size_t each = a.size() / size_t(p.tokens());
    for (size_t i = 0; i < a.size(); ++i) {
      if (i < size_t(tokens) * each) {
        ASSERT_NEAR(a[i], b[i], 2e-2) << what << " token " << i / each << " item " << i % each;
      } else {
        ASSERT_TRUE(std::isnan(b[i])) << what;
      }
    }
  }

  void compare(const AttentionProblem& p, const std::string& what) {
    for (const ops::Branches branches : {ops::Branches::both, ops::Branches::selected}) {
      AttentionTensors<bf16> tensors(p, cpu_);
      const auto expected = ops::routed_attention_forward(tensors.input, branches);
      const Outputs out = forward(p, branches, expected.choice);
      const std::string of = what + (branches == ops::Branches::both ? ", both" : ", selected");
      expect_rows(expected.selected, out.selected, p, of + ": selected");
      expect_rows(expected.other, out.other, p, of + ": other");
      expect_rows(expected.lse, out.lse, p, of + ": lse");
      expect_rows(expected.lse_other, out.lse_other, p, of + ": lse of the other");
      EXPECT_EQ(expected.visited.to_vector<int64_t>(), out.visited.to_vector<int64_t>()) << of;
    }
  }

  AttentionProblem problem(int64_t kv_heads, int64_t group, int64_t dim,
                           const std::vector<int32_t>& lengths, const ops::StreamingRule& rule) {
    AttentionProblem p;
    p.q_heads = kv_heads * group;
    p.kv_heads = kv_heads;
    p.head_dim = dim;
    for (const int32_t n : lengths) p.cu_seqlens.push_back(p.cu_seqlens.back() + n);
    p.rule = rule;
    p.scale = 1 / std::sqrt(double(dim));
    for (int64_t i = 0; i < p.sequences() * kv_heads; ++i) p.gate.push_back(uint8_t(random_() % 2));
    return p;
  }

  std::mt19937 random_{1};
};

// Every group, rules finer and coarser than a tile, whatever the gates say.
TEST_F(HopperAttention, FullAndStreaming) {
  const ops::StreamingRule rules[] = {
      {16, 1, 2},
      {64, 0, 1},
      {5, 2, 3},
      {64, 2, 1},
      {16, 0, 1},
      {128, 1, 2},
      {1, 0, 1},
      {100, 1, 1},
      {.block = 16, .sink_blocks = 1, .local_blocks = 2, .dense_tail = 70}};
  for (int round = 0; round < 18; ++round) {
    const int64_t groups[] = {1, 2, 3, 4, 5, 6, 7, 8, 16};
    const int64_t group = groups[round / 2 % 9], dim = round % 2 == 0 ? 64 : 128;
    AttentionProblem p =
        problem(1 + round % 2, group, dim, {1, 63, 0, 64, 65, 127, 129, 200}, rules[round % 9]);
    const int gates = round / 6;  // mixed, none full, all full
    if (gates > 0) std::fill(p.gate.begin(), p.gate.end(), uint8_t(gates - 1));
    p.padding = round % 3;
    fill_problem<bf16>(p, uint64_t(round), round % 4 == 3 ? 6.0 : 1.0);
    compare(p, "round " + std::to_string(round));
  }
}

TEST_F(HopperAttention, ManyTiles) {
  for (const int64_t dim : {64, 128}) {
    AttentionProblem p = problem(2, 2, dim, {1000, 0, 1500}, {64, 2, 4});
    p.gate = {0, 1, 1, 1, 1, 0};
    fill_problem<bf16>(p, uint64_t(dim));
    compare(p, "head_dim " + std::to_string(dim));
  }
}

TEST_F(HopperAttention, ExtremeScores) {
  AttentionProblem p = problem(1, 4, 64, {300}, {64, 1, 1});
  fill_problem<bf16>(p, 3, 1e4);
  compare(p, "scores of 1e4");
}

// Sequences whose first keys are of tokens that stand elsewhere.
TEST_F(HopperAttention, KeysBeforeTheFirstQuery) {
  for (int round = 0; round < 4; ++round) {
    AttentionProblem p =
        problem(2, 1 << round, round % 2 == 0 ? 64 : 128, {70, 1, 69, 5, 45}, {16, round % 3, 2});
    p.cu_keys = {0};
    for (const int32_t n : {70, 171, 100, 203, 150}) p.cu_keys.push_back(p.cu_keys.back() + n);
    fill_problem<bf16>(p, uint64_t(round));
    compare(p, "round " + std::to_string(round));
  }
}

TEST_F(HopperAttention, ChosenBlocks) {
  for (const ops::KeySetPair pair : {kFaXa, kXaSsa}) {
    for (int round = 0; round < 4; ++round) {
      AttentionProblem p = problem(2, 1 + round % 3, round % 2 == 0 ? 64 : 128,
                                   {1, 0, 127, 129, 700}, {16, 1, 5 + round * 2});
      p.sets = pair;
      p.xattention.block = round == 2 ? 256 : 128;
      p.xattention.threshold = 0.5;
      fill_problem<bf16>(p, uint64_t(round), 2.0);
      compare(p, "pair " + name_of(pair) + " round " + std::to_string(round));
    }
  }
}

// A null gate: all are closed.
TEST_F(HopperAttention, StreamingPairsOnly) {
  AttentionProblem p = problem(2, 2, 128, {300, 64}, {64, 1, 1});
  std::fill(p.gate.begin(), p.gate.end(), uint8_t(0));
  fill_problem<bf16>(p, 4);
  AttentionTensors<bf16> tensors(p, cpu_);
  const auto expected = ops::routed_attention_forward(tensors.input, ops::Branches::selected);
  std::fill(p.gate.begin(), p.gate.end(), uint8_t(1));  // not read
  const Outputs out = forward(p, ops::Branches::selected, {}, ops::cuda::Pairs::closed);
  expect_rows(expected.selected, out.selected, p, "selected");
  expect_rows(expected.lse, out.lse, p, "lse");
}

}  // namespace
}  // namespace elastron::testing
