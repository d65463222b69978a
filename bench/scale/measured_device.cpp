#include "bench/scale/measured_device.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <random>

#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/routed_attention.h"

namespace elastron::bench {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of one call.
double best_seconds(Device& device, int calls, const std::function<void()>& work) {
  work();
  device.synchronize();
  double best = 0;
  for (int window = 0; window < 3; ++window) {
    const double start = now();
    for (int i = 0; i < calls; ++i) work();
    device.synchronize();
    const double seconds = (now() - start) / calls;
    if (window == 0 || seconds < best) best = seconds;
  }
  return best;
}

Tensor random(const Shape& shape, DType dtype, Device& device) {
  std::mt19937 engine(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(size_t(shape.numel()));
  for (float& v : values) v = normal(engine);
  return ops::cast(Tensor::from(values, shape, device), dtype);
}

}  // namespace

train::DeviceSpec measure_device(const model::ModelConfig& m, int64_t tokens, DType dtype,
                                 const train::DeviceSpec& links, Device& device) {
  train::DeviceSpec out = links;
  out.name = "measured, " + device.description();
  out.kind = device.kind();

  const Tensor x = random({tokens, m.hidden_size}, dtype, device);
  double linear = 0;
  {
    const ops::LinearWeight up(random({m.intermediate_size, m.hidden_size}, dtype, device),
                               ops::WeightForm::packed);
    linear = 2 * double(tokens * m.hidden_size * m.intermediate_size) /
             best_seconds(device, 3, [&] { ops::linear_forward(x, up); });
  }
  double attention = 0, backward = 0;
  {
    const std::vector<int32_t> cu = {0, int32_t(tokens)};
    const std::vector<uint8_t> open(size_t(m.kv_heads), 1);
    const ops::RoutedAttentionInput in{
        .q = random({tokens, m.q_heads, m.head_dim}, dtype, device),
        .k = random({tokens, m.kv_heads, m.head_dim}, dtype, device),
        .v = random({tokens, m.kv_heads, m.head_dim}, dtype, device),
        .gate = Tensor::from(open, {1, m.kv_heads}, device),
        .varlen = {cu},
        .pattern = {ops::KeySet::full(),
                    ops::KeySet::streaming(ops::StreamingRule::from_tokens(128, 2048, 64))},
        .softmax_scale = 1 / std::sqrt(double(m.head_dim))};
    ops::RoutedAttentionOutput saved;
    const double work =
        4 * double(m.q_heads * m.head_dim) * double(tokens) * double(tokens + 1) / 2;
    attention = work / best_seconds(device, 1, [&] {
                  saved = ops::routed_attention_forward(in, ops::Branches::both);
                });
    backward = 2.5 * work / best_seconds(device, 1, [&] {
                 ops::routed_attention_backward(in.q, in, saved, true, true);
               });
  }
  const double fastest = std::max({linear, attention, backward});
  out.compute = {.bfloat16 = fastest,
                 .float32 = fastest,
                 .linear_share = linear / fastest,
                 .attention_forward_share = attention / fastest,
                 .attention_backward_share = backward / fastest,
                 .bandwidth_share = 1};
  Tensor sum = random({tokens, m.hidden_size}, dtype, device);
  out.memory.bandwidth =
      3 * double(sum.bytes()) / best_seconds(device, 10, [&] { ops::add_into(sum, x); });
  Tensor few = Tensor::zeros({64}, dtype, device);
  const Tensor other = Tensor::zeros({64}, dtype, device);
  out.compute.launch_seconds = best_seconds(device, 1000, [&] { ops::add_into(few, other); });
  return out;
}

train::DeviceLink measure_link(parallel::Communicator& group, Device& device) {
  const auto seconds = [&](int64_t count, int calls) {
    Tensor t = Tensor::zeros({count}, DType::f32, device);
    group.barrier();
    return best_seconds(device, calls,
                        [&] { group.all_reduce(t, parallel::ReduceOp::sum).wait(); });
  };
  constexpr int64_t kLarge = 2 << 20;
  const double ranks = group.size();
  const double small = seconds(16, 20), large = seconds(kLarge, 3);
  double link[] = {8 * double(kLarge) * (ranks - 1) / ranks / std::max(large - small, 1e-9),
                   small / 2 / std::ceil(std::log2(ranks))};
  group.all_reduce_host(std::span(link), parallel::ReduceOp::sum);
  return {.bandwidth = link[0] / ranks, .latency = link[1] / ranks};
}

}  // namespace elastron::bench
