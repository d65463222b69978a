// Full attention without cuDNN, on the emulated device's memory: what the real one promises and no
// more. It reads and writes a sequence's rows up to its length, adds in double, and takes as much
// workspace as the real one, which it spoils.
#include "ops/cuda/attention/full_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "tests/support/cuda_emulator/faults.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::emulator {

bool& library_has_gradients() {
  static bool it = true;
  return it;
}

}  // namespace elastron::emulator

namespace elastron::ops::cuda {

namespace {

struct View {
  View(const PackedHeads& x, int64_t stride)
      : data(static_cast<bf16*>(const_cast<void*>(x.data))), starts(x.starts), stride_of(stride) {}
  bf16* row(int64_t sequence, int64_t token, int64_t head, int64_t dim) const {
    ELASTRON_CHECK(starts[sequence] % stride_of == 0, "a sequence starts within a token");
    return data + starts[sequence] + token * stride_of + head * dim;
  }
  bf16* data;
  const int64_t* starts;
  int64_t stride_of;
};

double dot(const bf16* a, const bf16* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double(float(a[i])) * double(float(b[i]));
  return sum;
}

class Plan final : public FullAttentionPlan {
 public:
  explicit Plan(const FullAttentionShape& shape) : s_(shape) {}
  int64_t workspace_bytes() const override { return full_attention_workspace(s_); }

  void run(const FullAttentionTensors& t, void* workspace, Stream stream) override {
    ++emulator::calls().launches;
    emulator::issue(stream, s_.backward ? "full attention backward" : "full attention",
                    [this, t, workspace] { compute(t, workspace); });
  }

 private:
  void compute(const FullAttentionTensors& t, void* workspace) const {
    if (workspace_bytes() > 0) std::memset(workspace, 0xff, size_t(workspace_bytes()));
    for (int64_t b = 0; b < s_.sequences; ++b) {
      const int64_t keys = key_length(t, b);
      ELASTRON_CHECK(t.lengths[b] >= 1 && t.lengths[b] <= s_.longest, "a length outside the plan");
      ELASTRON_CHECK(keys >= t.lengths[b] && keys <= longest_keys(), "keys outside the plan");
      if (s_.backward) expect_room(t, b);
      for (int64_t h = 0; h < s_.kv_heads; ++h) pair(t, b, h);
    }
  }

