// Dense ops on the GPU against the CPU, on odd and even shapes, aligned and not.
#include <numeric>

#include "ops/adamw.h"
#include "ops/boundary_pool.h"
#include "ops/cross_entropy.h"
#include "ops/decode_attention.h"
#include "ops/embedding.h"
#include "ops/gate.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rms_norm_rope.h"
#include "ops/rope.h"
#include "ops/self_check/paged_heads.h"
#include "ops/swiglu.h"
#include "tests/ops/cuda/both_devices.h"

namespace elastron::ops {
namespace {

const DType kFloats[] = {DType::f64, DType::f32, DType::bf16};

class CudaOps : public test::BothDevices {
 protected:
  Tensor rnd(const Shape& shape, uint64_t seed, DType dtype) {
    return test::random_tensor(shape, dtype, cpu_, seed);
  }
  Tensor ints(int64_t n, int64_t below, uint64_t seed) {
    const RandomStream stream(seed, RandomPurpose::test);
    std::vector<int32_t> values;
    for (int64_t i = 0; i < n; ++i) {
      values.push_back(int32_t(stream.bits_at(uint64_t(i)) % uint32_t(below)));
    }
    return Tensor::from(values, {n}, cpu_);
  }
};

TEST_F(CudaOps, Elementwise) {
  for (const DType t : kFloats) {
    for (const int64_t n : {1, 7, 8, 256, 1000, 4099}) {
      const std::string what = std::string(dtype_name(t)) + " " + std::to_string(n);
      const Tensor a = rnd({n}, 1, t), b = rnd({n}, 2, t), c = rnd({n}, 3, t);
      const Tensor ga = on_gpu(a), gb = on_gpu(b), gc = on_gpu(c);
      expect_same(add(a, b), add(ga, gb), "add " + what, 0);
      Tensor x = a.clone(), gx = ga.clone();
      add_into(x, b);
      add_into(gx, gb);
      expect_same(x, gx, "add_into " + what, 0);
      scale_into(x, 0.37);
      scale_into(gx, 0.37);
      expect_same(x, gx, "scale " + what);
      for (const DType to : kFloats) {
        expect_same(cast(a, to), cast(ga, to), "cast " + what, 0);
      }
      expect_same(silu_forward(a), silu_forward(ga), "silu " + what);
      expect_same(silu_backward(b, a), silu_backward(gb, ga), "silu_backward " + what);
      expect_same(swiglu_forward(a, b), swiglu_forward(ga, gb), "swiglu " + what);
      const auto d = swiglu_backward(c, a, b, false), gd = swiglu_backward(gc, ga, gb, false);
      expect_same(d.gate, gd.gate, "d gate " + what);
      expect_same(d.up, gd.up, "d up " + what);
      const auto in_place = swiglu_backward(gc, ga, gb, true);
      EXPECT_EQ(in_place.gate.raw(), ga.raw());
      expect_same(d.gate, ga, "d gate in place " + what);
      expect_same(d.up, gb, "d up in place " + what);
    }
  }
}

TEST_F(CudaOps, ElementwiseOnViewsThatAreNotAligned) {
  const Tensor a = rnd({101}, 1, DType::bf16), b = rnd({101}, 2, DType::bf16);
  const Tensor ga = on_gpu(a), gb = on_gpu(b);
  for (const int64_t begin : {0, 1, 3, 8}) {
    expect_same(add(a.slice(0, begin, 90), b.slice(0, begin + 2, 92)),
                add(ga.slice(0, begin, 90), gb.slice(0, begin + 2, 92)), "views", 0);
  }
}

TEST_F(CudaOps, SumOfParts) {
  for (const DType t : kFloats) {
    for (const auto& [n, m] : {std::pair<int64_t, int64_t>{1, 1}, {2, 4096}, {3, 1001}, {8, 264}}) {
      const Tensor parts = rnd({n, m}, 7, t), on_device = on_gpu(parts);
      Tensor sum = Tensor::empty({m}, t, cpu_), there = Tensor::empty({m}, t, on_device.device());
      sum_parts(parts, sum);
      sum_parts(on_device, there);
      expect_same(sum, there, "sum of parts", 0);
      Tensor one_by_one = Tensor::zeros({m}, accumulator_dtype(t), cpu_);
      for (int64_t r = 0; r < n; ++r) {
        const Tensor part = parts.slice(0, r, r + 1).view({m});
        add_into(one_by_one, cast(part, accumulator_dtype(t)));
      }
      expect_same(cast(one_by_one, t), sum, "parts added one by one", 0);
    }
  }
}

TEST_F(CudaOps, Reductions) {
  for (const DType t : kFloats) {
    for (const int64_t n : {1, 31, 5000, 20000}) {
      Tensor x = rnd({n}, 4, t), gx = on_gpu(x);
      EXPECT_NEAR(sum_of_squares(gx), sum_of_squares(x), 1e-12 * sum_of_squares(x));
      EXPECT_EQ(sum_of_squares(gx), sum_of_squares(gx));
      EXPECT_TRUE(all_finite(gx));
      scale_into(gx, std::numeric_limits<double>::infinity());
      EXPECT_FALSE(all_finite(gx));
    }
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {5, 300}, {200, 33}}) {
      const Tensor dy = rnd({rows, columns}, 5, t);
      Tensor db = rnd({columns}, 6, accumulator_dtype(t)), gdb = on_gpu(db);
      linear_bias_grad(dy, db);
      linear_bias_grad(on_gpu(dy), gdb);
      expect_same(db, gdb, "bias gradient");
    }
  }
}

