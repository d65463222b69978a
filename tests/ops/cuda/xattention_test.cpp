// XAttention's choice of blocks on the GPU against the CPU's: the same bits. Where scores are
// summed in another order a choice may differ if two masses, or a sum and the threshold, agree to
// their last digits; whatever differs here is checked to be such a case, and must be rare.
#include "ops/xattention.h"

#include <functional>
#include <numeric>

#include "tests/ops/cuda/both_devices.h"
#include "tests/ops/routed_attention_problem.h"
#include "tests/support/xattention_reference.h"

namespace elastron::testing {
namespace {

using ops::ChoiceFor;

AttentionProblem problem_of(int64_t kv_heads, int64_t group, int64_t head_dim,
                            const std::vector<int32_t>& lengths) {
  AttentionProblem p;
  p.sets = kFaXa;
  p.q_heads = kv_heads * group;
  p.kv_heads = kv_heads;
  p.head_dim = head_dim;
  for (const int32_t n : lengths) p.cu_seqlens.push_back(p.cu_seqlens.back() + n);
  p.scale = 1 / std::sqrt(double(head_dim));
  for (size_t i = 0; i < lengths.size() * size_t(kv_heads); ++i) p.gate.push_back(i % 3 == 0);
  p.padding = 2;
  return p;
}

// Whether a choice follows from masses that are `error` off, by the rule of docs/method.md,
// XAttention or First chunk.
bool follows(const std::vector<double>& mass, double need, bool lagging,
             const std::set<int64_t>& chosen, double error) {
  const auto own = int64_t(mass.size()) - 1;
  if (!chosen.contains(0) || !chosen.contains(own)) return false;
  // Under the lagging rule the first block may be there by its mass or in any case.
  for (const bool first : lagging ? std::vector<bool>{false, true} : std::vector<bool>{false}) {
    std::vector<double> in;
    double most_left = -1;
    for (int64_t j = lagging ? 0 : 1; j < own; ++j) {
      if (chosen.contains(j) && (j != 0 || first)) {
        in.push_back(mass[size_t(j)]);
      } else {
        most_left = std::max(most_left, mass[size_t(j)]);
      }
    }
    std::ranges::sort(in, std::greater());
    const auto held = [&](int64_t n) {
      const double forced = mass[size_t(own)] + (lagging || own == 0 ? 0 : mass[0]);
      return std::accumulate(in.begin(), in.begin() + std::max<int64_t>(n, 0), forced);
    };
    const auto n = int64_t(in.size()), lag = int64_t(lagging ? 1 : 0);
    const bool largest = in.empty() || in.back() >= most_left - error;
    const bool needed = n == 0 || (n == lag ? need > 0 : held(n - 1 - lag) < need + error);
    const bool enough = most_left < 0 || (n < lag ? need <= 0 : held(n - lag) >= need - error);
    if (largest && needed && enough) return true;
  }
  return false;
}

class CudaXAttention : public test::BothDevices {
 protected:
  template <class Storage>
  static ops::BlockChoice choose(const AttentionProblem& p, Device& device,
                                 ChoiceFor whose = ChoiceFor::all) {
    const AttentionTensors<Storage> tensors(p, device);
    const auto& in = tensors.input;
    return ops::choose_blocks(in.q, in.k, in.varlen, in.softmax_scale, *in.pattern.chooser(),
                              in.gate, whose);
  }

  // Memory that was freed and comes back holds no zeros.
  void poison() {
    Tensor::from(std::vector<uint8_t>(size_t(4) << 20, 0xff), {int64_t(4) << 20}, *gpu_);
  }

  template <class Storage>
  void expect_same_bits(const AttentionProblem& p, ChoiceFor whose = ChoiceFor::all) {
    poison();
    const auto cpu = choose<Storage>(p, cpu_, whose), gpu = choose<Storage>(p, *gpu_, whose);
    EXPECT_EQ(cpu.rows.template to_vector<int32_t>(), gpu.rows.template to_vector<int32_t>());
    EXPECT_EQ(cpu.columns.template to_vector<int32_t>(), gpu.columns.template to_vector<int32_t>());
    EXPECT_EQ(cpu.starts.template to_vector<int32_t>(), gpu.starts.template to_vector<int32_t>());
  }

