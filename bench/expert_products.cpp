// Products of a mixture of experts against those of an MLP of the same arithmetic, in turns.
//
//   elastron_bench_expert_products [--tokens N] [--experts N] [--turns N] [--json FILE]
//
// Widths are Qwen3-30B-A3B's: hidden 2,048, experts of 768, 8 of them per token. The MLP is as wide as
// a token's experts together; weights are frozen, and packed as in a run. Choices are random. Times are CPU time of
// one thread, the best of the turns: the machine may be shared.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "bench/fma_peak.h"
#include "bench/json_file.h"
#include "core/device.h"
#include "ops/elementwise.h"
#include "ops/expert_choice.h"
#include "ops/expert_rows.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"

namespace elastron::bench {
namespace {

constexpr int64_t kHidden = 2048, kWidth = 768, kPerToken = 8;

struct Options {
  int64_t tokens = 1024, experts = 32;
  int turns = 5;
};

Tensor random_values(const Shape& shape, DType dtype, Device& device, uint32_t seed) {
  std::minstd_rand engine(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(size_t(shape.numel()));
  for (float& v : values) v = uniform(engine);
  return ops::cast(Tensor::from(values, shape, device), dtype);
}

double seconds_of(const std::function<void()>& work) {
  const double begin = thread_seconds();
  work();
  return thread_seconds() - begin;
}

nlohmann::json measure(DType dtype, const Options& o) {
  CpuDevice device;
  const auto rnd = [&](const Shape& s, uint32_t seed) {
    return random_values(s, dtype, device, seed);
  };
  const int64_t rows = o.tokens * kPerToken, wide = kPerToken * kWidth;
  const Tensor x = rnd({o.tokens, kHidden}, 1), dy = rnd({o.tokens, wide}, 2);
  const Tensor of_rows = rnd({rows, kWidth}, 3);
  const ops::LinearWeight dense(rnd({wide, kHidden}, 4), ops::WeightForm::packed);
  const ops::GroupedWeight experts(rnd({o.experts, kWidth, kHidden}, 5), ops::WeightForm::packed);
  const auto chosen = ops::choose_experts(rnd({o.tokens, o.experts}, 6), {kPerToken, true});
  const auto by_expert = ops::rows_by_expert(chosen.experts, o.experts);
  struct Pair {
    const char* name;
    std::function<void()> of_experts, of_mlp;
  };
  const Pair pairs[] = {
      {"forward",
       [&] {
         ops::grouped_linear_forward(x, experts, {by_expert.bounds, by_expert.tokens});
       },
       [&] { ops::linear_forward(x, dense); }},
      {"gradient to the input",
       [&] {
         ops::grouped_linear_dgrad(of_rows, experts, {by_expert.bounds, {}});
       },
       [&] { ops::linear_dgrad(dy, dense); }}};
  nlohmann::json out;
  for (const Pair& pair : pairs) {
    double best[2] = {std::numeric_limits<double>::infinity(),
                      std::numeric_limits<double>::infinity()};
    for (int turn = 0; turn < o.turns; ++turn) {
      best[0] = std::min(best[0], seconds_of(pair.of_experts));
      best[1] = std::min(best[1], seconds_of(pair.of_mlp));
    }
    const double gflop = 2e-9 * double(rows) * double(kHidden) * double(kWidth);
    std::printf("%-9s %-22s experts %7.1f GFLOP/s, MLP %7.1f GFLOP/s, ratio %.2f\n",
                std::string(dtype_name(dtype)).c_str(), pair.name, gflop / best[0], gflop / best[1],
                best[1] / best[0]);
    out.push_back({{"dtype", dtype_name(dtype)},
                   {"pass", pair.name},
                   {"experts_gflops", gflop / best[0]},
                   {"mlp_gflops", gflop / best[1]},
                   {"ratio", best[1] / best[0]}});
  }
  return out;
}

int run(int argc, char** argv) {
  CLI::App app("Products of experts against those of an MLP of the same arithmetic");
  std::string json_path;
  Options o;
  app.add_option("--tokens", o.tokens)->check(CLI::PositiveNumber);
  app.add_option("--experts", o.experts)->check(CLI::Range(kPerToken, ops::kMostExperts));
  app.add_option("--turns", o.turns, "of each; the best counts")->check(CLI::PositiveNumber);
  app.add_option("--json", json_path, "also write the figures here");
  CLI11_PARSE(app, argc, argv);
  omp_set_num_threads(1);
  nlohmann::json out;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (auto& row : measure(dtype, o)) out.push_back(std::move(row));
  }
  return write_json(json_path, out);
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) { return elastron::bench::run(argc, argv); }
