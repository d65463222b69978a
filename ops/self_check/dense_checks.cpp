#include "ops/self_check/dense_checks.h"

#include <vector>

#include "ops/adamw.h"
#include "ops/boundary_pool.h"
#include "ops/cross_entropy.h"
#include "ops/decode_attention.h"
#include "ops/dequantise.h"
#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/expert_choice.h"
#include "ops/expert_rows.h"
#include "ops/gate.h"
#include "ops/grouped_linear.h"
#include "ops/hard_concrete.h"
#include "ops/head_groups.h"
#include "ops/kernel_families.h"
#include "ops/kv_cache.h"
#include "ops/linear.h"
#include "ops/mlp_chain.h"
#include "ops/quantise.h"
#include "ops/rms_norm.h"
#include "ops/rms_norm_rope.h"
#include "ops/rope.h"
#include "ops/rows.h"
#include "ops/self_check/comparison.h"
#include "ops/self_check/forbidding.h"
#include "ops/self_check/paged_heads.h"
#include "ops/sparsity_objective.h"
#include "ops/swiglu.h"
#include "ops/timed_products.h"

namespace elastron::ops::self_check {

namespace {

// Small products are timed as large ones are, for as long as this lives.
class TimingSmallProducts {
 public:
  explicit TimingSmallProducts(Device& gpu)
      : products_(gpu.attached<TimedProducts>()), before_(products_) {
    products_.least = 0;
  }
  ~TimingSmallProducts() { products_ = before_; }
  TimingSmallProducts(const TimingSmallProducts&) = delete;
  TimingSmallProducts& operator=(const TimingSmallProducts&) = delete;

