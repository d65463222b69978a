// Routed attention on one core: both outputs against one, sparse heads against their share of the
// work, backward against forward, memory, and all of it against the machine's FMA peak.
//
//   elastron_bench_attention [--json FILE] [--windows N]
//
// Times are CPU time of one thread, best of several runs: the machine may be shared.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "bench/fma_peak.h"
#include "bench/json_file.h"
#include "core/device.h"
#include "ops/routed_attention.h"

namespace elastron::bench {
namespace {

struct Case {
  int64_t tokens, q_heads, kv_heads, head_dim;
  DType dtype;
  ops::StreamingRule rule;
};

Tensor random_heads(int64_t tokens, int64_t heads, int64_t dim, DType dtype, Device& device,
                    uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size_t(tokens * heads * dim));
  for (float& x : values) x = normal(engine);
  const Shape shape{tokens, heads, dim};
  if (dtype == DType::f32) return Tensor::from(values, shape, device);
  std::vector<bf16> narrow;
  for (const float x : values) narrow.push_back(bf16(x));
  return Tensor::from(narrow, shape, device);
}

double best_seconds(int windows, const std::function<void()>& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < windows; ++i) {
    const double start = thread_seconds();
    work();
    best = std::min(best, thread_seconds() - start);
  }
  return best;
}

// One shape: every head full, then every head sparse.
nlohmann::json measure(const Case& c, int windows, double peak) {
  CpuDevice device;
  ops::RoutedAttentionInput in;
  in.q = random_heads(c.tokens, c.q_heads, c.head_dim, c.dtype, device, 1);
  in.k = random_heads(c.tokens, c.kv_heads, c.head_dim, c.dtype, device, 2);
  in.v = random_heads(c.tokens, c.kv_heads, c.head_dim, c.dtype, device, 3);
  const Tensor d_out = random_heads(c.tokens, c.q_heads, c.head_dim, c.dtype, device, 4);
  const std::vector<int32_t> cu = {0, int32_t(c.tokens)};
  in.varlen = {cu};
  in.rule = c.rule;
  in.softmax_scale = 1 / std::sqrt(double(c.head_dim));

  const double per_pair = 4.0 * double(c.q_heads * c.head_dim);  // two products, forward
  const double dense = double(ops::causal_pairs(c.tokens));
  const double streaming = double(ops::visible_pairs(c.rule, c.tokens));
  nlohmann::json out = {{"tokens", c.tokens},           {"q_heads", c.q_heads},
                        {"kv_heads", c.kv_heads},       {"head_dim", c.head_dim},
                        {"dtype", dtype_name(c.dtype)}, {"visible_share", streaming / dense}};
  std::printf("%ld tokens, %ld/%ld heads of %ld, %s, sparse heads see %.1f %% of the pairs\n",
              long(c.tokens), long(c.q_heads), long(c.kv_heads), long(c.head_dim),
              std::string(dtype_name(c.dtype)).c_str(), 100 * streaming / dense);
  const auto report = [&](const char* name, double seconds, double pairs, double products) {
    const double rate = per_pair * pairs * products / 2 / seconds;
    std::printf("  %-34s %9.2f ms  %6.1f GFLOP/s  %3.0f %% of FMA peak\n", name, 1e3 * seconds,
                1e-9 * rate, 100 * rate / peak);
    out[name] = {{"ms", 1e3 * seconds}, {"gflops", 1e-9 * rate}, {"peak_share", rate / peak}};
    return seconds;
  };

  double full_forward = 0, full_both = 0, sparse_forward = 0, sparse_both = 0;
  for (const bool full : {true, false}) {
    in.gate = Tensor::from(std::vector<uint8_t>(size_t(c.kv_heads), full ? 1 : 0),
                           Shape{1, c.kv_heads}, device);
    const double pairs = full ? dense : streaming;
    ops::RoutedAttentionOutput kept;
    const double selected = best_seconds(windows, [&] {
      kept = {};
      kept = ops::routed_attention_forward(in, ops::Branches::selected);
    });
    kept = {};
    device.reset_peak();
    const int64_t before = device.memory().in_use_bytes;
    const double both = best_seconds(windows, [&] {
      kept = {};
      kept = ops::routed_attention_forward(in, ops::Branches::both);
    });
    const auto extra = double(device.memory().peak_bytes - before) -
                       double(kept.selected.bytes() + kept.other.bytes() + kept.lse.bytes());
    const double backward =
        best_seconds(windows, [&] { ops::routed_attention_backward(d_out, in, kept, true, true); });
    const double gate_only = best_seconds(
        windows, [&] { ops::routed_attention_backward(d_out, in, kept, false, true); });
    report(full ? "forward, full" : "forward, sparse", selected, pairs, 2);
    report(full ? "forward, full, both outputs" : "forward, sparse, both outputs", both, dense, 2);
    report(full ? "backward, full" : "backward, sparse", backward, pairs, 5);
    std::printf("  backward / forward %.2f; gate's gradient alone %.2f ms; extra memory %.2f MB\n",
                backward / selected, 1e3 * gate_only, 1e-6 * extra);
    out[full ? "backward_over_forward_full" : "backward_over_forward_sparse"] = backward / selected;
    out[full ? "extra_bytes_full" : "extra_bytes_sparse"] = extra;
    (full ? full_forward : sparse_forward) = selected;
    (full ? full_both : sparse_both) = both;
  }
  const double both_ratio = std::max(full_both, sparse_both) / full_forward;
  const double share_ratio = sparse_forward / (full_forward * streaming / dense);
  std::printf("  both outputs / one dense forward   %.3f   (goal: at most 1.1)\n", both_ratio);
  std::printf("  sparse head / its share of pairs   %.3f   (goal: at most 1.3)\n\n", share_ratio);
  out["both_over_dense"] = both_ratio;
  out["sparse_over_share"] = share_ratio;
  return out;
}

int run(int argc, char** argv) {
  CLI::App app("Routed attention on one core");
  std::string json_path;
  int windows = 3;
  app.add_option("--json", json_path, "also write the figures here");
  app.add_option("--windows", windows, "runs of each kind; the best counts")
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  omp_set_num_threads(1);
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a line per figure, also into a pipe

  const double peak = fma_peak();
  std::printf("FMA peak of one core, float: %.1f GFLOP/s\n\n", 1e-9 * peak);
  const auto paper = ops::StreamingRule::from_tokens(128, 2048, 64);
  const auto small = ops::StreamingRule::from_tokens(128, 512, 64);
  nlohmann::json out = {{"fma_peak_gflops", 1e-9 * peak}};
  for (const Case& c :
       {Case{16384, 8, 8, 64, DType::f32, paper}, Case{16384, 8, 8, 64, DType::bf16, paper},
        Case{4096, 8, 2, 128, DType::f32, small}, Case{4096, 8, 4, 32, DType::f32, small},
        Case{512, 8, 4, 32, DType::f32, small}}) {
    const int repeats = c.tokens > 8192 ? windows : 5 * windows;
    out["cases"].push_back(measure(c, repeats, peak));
  }
  return write_json(json_path, out);
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) { return elastron::bench::run(argc, argv); }