// More rows and more segments than a grid's smaller dimensions hold.
TEST_F(CudaOps, LargeGrids) {
  const int64_t rows = 2'200'000;
  const Tensor dy = rnd({rows, 1}, 5, DType::f32);
  Tensor db = Tensor::zeros({1}, DType::f32, cpu_), gdb = on_gpu(db);
  linear_bias_grad(dy, db);
  linear_bias_grad(on_gpu(dy), gdb);
  // The sum is small beside its terms; both are right to the rounding of those.
  EXPECT_NEAR(numbers(db)[0], numbers(gdb)[0], 1e-4 * std::sqrt(double(rows)));

  std::vector<PoolSegment> segments;
  for (int64_t s = 0; s < 66000; ++s) segments.push_back({s, s + s % 3});
  const Tensor k = rnd({66010, 1, 2}, 6, DType::f32);
  expect_same(boundary_pool_forward(k, segments, {}),
              boundary_pool_forward(on_gpu(k), segments, {}), "pool");
}

TEST_F(CudaOps, RmsNorm) {
  for (const DType t : kFloats) {
    for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 16},
                                  {13, 128},
                                  {9, 80},
                                  {5, 33},
                                  {3, 1024},
                                  {7, 1536},
                                  {2, 1031}}) {
      const std::string what = std::string(dtype_name(t)) + " " + std::to_string(n);
      const Tensor x = rnd({rows, n}, 1, t), w = rnd({n}, 2, t), dy = rnd({rows, n}, 3, t);
      const Tensor gx = on_gpu(x), gw = on_gpu(w), gdy = on_gpu(dy);
      const auto y = rms_norm_forward(x, w, 1e-6), gy = rms_norm_forward(gx, gw, 1e-6);
      expect_same(y.y, gy.y, what);
      expect_same(y.inv_rms, gy.inv_rms, what);
      expect_same(rms_norm_backward(dy, x, w, y.inv_rms, {}, nullptr),
                  rms_norm_backward(gdy, gx, gw, gy.inv_rms, {}, nullptr), "dx " + what);
      Tensor into = rnd({rows, n}, 4, t), g_into = on_gpu(into);
      Tensor dw = rnd({n}, 5, accumulator_dtype(t)), gdw = on_gpu(dw);
      rms_norm_backward(dy, x, w, y.inv_rms, into, &dw);
      rms_norm_backward(gdy, gx, gw, gy.inv_rms, g_into, &gdw);
      expect_same(into, g_into, "accumulated dx " + what);
      expect_same(dw, gdw, "dw " + what);
    }
  }
}

// Frequencies of all three parts of the ramp, and a scale: the table is all that an op sees of them.
RopeRule stretched() {
  return {.theta = 1e4,
          .scaling = YarnRopeScaling{
              .factor = 4, .original_max_position = 100, .attention_factor = 1.25, .beta_fast = 8}};
}