  int64_t longest_keys() const { return s_.own_keys() ? s_.longest_keys : s_.longest; }
  int64_t key_length(const FullAttentionTensors& t, int64_t b) const {
    return s_.own_keys() ? t.key_lengths[b] : t.lengths[b];
  }
  // The workspace has rows where the gradients and the statistics have them.
  void expect_room(const FullAttentionTensors& t, int64_t b) const {
    const int64_t queries = t.lengths[b];
    const bool fits = t.dq.starts[b] / (s_.q_heads * s_.head_dim) + queries <= s_.tokens &&
                      t.lse.starts[b] / s_.lse_stride + queries <= s_.tokens &&
                      t.dk.starts[b] / (s_.kv_heads * s_.head_dim) + key_length(t, b) <=
                          (s_.own_keys() ? s_.keys : s_.tokens);
    ELASTRON_CHECK(fits, "more tokens than planned");
  }
  void pair(const FullAttentionTensors& t, int64_t b, int64_t kv_head) const {
    const int64_t dim = s_.head_dim, group = s_.q_heads / s_.kv_heads, n = t.lengths[b];
    const int64_t keys = key_length(t, b), before = keys - n;  // the last token sees all keys
    const View q(t.q, s_.q_stride), k(t.k, s_.k_stride), v(t.v, s_.v_stride);
    const View out(t.out, s_.out_stride);
    auto* lse = static_cast<float*>(const_cast<void*>(t.lse.data));
    const auto zeros = [](int64_t count) { return std::vector<double>(size_t(count), 0.0); };
    auto dk = zeros(keys * dim), dv = zeros(keys * dim), row = zeros(dim), p = zeros(keys);
    for (int64_t g = 0; g < group; ++g) {
      const int64_t head = kv_head * group + g;
      // A fault loses the last row of a tile.
      const bool faulty =
          emulator::planted(s_.backward ? emulator::Faulty::gradients : emulator::Faulty::library,
                            emulator::Fault::tile);
      for (int64_t i = 0; i < n; ++i) {
        if (faulty && i % 64 == 63) continue;
        float& l = lse[t.lse.starts[b] + i * s_.lse_stride + head];
        const bf16* qi = q.row(b, i, head, dim);
        double most = -INFINITY, total = 0;
        for (int64_t j = 0; j <= before + i; ++j) {
          p[size_t(j)] = s_.scale * dot(qi, k.row(b, j, kv_head, dim), dim);
          most = std::max(most, p[size_t(j)]);
        }
        for (int64_t j = 0; j <= before + i; ++j) total += std::exp(p[size_t(j)] - most);
        const double sum = s_.backward ? double(l) : most + std::log(total);
        for (int64_t j = 0; j <= before + i; ++j) p[size_t(j)] = std::exp(p[size_t(j)] - sum);
        std::fill(row.begin(), row.end(), 0.0);
        if (!s_.backward) {
          for (int64_t j = 0; j <= before + i; ++j) {
            const bf16* vj = v.row(b, j, kv_head, dim);
            for (int64_t d = 0; d < dim; ++d) row[size_t(d)] += p[size_t(j)] * double(float(vj[d]));
          }
          for (int64_t d = 0; d < dim; ++d)
            out.row(b, i, head, dim)[d] = bf16(float(row[size_t(d)]));
          l = float(sum);
          continue;
        }
        const bf16* g_out = View(t.d_out, s_.d_out_stride).row(b, i, head, dim);
        const double row_dot = dot(g_out, out.row(b, i, head, dim), dim);
        for (int64_t j = 0; j <= before + i; ++j) {
          const bf16* kj = k.row(b, j, kv_head, dim);
          const double ds =
              s_.scale * p[size_t(j)] * (dot(g_out, v.row(b, j, kv_head, dim), dim) - row_dot);
          for (int64_t d = 0; d < dim; ++d) {
            row[size_t(d)] += ds * double(float(kj[d]));
            dk[size_t(j * dim + d)] += ds * double(float(qi[d]));
            dv[size_t(j * dim + d)] += p[size_t(j)] * double(float(g_out[d]));
          }
        }
        bf16* dq = View(t.dq, s_.q_heads * dim).row(b, i, head, dim);
        for (int64_t d = 0; d < dim; ++d) dq[d] = bf16(float(row[size_t(d)]));
      }
    }
    if (!s_.backward) return;
    for (int64_t j = 0; j < keys; ++j) {
      for (int64_t d = 0; d < dim; ++d) {
        View(t.dk, s_.kv_heads * dim).row(b, j, kv_head, dim)[d] =
            bf16(float(dk[size_t(j * dim + d)]));
        View(t.dv, s_.kv_heads * dim).row(b, j, kv_head, dim)[d] =
            bf16(float(dv[size_t(j * dim + d)]));
      }
    }
  }

  FullAttentionShape s_;
};

struct Plans {
  std::mutex mutex;
  std::vector<std::pair<FullAttentionShape, std::unique_ptr<Plan>>> all;
};

}  // namespace

FullAttentionPlan* full_attention_plan(Device& device, const FullAttentionShape& shape) {
  std::string why;
  if (!full_attention_supported(device, shape, why)) return nullptr;
  auto& plans = device.attached<Plans>();
  const std::lock_guard lock(plans.mutex);
  for (const auto& [known, plan] : plans.all) {
    if (known == shape) return plan.get();
  }
  ++emulator::calls().plans;
  return plans.all.emplace_back(shape, std::make_unique<Plan>(shape)).second.get();
}

bool full_attention_supported(Device&, const FullAttentionShape& shape, std::string& why) {
  if (!shape.backward || emulator::library_has_gradients()) return true;
  why = "no gradients";
  return false;
}

std::string full_attention_library(Device&, std::string&) { return "cuDNN's stand-in"; }

}  // namespace elastron::ops::cuda
