// Runs the op on an AttentionProblem and reads everything back, in double.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/device.h"
#include "ops/routed_attention.h"
#include "tests/support/attention_reference.h"

namespace elastron::testing {

struct AttentionRun {
  std::vector<double> selected, other, lse, lse_other, dq, dk, dv, d_gate;
  std::vector<int64_t> visited;
};

template <class T>
std::vector<double> widened(const Tensor& t) {
  std::vector<double> values;
  if (t.defined()) {
    for (const T x : t.to_vector<T>()) values.push_back(double(x));
  }
  return values;
}

// q, k and v as slices of one fused buffer, the way a fused projection leaves them; with cu_keys k
// and v are slices of another.
template <class Storage>
class AttentionTensors {
 public:
  AttentionTensors(const AttentionProblem& p, Device& device)
      : cu_(p.cu_seqlens), cu_keys_(p.cu_keys), whole_lengths_(p.whole_lengths) {
    const int64_t heads = p.q_heads + 2 * p.kv_heads, dim = p.head_dim;
    const auto fused = [&](int64_t rows) {
      std::vector<Storage> all(size_t(rows * heads * dim));
      const auto place = [&](const std::vector<double>& values, int64_t n, int64_t at) {
        if (int64_t(values.size()) != rows * n * dim) return;
        for (int64_t t = 0; t < rows; ++t) {
          for (int64_t i = 0; i < n * dim; ++i) {
            all[size_t((t * heads + at) * dim + i)] = narrowed(values[size_t(t * n * dim + i)]);
          }
        }
      };
      place(p.q, p.q_heads, 0);
      place(p.k, p.kv_heads, p.q_heads);
      place(p.v, p.kv_heads, p.q_heads + p.kv_heads);
      return Tensor::from(all, Shape{rows, heads, dim}, device);
    };
    const int64_t tokens = p.tokens();
    const Tensor qkv = fused(tokens), kv = cu_keys_.empty() ? qkv : fused(p.keys());
    input.q = qkv.slice(1, 0, p.q_heads);
    input.k = kv.slice(1, p.q_heads, p.q_heads + p.kv_heads);
    input.v = kv.slice(1, p.q_heads + p.kv_heads, heads);
    input.gate = Tensor::from(p.gate, Shape{p.sequences(), p.kv_heads}, device);
    input.varlen = {cu_, cu_keys_, whole_lengths_, p.first_whole_length};
    input.pattern = p.pattern();
    input.softmax_scale = p.scale;
    std::vector<Storage> g;
    for (const double x : p.d_out) g.push_back(narrowed(x));
    d_out = Tensor::from(g, Shape{tokens, p.q_heads, dim}, device);
  }
  AttentionTensors(const AttentionTensors&) = delete;
  AttentionTensors& operator=(const AttentionTensors&) = delete;

  ops::RoutedAttentionInput input;
  Tensor d_out;

 private:
  static Storage narrowed(double x) {
    if constexpr (std::is_same_v<Storage, bf16>) {
      return bf16(float(x));
    } else {
      return Storage(x);
    }
  }
  std::vector<int32_t> cu_, cu_keys_, whole_lengths_;
};

template <class Storage>
AttentionRun run_attention_on(Device& device, const AttentionProblem& p, ops::Branches branches,
                              bool backward,
                              ops::FullAttentionBy full_by = ops::FullAttentionBy::automatic,
                              ops::AttentionKernels kernels = ops::AttentionKernels::hopper) {
  using T = accumulator_t<Storage>;
  AttentionRun run;
  {
    AttentionTensors<Storage> tensors(p, device);
    tensors.input.full_by = full_by;
    tensors.input.kernels = kernels;
    const auto out = ops::routed_attention_forward(tensors.input, branches);
    run.selected = widened<Storage>(out.selected);
    run.other = widened<Storage>(out.other);
    run.lse = widened<T>(out.lse);
    run.lse_other = widened<T>(out.lse_other);
    run.visited = out.visited.template to_vector<int64_t>();
    if (backward) {
      const auto gradient = ops::routed_attention_backward(tensors.d_out, tensors.input, out, true,
                                                           branches == ops::Branches::both);
      run.dq = widened<Storage>(gradient.q);
      run.dk = widened<Storage>(gradient.k);
      run.dv = widened<Storage>(gradient.v);
      run.d_gate = widened<T>(gradient.gate);
    }
  }
  return run;
}

template <class Storage>
AttentionRun run_attention(const AttentionProblem& p, ops::Branches branches = ops::Branches::both,
                           bool backward = true) {
  CpuDevice device;
  return run_attention_on<Storage>(device, p, branches, backward);
}

// The reference's outputs by which branch was selected.
template <class A>
AttentionRun selected_by_gate(const AttentionProblem& p, const AttentionAnswer<A>& answer) {
  AttentionRun run;
  const auto copy = [](const std::vector<A>& from) {
    return std::vector<double>(from.begin(), from.end());
  };
  run.selected = copy(answer.sparse);
  run.other = copy(answer.full);
  run.lse = copy(answer.lse_sparse);
  run.lse_other = copy(answer.lse_full);
  for (int64_t s = 0; s < p.sequences(); ++s) {
    for (int64_t t = p.cu_seqlens[size_t(s)]; t < p.cu_seqlens[size_t(s) + 1]; ++t) {
      for (int64_t h = 0; h < p.q_heads; ++h) {
        if (p.gate[size_t(s * p.kv_heads + h / p.group())] == 0) continue;
        const size_t row = size_t(t * p.q_heads + h);
        std::swap(run.lse[row], run.lse_other[row]);
        for (int64_t d = 0; d < p.head_dim; ++d) {
          const size_t i = row * size_t(p.head_dim) + size_t(d);
          std::swap(run.selected[i], run.other[i]);
        }
      }
    }
  }
  run.dq = copy(answer.dq);
  run.dk = copy(answer.dk);
  run.dv = copy(answer.dv);
  run.d_gate = copy(answer.d_gate);
  return run;
}

inline double largest_error(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(a[i] - b[i]);
    if (!(error <= worst)) worst = error;  // a NaN counts
  }
  return worst;
}

}  // namespace elastron::testing