TEST_F(CudaOps, Rope) {
  for (const DType t : kFloats) {
    for (const int64_t dim : {2, 16, 80, 128}) {
      const int64_t tokens = 11, heads = 3;
      const Tensor table = rope_table(dim, stretched(), 64, accumulator_dtype(t), cpu_);
      const Tensor g_table = rope_table(dim, stretched(), 64, accumulator_dtype(t), *gpu_);
      const Tensor positions = ints(tokens, 64, 9);
      const Tensor fused = rnd({tokens, heads + 2, dim}, 1, t), g_fused = on_gpu(fused);
      for (const int64_t first : {0, 1}) {
        for (const bool inverse : {false, true}) {
          Tensor x = fused.slice(1, first, first + heads);
          Tensor gx = g_fused.slice(1, first, first + heads);
          rope_apply(x, positions, table, inverse);
          rope_apply(gx, on_gpu(positions), g_table, inverse);
        }
        expect_same(fused, g_fused, "rope", t == DType::bf16 ? 3e-2 : -1);
      }
      Tensor x = rnd({tokens, heads, dim}, 2, t), gx = on_gpu(x);
      rope_apply(x, positions, table, false);
      rope_apply(gx, on_gpu(positions), g_table, false);
      expect_same(x, gx, "rope");
    }
  }
}

TEST_F(CudaOps, RmsNormRope) {
  for (const DType t : kFloats) {
    for (const int64_t dim : {2, 6, 64, 80, 128, 200}) {
      const int64_t tokens = 7, heads = 3;
      const std::string what = std::string(dtype_name(t)) + " " + std::to_string(dim);
      const Tensor table = rope_table(dim, stretched(), 64, accumulator_dtype(t), cpu_);
      const Tensor positions = ints(tokens, 64, 9), g_table = on_gpu(table);
      const Tensor x = rnd({tokens, heads, dim}, 1, t), w = rnd({dim}, 2, t);
      const Tensor gx = on_gpu(x), gw = on_gpu(w), g_positions = on_gpu(positions);
      const auto y = rms_norm_rope_forward(x, w, 1e-6, positions, table);
      const auto gy = rms_norm_rope_forward(gx, gw, 1e-6, g_positions, g_table);
      expect_same(y.y, gy.y, what, t == DType::bf16 ? 3e-2 : -1);
      expect_same(y.inv_rms, gy.inv_rms, what);
      for (const bool weight : {false, true}) {
        Tensor dy = rnd({tokens, heads, dim}, 3, t), gdy = on_gpu(dy);
        Tensor dw = rnd({dim}, 5, accumulator_dtype(t)), gdw = on_gpu(dw);
        expect_same(
            rms_norm_rope_backward(dy, x, w, y.inv_rms, positions, table, weight ? &dw : nullptr),
            rms_norm_rope_backward(gdy, gx, gw, gy.inv_rms, g_positions, g_table,
                                   weight ? &gdw : nullptr),
            "dx " + what, t == DType::bf16 ? 3e-2 : -1);
        expect_same(dw, gdw, "dw " + what);
      }
    }
  }
}

TEST_F(CudaOps, Embedding) {
  for (const DType t : kFloats) {
    for (const int64_t hidden : {5, 64}) {
      const Tensor ids = ints(40, 30, 3), table = rnd({20, hidden}, 4, t);
      for (const int64_t first : {0, 10}) {
        expect_same(embedding_forward(ids, table, first),
                    embedding_forward(on_gpu(ids), on_gpu(table), first), "embedding", 0);
        const Tensor dy = rnd({40, hidden}, 5, t);
        Tensor d = rnd({20, hidden}, 6, accumulator_dtype(t)), gd = on_gpu(d);
        embedding_backward(dy, ids, first, d);
        embedding_backward(on_gpu(dy), on_gpu(ids), first, gd);
        expect_same(d, gd, "embedding_backward", 0);  // the same order of additions
      }
    }
  }
}