 private:
  TimedProducts& products_;
  TimedProducts before_;
};

void norms(Comparison& c, DType t, Device& gpu) {
  const double most = tolerance(t);
  // Rows that a warp has and that a block has, one odd.
  for (const int64_t n : {33, 128, 1536}) {
    c.same("RMS norm", host_device(), gpu, most, {"y", "1/rms", "dx", "sum with dx", "dw"},
           [&](Inputs& in) -> Results {
             const Tensor x = in.normal({13, n}, t), w = in.normal({n}, t);
             const Tensor dy = in.normal({13, n}, t);
             Tensor sum = in.normal({13, n}, t), dw = in.normal({n}, accumulator_dtype(t));
             const auto y = rms_norm_forward(x, w, 1e-6);
             const Tensor dx = rms_norm_backward(dy, x, w, y.inv_rms, {}, &dw);
             rms_norm_backward(dy, x, w, y.inv_rms, sum, nullptr);
             return {y.y, y.inv_rms, dx, sum, dw};
           });
  }
}

void rotations(Comparison& c, DType t, Device& gpu) {
  const double most = tolerance(t);
  for (const int64_t dim : {64, 80, 128}) {
    c.same("RoPE", host_device(), gpu, most, {"y", "y with norm", "1/rms", "dx with norm", "dw"},
           [&](Inputs& in) -> Results {
             const Tensor positions = in.numbers(11, 64);
             const Tensor table =
                 rope_table(dim, {.theta = 1e4}, 64, accumulator_dtype(t), in.device());
             Tensor x = in.normal({11, 3, dim}, t), dy = in.normal({11, 3, dim}, t);
             const Tensor w = in.normal({dim}, t);
             Tensor dw = Tensor::zeros({dim}, accumulator_dtype(t), in.device());
             const auto y = rms_norm_rope_forward(x, w, 1e-6, positions, table);
             const Tensor dx = rms_norm_rope_backward(dy, x, w, y.inv_rms, positions, table, &dw);
             rope_apply(x, positions, table, false);
             return {x, y.y, y.inv_rms, dx, dw};
           });
  }
}

void elementwise(Comparison& c, DType t, Device& gpu) {
  const double most = tolerance(t);
  for (const int64_t n : {7, 4099}) {
    c.same("elementwise", host_device(), gpu, most,
           {"sum", "cast", "silu", "d silu", "swiglu", "d gate", "d up", "parts"},
           [&](Inputs& in) -> Results {
             const Tensor a = in.normal({n}, t), b = in.normal({n}, t), d = in.normal({n}, t);
             const Tensor parts = in.normal({3, n}, t);
             Tensor sum = add(a, b), of_parts = Tensor::empty({n}, t, in.device());
             add_into(sum, d);
             scale_into(sum, 0.37);
             sum_parts(parts, of_parts);
             const auto gradient = swiglu_backward(d, a, b, false);
             return {sum,
                     cast(a, t == DType::bf16 ? DType::f32 : DType::bf16),
                     silu_forward(a),
                     silu_backward(d, a),
                     swiglu_forward(a, b),
                     gradient.gate,
                     gradient.up,
                     of_parts};
           });
  }
}

void rows(Comparison& c, DType t, Device& gpu) {
  const double most = tolerance(t);
  const DType master = accumulator_dtype(t);
  c.same("rows", host_device(), gpu, most,
         {"embedding", "d table", "gather", "scatter", "sums of rows", "d bias"},
         [&](Inputs& in) -> Results {
           const Tensor ids = in.numbers(40, 30), table = in.normal({20, 72}, t);
           const Tensor dy = in.normal({40, 72}, t);
           Tensor d_table = in.normal({20, 72}, master), into = in.normal({50, 72}, t);
           Tensor bias = in.normal({72}, master);
           std::vector<int32_t> some = {8, 0, 39, 5};
           const Tensor at = Tensor::from(some, {4}, in.device());
           embedding_backward(dy, ids, 5, d_table);
           const Tensor taken = gather_rows(dy, at);
           scatter_rows(taken, at, into);
           const Tensor sums = Tensor::empty({3, 72}, t, in.device());
           const std::vector<int32_t> bounds = {0, 3, 3, 4}, summed = {2, 0, 3, 1};
           sum_rows({taken},
                    {.bounds = Tensor::from(bounds, {4}, in.device()),
                     .rows = Tensor::from(summed, {4}, in.device())},
                    {sums});
           linear_bias_grad(dy, bias);
           return {embedding_forward(ids, table, 5), d_table, taken, into, sums, bias};
         });
  for (const int64_t shard : {40, 1500}) {
    c.same("cross-entropy", host_device(), gpu, most,
           {"parts", "lse", "loss", "argmax", "d logits"}, [&](Inputs& in) -> Results {
             Tensor logits = in.normal({6, shard}, t);
             const Tensor labels = in.numbers(6, shard);
             const auto of_rows = cross_entropy_rows(logits, labels, 0);
             const auto whole = cross_entropy_combine(of_rows.parts.view({1, 4, 6}), master);
             cross_entropy_backward(logits, labels, whole.lse, 0, 0.01);
             return {of_rows.parts, whole.lse, whole.loss, whole.argmax, logits};
           });
  }
}

// Weights in FP8, whole blocks and parts: what is multiplied is the same number, bit for bit.
void stored_weights(Comparison& c, DType t, Device& gpu) {
  for (const int64_t n : {45, 160}) {
    c.same("FP8 weights", host_device(), gpu, 0, {"numbers", "embedding"},
           [&](Inputs& in) -> Results {
             const QuantisedWeight q =
                 quantise(in.normal({140, n}, DType::f32).on_host(), WeightBlocks{});
             const Tensor values = q.values.to(in.device());
             WeightScale scale = q.scale;
             scale.values = scale.values.to(in.device());
             const Tensor ids = in.numbers(40, 150);
             return {dequantise(values, scale, t), embedding_forward(ids, values, 5, scale, t)};
           });
  }
}

// A linear layer and its gradients, of these sizes.
Computation linear_layer(DType t, int64_t tokens, int64_t out, int64_t in_features) {
  return [=](Inputs& in) -> Results {
    const Tensor x = in.normal({tokens, in_features}, t), dy = in.normal({tokens, out}, t);
    const LinearWeight w(in.normal({out, in_features}, t), WeightForm::in_place);
    const Tensor bias = in.normal({out}, t);
    Tensor dw = in.normal({out, in_features}, accumulator_dtype(t));
    Tensor sum = in.normal({tokens, in_features}, t);
    linear_wgrad(dy, x, dw);
    linear_dgrad(dy, w, sum);
    return {linear_forward(x, w), linear_forward(x, w, bias), linear_dgrad(dy, w), sum, dw};
  };
}
constexpr std::initializer_list<const char*> kOfLinear = {"y", "y with bias", "dx", "sum with dx",
                                                          "dw"};

}  // namespace

std::string check_dense_ops(DType dtype, Device& gpu) {
  Comparison c;
  elementwise(c, dtype, gpu);
  norms(c, dtype, gpu);
  rotations(c, dtype, gpu);
  rows(c, dtype, gpu);
  stored_weights(c, dtype, gpu);
  if (c.difference().empty()) {
    Inputs there(host_device()), here(gpu);
    const Shape shape{5000};
    const double a = sum_of_squares(there.normal(shape, dtype));
    const double b = sum_of_squares(here.normal(shape, dtype));
    if (!(std::abs(a - b) <= 1e-6 * a)) return "a sum of squares";
  }
  return c.difference();
}

std::string check_gates(DType dtype, Device& gpu) {
  Comparison c;
  const std::vector<PoolSegment> segments = {{0, 5}, {5, 5}, {6, 30}, {30, 59}};
  for (const bool boundary : {true, false}) {
    const PoolRule rule{.boundary = boundary, .budget = 10};
    c.same("pooling", host_device(), gpu, tolerance(dtype), {"pooled", "dk"},
           [&](Inputs& in) -> Results {
             const Tensor k = in.normal({60, 2, 40}, dtype);
             Tensor dk = in.normal({60, 2, 40}, dtype);
             boundary_pool_backward(in.normal({4, 2, 40}, accumulator_dtype(dtype)), segments, rule,
                                    dk);
             return {boundary_pool_forward(k, segments, rule), dk};
           });
  }
  c.same("heads of a layer", host_device(), gpu, tolerance(DType::f32), {"sum", "spread", "gate"},
         [&](Inputs& in) -> Results {
           const Tensor of_layer = in.normal({5, 1, 40}, DType::f32);
           return {sum_heads(in.normal({5, 8, 40}, DType::f32), 2, 0.25),
                   spread_over_heads(of_layer, 8, 0.125),
                   spread_gate(gate_decide(in.normal({5, 1, 2}, DType::f32)).gate, 8)};
         });
  const std::vector<uint32_t> keys = {3, 77, 5};
  const GateSampling sampling{.seed = 5, .step = 9, .sample_keys = keys, .layer = 3, .tau = 0.8};
  c.same("gates", host_device(), gpu, tolerance(DType::f32),
         {"sampled", "probability", "d logits", "d tau", "decided"}, [&](Inputs& in) -> Results {
           const Tensor logits = in.normal({3, 40, 2}, DType::f32);
           const Tensor d = in.normal({3, 40}, DType::f32);
           Tensor d_tau = in.normal({1}, DType::f32);
           const auto z = gate_sample(logits, sampling);
           gate_tau_backward(d, z.probability, d_tau);
           return {z.gate, z.probability, gate_backward(d, z.probability, 2, 0.8), d_tau,
                   gate_decide(logits).gate};
         });
  for (const DType compute : {DType::f32, DType::bf16}) {
    c.same("a router's networks", host_device(), gpu, tolerance(compute),
           {"logits", "d pooled", "dw", "db"}, [&](Inputs& in) -> Results {
             const LinearWeight first(in.normal({44, 12}, DType::f32), WeightForm::in_place);
             const LinearWeight second(in.normal({2, 44}, DType::f32), WeightForm::in_place);
             const ChainLayer layers[] = {{&first, in.normal({44}, DType::f32), true},
                                          {&second, in.normal({2}, DType::f32), false}};
             ChainGradient sums[] = {{in.normal({44, 12}, DType::f32), in.normal({44}, DType::f32)},
                                     {in.normal({2, 44}, DType::f32), in.normal({2}, DType::f32)}};
             ChainSaved saved;
             const Tensor y =
                 mlp_chain_forward(in.normal({9, 12}, DType::f32), layers, compute, &saved);
             const Tensor dx = mlp_chain_backward(in.normal({9, 2}, DType::f32), layers, compute,
                                                  saved, sums, /*need_input=*/true);
             return {y, dx, sums[0].weight, sums[0].bias};
           });
  }
  c.same("the sparsity objective", host_device(), gpu, tolerance(DType::f32),
         {"value", "d gate", "d lambda1", "d lambda2"}, [&](Inputs& in) -> Results {
           const ObjectiveDocument documents[] = {{0.4, 0.5, 0}, {0.7, 0.5, 1}, {0.1, 1, 1}};
           const ObjectiveMultipliers lambdas{
               in.normal({2}, DType::f32), in.normal({2}, DType::f32), in.normal({2}, DType::f32),
               in.normal({2}, DType::f32)};
           const Tensor closed = in.uniform({3}, DType::f64);
           const auto out = sparsity_objective(closed, 1, documents, lambdas,
                                               {.gate_scale = -1, .lambda_scale = 0.5}, 4);
           return {out.value, out.d_gate, lambdas.d_lambda1, lambdas.d_lambda2};
         });
  c.same("hard-concrete gates", host_device(), gpu, tolerance(DType::f32),
         {"sampled", "value", "d log_alpha", "decided"}, [&](Inputs& in) -> Results {
           const Tensor alpha = in.normal({40}, DType::f32), d = in.normal({3, 40}, DType::f32);
           Tensor d_alpha = in.normal({40}, DType::f32);
           const auto z = hard_concrete_sample(alpha, {}, sampling);
           hard_concrete_backward(d, z.probability, {}, d_alpha);
           return {z.gate, z.probability, d_alpha, hard_concrete_decide(alpha, {}, 3).gate};
         });
  return c.difference();
}

std::string check_optimizer(DType dtype, Device& gpu) {
  Comparison c;
  const AdamWSettings settings{.lr = 1e-2, .weight_decay = 0.1};
  const DType master = accumulator_dtype(dtype);
  c.same("AdamW", host_device(), gpu, tolerance(master),
         {"master", "first moment", "second moment"}, [&](Inputs& in) -> Results {
           Tensor p = in.normal({1001}, master), m = in.normal({1001}, master);
           Tensor v = in.uniform({1001}, master), value = in.normal({1001}, dtype);
           Tensor* copy = dtype == master ? nullptr : &value;
           adamw_step(p, in.normal({1001}, master), m, v, copy, settings, 3, 0.5);
           return {p, m, v};
         });
  return c.difference();
}

std::string check_plain_products(DType dtype, Device& gpu) {
  const Forbidding library(gpu, {KernelFamily::library_products});
  Comparison c;
  for (const auto& [tokens, out, in] :
       {std::array<int64_t, 3>{1, 8, 8}, {33, 40, 70}, {70, 5, 3}}) {
    c.same("product", host_device(), gpu, tolerance(dtype), kOfLinear,
           linear_layer(dtype, tokens, out, in));
  }
  return c.difference();
}

std::string check_library_products(DType dtype, bool tuned, Device& gpu) {
  Comparison c;
  // Of each kind one that no vector width divides. An algorithm that was chosen for a size is kept,
  // for other numbers of tokens too: the two ways get sizes of their own.
  const int64_t more = tuned ? 8 : 0;
  const TimingSmallProducts timing(gpu);
  for (const auto& [tokens, out, in] :
       {std::array<int64_t, 3>{1, 64, 64}, {136, 72, 200}, {33, 40, 70}, {7, 5, 3}}) {
    const Computation layer = linear_layer(dtype, tokens, out + more, in);
    Inputs there(gpu), here(gpu);
    Results wanted, found;
    {
      const Forbidding library(gpu, {KernelFamily::library_products});
      wanted = layer(there);
    }
    {
      const Forbidding tuning(
          gpu, tuned ? std::initializer_list<KernelFamily>{}
                     : std::initializer_list<KernelFamily>{KernelFamily::tuned_products});
      found = layer(here);
    }
    size_t i = 0;
    for (const char* name : kOfLinear) {
      c.same(std::string("product ") + name, wanted[i], found[i], tolerance(dtype));
      ++i;
    }
  }
  return c.difference();
}

std::string check_experts(DType dtype, bool mma, Device& gpu) {
  const Forbidding tensor_cores(
      gpu, mma ? std::initializer_list<KernelFamily>{}
               : std::initializer_list<KernelFamily>{KernelFamily::mma_groups});
  Comparison c;
  const ExpertRule rule{.per_token = 3, .normalise = true};
  // Rows for large tiles and for small ones; widths that vectors divide, with a rest, and one odd.
  for (const auto& [tokens, width] : {std::pair<int64_t, int64_t>{200, 136}, {200, 75}, {5, 136}}) {
    c.same("experts", host_device(), gpu, tolerance(dtype),
           {"weights", "d logits", "hidden", "output", "sum of dx", "d taken", "d hidden"},
           [&](Inputs& in) -> Results {
             // Few values, so that both sides choose alike.
             const Tensor logits = cast(cast(in.normal({tokens, 6}, dtype), DType::bf16), dtype);
             const auto chosen = choose_experts(logits, rule);
             const ExpertRows rows = rows_by_expert(chosen.experts, 6);
             const GroupedWeight up(in.normal({6, width, 72}, dtype), WeightForm::in_place);
             const Tensor x = in.normal({tokens, 72}, dtype), d = in.normal({tokens, width}, dtype);
             const Tensor hidden = grouped_linear_forward(x, up, {rows.bounds, rows.tokens});
             Tensor back = in.normal({3 * tokens, 72}, dtype);
             Tensor d_hidden = in.normal({3 * tokens, width}, dtype);
             grouped_linear_dgrad(d_hidden, up, {rows.bounds, {}}, back);
             const Tensor d_rows = grouped_linear_dgrad(d, up, {rows.bounds, rows.tokens});
             const Tensor d_weights = weigh_expert_gradient(d_hidden, hidden, rows, chosen.weights);
             return {chosen.weights,
                     expert_weights_backward(d_weights, logits, chosen.experts, rule),
                     hidden,
                     sum_expert_rows(hidden, rows, tokens, chosen.weights),
                     sum_expert_rows(back, rows, tokens),
                     d_rows,
                     d_hidden};
           });
  }
  return c.difference();
}

std::string check_decoding(DType dtype, int64_t head_dim, int64_t group, Device& gpu) {
  Comparison c;
  c.same("decoding", host_device(), gpu, tolerance(dtype), {"output"}, [&](Inputs& in) -> Results {
    // A head that keeps all positions and one with a sink and a ring, which begins anew.
    constexpr int64_t kTokens = 150;
    const CacheRows ring{.every_position = false,
                         .rule = {.block = 16, .sink_blocks = 1, .local_blocks = 5}};
    const Tensor q = in.normal({2, 2 * group, head_dim}, dtype);
    const Tensor k = in.normal({2 * kTokens, 2, head_dim}, dtype);
    const Tensor v = in.normal({2 * kTokens, 2, head_dim}, dtype);
    const CacheRows rows[] = {CacheRows{}, ring, ring, CacheRows{}};
    const PagedHeads cache({.rows = 16, .head_dim = head_dim, .dtype = dtype}, rows, 2, kTokens,
                           in.device());
    const auto positions = [&](int32_t at) {
      return Tensor::from(std::vector<int32_t>{at, at}, {2}, in.device());
    };
    append_to_cache(k, v, positions(0), cache.layer);
    return {decode_attention(q, cache.layer, positions(kTokens - 1), 0.2)};
  });
  return c.difference();
}

}  // namespace elastron::ops::self_check