  // The same bits, or rows that follow from masses a rounding apart.
  template <class Storage>
  void compare(const AttentionProblem& p, ChoiceFor whose = ChoiceFor::all) {
    poison();
    const auto cpu = choose<Storage>(p, cpu_, whose), gpu = choose<Storage>(p, *gpu_, whose);
    const auto there = gpu.rows.template to_vector<int32_t>(),
               there_columns = gpu.columns.template to_vector<int32_t>();
    const auto a = cpu.view();
    auto b = a;
    b.rows = reinterpret_cast<const uint32_t*>(there.data());
    b.columns = reinterpret_cast<const uint32_t*>(there_columns.data());
    int64_t rows = 0, differ = 0;
    for (int64_t s = 0; s < p.sequences(); ++s) {
      const int64_t length = p.cu_seqlens[size_t(s) + 1] - p.cu_seqlens[size_t(s)];
      const int64_t blocks = ceil_of(length, p.xattention.block);
      for (int64_t h = 0; h < p.q_heads; ++h) {
        for (int64_t i = 0; i < blocks; ++i) {
          std::set<int64_t> here, chosen;
          // All bits of the row's words: behind the last block there are none.
          for (int64_t j = 0; j < ceil_of(blocks, ops::kChoiceBits) * ops::kChoiceBits; ++j) {
            if (a.row(h, s, length, i).has(j)) here.insert(j);
            if (b.row(h, s, length, i).has(j)) chosen.insert(j);
            if (j < blocks) {
              ASSERT_EQ(b.row(h, s, length, i).has(j), b.column(h, s, length, j).has(i));
            }
          }
          ++rows;
          if (here == chosen) continue;
          ++differ;
          const int64_t each = p.xattention.block / p.xattention.stride;
          const int64_t groups =
              std::min(ceil_of(length, p.xattention.stride), (i + 1) * each) - i * each;
          const bool lagging = p.xattention.reference && i * p.xattention.block < 2048;
          ASSERT_TRUE(follows(mass_reference(p, s, h)[size_t(i)],
                              p.xattention.threshold * double(groups), lagging, chosen,
                              1e-5 * double(groups)))
              << "sequence " << s << " head " << h << " block " << i;
        }
      }
    }
    EXPECT_GT(rows, 0);
    EXPECT_LE(differ * 50, rows);
    if (differ > 0) RecordProperty("rows_that_differ", int(differ));
  }
};

const std::vector<int32_t> kLengths = {1, 63, 0, 64, 65, 127, 129, 0, 1000};
struct Rule {
  int64_t stride, block;
};
const Rule kRules[] = {{16, 128}, {8, 64}, {4, 256}, {64, 64}, {4, 64}, {64, 256}, {16, 64}};
const double kThresholds[2][2] = {{0.0, 0.9}, {0.5, 1.0}};  // in turn

TEST_F(CudaXAttention, InSinglePrecision) {
  int round = 0;
  for (const auto& [stride, block] : kRules) {
    for (const bool reference : {false, true}) {
      for (const double threshold : kThresholds[round / 2 % 2]) {
        AttentionProblem p = problem_of(2, 1 << round % 3, 12 + 5 * (round % 2), kLengths);
        p.xattention = {stride, block, threshold, reference};
        SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(block) + " " +
                     std::to_string(threshold) + (reference ? " reference" : ""));
        fill_problem<float>(p, uint64_t(++round), 3.0);
        compare<float>(p, ChoiceFor(round % 3));
      }
    }
  }
}

TEST_F(CudaXAttention, OnTensorCores) {
  int round = 0;
  const int64_t dims[] = {16, 64, 24, 48, 32};
  for (const auto& [stride, block] : kRules) {
    for (const bool reference : {false, true}) {
      for (const double threshold : kThresholds[round / 2 % 2]) {
        AttentionProblem p = problem_of(2, 1 << round % 3, dims[round % 5], kLengths);
        p.xattention = {stride, block, threshold, reference};
        SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(block) + " " +
                     std::to_string(threshold) + (reference ? " reference" : ""));
        fill_problem<bf16>(p, uint64_t(++round), 3.0);
        compare<bf16>(p, ChoiceFor(round % 3));
      }
    }
  }
}

// Blocks that go over tiles, and rows that cannot be read 16 bytes at a time.
TEST_F(CudaXAttention, WhatTensorCoresDoNotTake) {
  int round = 0;
  for (const auto& [stride, block] : {Rule{16, 192}, {2, 192}, {1, 64}, {2, 256}, {24, 192}}) {
    for (const int64_t dim : {16, 20, 1}) {
      AttentionProblem p = problem_of(1, 2, dim, {1, 130, 0, 2000});
      p.xattention = {stride, block, round % 4 == 0 ? 0.9 : 0.4, round % 3 == 0};
      SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(block));
      fill_problem<float>(p, uint64_t(++round), 3.0);
      compare<float>(p);
      fill_problem<bf16>(p, uint64_t(++round), 3.0);
      compare<bf16>(p);
    }
  }
}

TEST_F(CudaXAttention, HeadDimensionsOfModels) {
  for (const int64_t dim : {80, 96, 128, 256}) {
    AttentionProblem p = problem_of(1, 4, dim, {300, 1029});
    fill_problem<bf16>(p, uint64_t(dim), 2.0);
    compare<bf16>(p);
    fill_problem<float>(p, uint64_t(dim) + 1, 2.0);
    compare<float>(p);
  }
}