TEST_F(CudaOps, BoundaryPool) {
  const std::vector<PoolSegment> segments = {{0, 5}, {5, 5}, {6, 30}, {30, 59}};
  for (const DType t : kFloats) {
    for (const PoolRule rule : {PoolRule{true, 10, false}, PoolRule{true, 16, false},
                                PoolRule{true, 16, true}, PoolRule{false, 1, false}}) {
      for (const int64_t dim : {3, 40}) {
        const Tensor k = rnd({60, 2, dim}, 1, t), gk = on_gpu(k);
        expect_same(boundary_pool_forward(k, segments, rule),
                    boundary_pool_forward(gk, segments, rule), "pool");
        const Tensor d = rnd({4, 2, dim}, 2, accumulator_dtype(t));
        Tensor dk = rnd({60, 2, dim}, 3, t), gdk = on_gpu(dk);
        boundary_pool_backward(d, segments, rule, dk);
        boundary_pool_backward(on_gpu(d), segments, rule, gdk);
        expect_same(dk, gdk, "pool backward");
      }
    }
  }
}

// Logits of all sizes: the gate must come out the same, its noise to the last bits of a logarithm.
TEST_F(CudaOps, Gate) {
  const std::vector<uint32_t> keys = {3, 77, 1u << 20, 5, 6};
  for (const DType t : {DType::f64, DType::f32}) {
    for (const int64_t classes : {1, 2}) {
      const Tensor logits = rnd({5, 40, classes}, 8, t), g_logits = on_gpu(logits);
      for (const GateNoise noise : {GateNoise::gumbel, GateNoise::logistic}) {
        const GateSampling sampling{.seed = 12345678901234ull,
                                    .step = 9,
                                    .sample_keys = keys,
                                    .layer = 3,
                                    .first_kv_head = 2,
                                    .noise = noise,
                                    .tau = 0.8};
        const auto z = gate_sample(logits, sampling), gz = gate_sample(g_logits, sampling);
        expect_same(z.gate, gz.gate, "gate", 0);
        expect_same(z.probability, gz.probability, "probability", 1e-5);
        const Tensor d = rnd({5, 40}, 9, t);
        expect_same(gate_backward(d, z.probability, classes, 0.8),
                    gate_backward(on_gpu(d), on_gpu(z.probability), classes, 0.8), "d logits");
        Tensor d_tau = rnd({1}, 10, t), gd_tau = on_gpu(d_tau);
        gate_tau_backward(d, z.probability, d_tau);
        gate_tau_backward(on_gpu(d), on_gpu(z.probability), gd_tau);
        expect_same(d_tau, gd_tau, "d tau");
      }
      const auto z = gate_decide(logits), gz = gate_decide(g_logits);
      expect_same(z.gate, gz.gate, "decided", 0);
      expect_same(z.probability, gz.probability, "decided probability");
    }
  }
}

TEST_F(CudaOps, CrossEntropy) {
  for (const DType t : kFloats) {
    for (const int64_t shard : {1, 40, 257, 1500}) {
      const Tensor logits = rnd({6, shard}, 11, t);
      const Tensor labels =
          Tensor::from(std::vector<int32_t>{kIgnoreLabel, 100, 101, 139, 99, 5000}, {6}, cpu_);
      const auto a = cross_entropy_rows(logits, labels, 100);
      const auto b = cross_entropy_rows(on_gpu(logits), on_gpu(labels), 100);
      expect_same(a.max, b.max, "max", 0);
      expect_same(a.sum_exp, b.sum_exp, "sum_exp", t == DType::f64 ? 1e-12 : 1e-5);
      expect_same(a.target, b.target, "target", 0);
      expect_same(a.argmax, b.argmax, "argmax", 0);
      // Three shards, the second of which knows nothing.
      std::vector<double> parts = numbers(a.parts);
      std::vector<double> nothing(parts.size(), 0.0), shifted = parts;
      for (size_t i = 0; i < 6; ++i) {
        nothing[i] = -std::numeric_limits<double>::infinity();
        shifted[i] += i % 2 == 0 ? 1 : -1;
        shifted[18 + i] += double(shard);
      }
      parts.insert(parts.end(), nothing.begin(), nothing.end());
      parts.insert(parts.end(), shifted.begin(), shifted.end());
      const Tensor all = Tensor::from(parts, {3, 4, 6}, cpu_);
      const auto whole = cross_entropy_combine(all, accumulator_dtype(t));
      const auto g_whole = cross_entropy_combine(on_gpu(all), accumulator_dtype(t));
      expect_same(whole.lse, g_whole.lse, "lse");
      expect_same(whole.loss, g_whole.loss, "loss", 1e-12);
      expect_same(whole.argmax, g_whole.argmax, "argmax of all", 0);
      const Tensor lse = rnd({6}, 12, accumulator_dtype(t));
      Tensor d = logits.clone(), gd = on_gpu(logits);
      cross_entropy_backward(d, labels, lse, 100, 0.01);
      cross_entropy_backward(gd, on_gpu(labels), on_gpu(lse), 100, 0.01);
      expect_same(d, gd, "d logits");
    }
  }
}

TEST_F(CudaOps, AdamW) {
  const AdamWSettings settings{.lr = 1e-2, .weight_decay = 0.1};
  for (const DType t : {DType::f64, DType::f32}) {
    for (const DType value : {DType::f64, DType::f32, DType::bf16}) {
      Tensor p = rnd({1000}, 1, t), m = rnd({1000}, 2, t), v = rnd({1000}, 3, t);
      for (Tensor* x : {&v}) *x = silu_forward(*x);
      add_into(v, Tensor::from(std::vector<double>(1000, 1.0), {1000}, cpu_).dtype() == t
                      ? Tensor::from(std::vector<double>(1000, 1.0), {1000}, cpu_)
                      : Tensor::from(std::vector<float>(1000, 1.0f), {1000}, cpu_));
      const Tensor g = rnd({1000}, 4, t);
      Tensor copy = Tensor::zeros({1000}, value, cpu_);
      Tensor gp = on_gpu(p), gm = on_gpu(m), gv = on_gpu(v), gcopy = on_gpu(copy);
      const Tensor gg = on_gpu(g);
      adamw_step(p, g, m, v, &copy, settings, 3, 0.5);
      adamw_step(gp, gg, gm, gv, &gcopy, settings, 3, 0.5);
      expect_same(p, gp, "master");
      expect_same(m, gm, "exp_avg");
      expect_same(v, gv, "exp_avg_sq");
      expect_same(copy, gcopy, "value");
      adamw_step(p, g, m, v, nullptr, settings, 4, 0.5);
      adamw_step(gp, gg, gm, gv, nullptr, settings, 4, 0.5);
      expect_same(p, gp, "master, without a copy");
    }
  }
}

TEST_F(CudaOps, Linear) {
  for (const DType t : {DType::f32, DType::bf16}) {
    for (const auto& [rows, out, in] :
         {std::tuple<int64_t, int64_t, int64_t>{1, 8, 8}, {33, 40, 24}, {128, 64, 96}, {7, 5, 3}}) {
      const Tensor x = rnd({rows, in}, 1, t), w = rnd({out, in}, 2, t), b = rnd({out}, 3, t);
      const Tensor dy = rnd({rows, out}, 4, t);
      const LinearWeight cpu(w, WeightForm::packed), gpu(on_gpu(w), WeightForm::packed);
      expect_same(linear_forward(x, cpu), linear_forward(on_gpu(x), gpu), "linear");
      expect_same(linear_forward(x, cpu, b), linear_forward(on_gpu(x), gpu, on_gpu(b)), "bias");
      Tensor dx = linear_dgrad(dy, cpu), gdx = linear_dgrad(on_gpu(dy), gpu);
      expect_same(dx, gdx, "dgrad");
      linear_dgrad(dy, cpu, dx);
      linear_dgrad(on_gpu(dy), gpu, gdx);
      expect_same(dx, gdx, "dgrad, accumulated");
      Tensor dw = rnd({out, in}, 5, accumulator_dtype(t)), gdw = on_gpu(dw);
      linear_wgrad(dy, x, dw);
      linear_wgrad(on_gpu(dy), on_gpu(x), gdw);
      expect_same(dw, gdw, "wgrad", 1e-4);
    }
  }
}