// Several tiles of rows and of keys, rows of several words, both rules in one sequence.
TEST_F(CudaXAttention, LongSequences) {
  int round = 0;
  for (const auto& [stride, block] : {Rule{8, 64}, {4, 64}, {16, 128}}) {
    for (const double threshold : {0.3, 0.7, 0.95, 0.9999}) {
      AttentionProblem p = problem_of(1, 1, 16, {200, 4097});
      p.xattention = {stride, block, threshold, round % 2 == 1};
      SCOPED_TRACE(std::to_string(stride) + " " + std::to_string(threshold));
      fill_problem<bf16>(p, uint64_t(++round), 4.0);
      compare<bf16>(p);
      if (stride == 4) continue;
      fill_problem<float>(p, uint64_t(++round), 4.0);
      compare<float>(p);
    }
  }
}

// Masses that are equal to the last bit: all keys are one, or blocks repeat.
TEST_F(CudaXAttention, EqualMassesInTheirOrder) {
  for (const int64_t period : {1, 64, 192}) {
    for (const auto& [stride, block] : {Rule{16, 64}, {8, 64}, {4, 64}}) {
      for (const bool reference : {false, true}) {
        for (const double threshold : {0.0, 0.55, 0.9}) {
          AttentionProblem p = problem_of(1, 2, 16, {700, 1000});
          p.xattention = {stride, block, threshold, reference};
          SCOPED_TRACE(std::to_string(period) + " " + std::to_string(stride) + " " +
                       std::to_string(threshold) + (reference ? " reference" : ""));
          fill_problem<bf16>(p, uint64_t(period));
          for (int64_t s = 0; s < p.sequences(); ++s) {
            const int64_t first = p.cu_seqlens[size_t(s)];
            for (int64_t i = 0; first + i < p.cu_seqlens[size_t(s) + 1]; ++i) {
              for (int64_t d = 0; d < p.head_dim; ++d) {
                p.k[size_t((first + i) * p.head_dim + d)] =
                    p.k[size_t((first + i % period) * p.head_dim + d)];
              }
            }
          }
          expect_same_bits<float>(p);
          expect_same_bits<bf16>(p);
        }
      }
    }
  }
}

TEST_F(CudaXAttention, ExtremeScores) {
  AttentionProblem p = problem_of(1, 2, 16, {400, 1000});
  p.scale = 1;
  for (const auto& [stride, block] : {Rule{16, 128}, {8, 64}}) {
    p.xattention = {stride, block, 0.9, false};
    fill_problem<float>(p, 6);
    for (double& x : p.q) x = x > 0 ? 25 : -25;
    for (double& x : p.k) x = x > 0 ? 25 : -25;  // scores up to 1e4
    expect_same_bits<float>(p);
    expect_same_bits<bf16>(p);
    for (double& x : p.k) x = -std::abs(x);
    for (double& x : p.q) x = std::abs(x);  // all -1e4
    expect_same_bits<float>(p);
    expect_same_bits<bf16>(p);
  }
}

TEST_F(CudaXAttention, RepeatsGiveTheSameBits) {
  AttentionProblem p = problem_of(2, 2, 32, {700, 0, 1000});
  p.xattention = {8, 64, 0.8, false};
  fill_problem<bf16>(p, 9);
  const auto first = choose<bf16>(p, *gpu_);
  for (int i = 0; i < 3; ++i) {
    poison();
    const auto again = choose<bf16>(p, *gpu_);
    EXPECT_EQ(first.rows.to_vector<int32_t>(), again.rows.to_vector<int32_t>());
    EXPECT_EQ(first.columns.to_vector<int32_t>(), again.columns.to_vector<int32_t>());
  }
}

// Of one more token as much as of any other, whatever stands before it. Of more heads than a GPU
// has room for blocks of threads; no head is worked on.
TEST_F(CudaXAttention, WorkingMemoryIsLinear) {
  const auto scratch = [&](int32_t tokens) {
    AttentionProblem p = problem_of(4, 256, 8, {tokens});
    p.gate.assign(p.gate.size(), 1);
    fill_problem<bf16>(p, 1);
    const AttentionTensors<bf16> tensors(p, *gpu_);
    gpu_->reset_peak();
    const auto choice =
        ops::choose_blocks(tensors.input.q, tensors.input.k, tensors.input.varlen, p.scale,
                           p.xattention, tensors.input.gate, ChoiceFor::closed);
    return gpu_->memory().peak_bytes - gpu_->memory().in_use_bytes;
  };
  const int64_t a = scratch(1024), b = scratch(2048), c = scratch(3072);
  EXPECT_GT(b, a);
  EXPECT_NEAR(double(c - b), double(b - a), 0.1 * double(b - a));
}

TEST_F(CudaXAttention, NothingToChoose) {
  AttentionProblem p = problem_of(2, 2, 16, {0, 0});
  p.padding = 0;
  fill_problem<float>(p, 1);
  EXPECT_EQ(choose<float>(p, *gpu_).rows.numel(), 0);
  p = problem_of(2, 2, 16, {100});
  p.gate = {1, 1};
  fill_problem<float>(p, 1);
  for (const int32_t word : choose<float>(p, *gpu_, ChoiceFor::closed).rows.to_vector<int32_t>()) {
    EXPECT_EQ(word, 0);
  }
}

}  // namespace
}  // namespace elastron::testing