// Two sequences at different positions. Of each a head that keeps every position and one with a
// sink and a ring, which is filled, and then extended beyond its end; long ones in several parts.
TEST_F(CudaOps, DecodeAttention) {
  constexpr int32_t kBehind = 13;
  const CacheRows every,
      ring{.every_position = false, .rule = {.block = 4, .sink_blocks = 1, .local_blocks = 5}};
  const CacheRows rows[] = {every, ring, ring, every};
  const auto compare = [&](DType t, int64_t dim, int64_t page_rows, int32_t tokens, int32_t more) {
    SCOPED_TRACE(std::string(dtype_name(t)) + " " + std::to_string(dim) + " " +
                 std::to_string(tokens));
    const PageShape page{.rows = page_rows, .head_dim = dim, .dtype = t};
    const int64_t room = tokens + more + kBehind;
    const self_check::PagedHeads cpu(page, rows, 2, room, cpu_), gpu(page, rows, 2, room, *gpu_);
    for (int32_t first = 0, n = tokens; first < tokens + more; first += n, n = 1) {
      const Tensor k = rnd({2 * n, 2, dim}, uint64_t(2 + first), t);
      const Tensor v = rnd({2 * n, 2, dim}, uint64_t(99 + first), t);
      const Tensor q = rnd({2, 6, dim}, uint64_t(1 + first), t);
      const auto at = [&](int32_t position) {
        return Tensor::from(std::vector<int32_t>{position, position + kBehind}, {2}, cpu_);
      };
      append_to_cache(k, v, at(first), cpu.layer);
      append_to_cache(on_gpu(k), on_gpu(v), on_gpu(at(first)), gpu.layer);
      const Tensor last = at(first + n - 1);
      expect_same(decode_attention(q, cpu.layer, last, 0.2),
                  decode_attention(on_gpu(q), gpu.layer, on_gpu(last), 0.2), "decode");
    }
    expect_same(cpu.memory, gpu.memory, "the cache", 0);
  };
  for (const DType t : kFloats) {
    for (const int64_t dim : {16, 80, 128, 200}) compare(t, dim, dim == 80 ? 7 : 16, 50, 7);
  }
  compare(DType::f32, 16, 64, 1200, 2);
  compare(DType::bf16, 128, 64, 500, 20);
}

TEST_F(CudaOps, CopiesOfViews) {
  const Tensor x = rnd({5, 4, 6}, 1, DType::f32), gx = on_gpu(x);
  expect_same(x.slice(1, 1, 3).clone(), gx.slice(1, 1, 3).clone(), "middle", 0);
  expect_same(x.slice(2, 2, 5).clone(), gx.slice(2, 2, 5).clone(), "last", 0);
  expect_same(x.slice(1, 1, 3).slice(2, 2, 5).clone(), gx.slice(1, 1, 3).slice(2, 2, 5).clone(),
              "both", 0);
}

TEST_F(CudaOps, LargeTransfers) {
  const int64_t n = 5'000'001;  // over both staging buffers
  std::vector<float> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 0.0f);
  const Tensor t = Tensor::from(values, {n}, *gpu_);
  EXPECT_TRUE(t.to_vector<float>() == values);
  std::vector<Tensor> small;
  for (int i = 0; i < 200; ++i) small.push_back(Tensor::from(std::vector<int32_t>{i}, {1}, *gpu_));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(small[size_t(i)].to_vector<int32_t>()[0], i);
}

TEST_F(CudaOps, MemoryIsCountedAndRunsOutWithOneLine) {
  gpu_->set_advice_when_full("do something");
  gpu_->reset_peak();
  const auto before = gpu_->memory();
  {
    const Tensor t = Tensor::empty({1000, 1000}, DType::f32, *gpu_);
    EXPECT_GE(gpu_->memory().in_use_bytes, before.in_use_bytes + 4'000'000);
  }
  EXPECT_EQ(gpu_->memory().in_use_bytes, before.in_use_bytes);
  EXPECT_GE(gpu_->memory().peak_bytes, before.in_use_bytes + 4'000'000);
  try {
    const Tensor t = Tensor::empty({int64_t(1) << 50}, DType::u8, *gpu_);
    FAIL();
  } catch (const UsageError& error) {
    const std::string line = error.what();
    EXPECT_EQ(line.find("out of GPU memory: 1048576.000 GiB asked, "), 0u) << line;
    EXPECT_NE(line.find("free (device cuda:0): do something"), line.npos) << line;
  }
}

}  // namespace
}  // namespace elastron::ops
