// An engine on the CPU, timed: reading a prompt, and decoding some texts at once. Which gates its
// heads have is drawn for a given MSR (random:MSR:1, as --force has it).
//
//   elastron_bench_inference --model DIR [--dtype bfloat16] --case TOKENS:TEXTS:MSR:STEPS ... [--json FILE]
//
// A case reads TEXTS prompts of TOKENS ids each, one after the other, and decodes STEPS tokens of all.
// bench/inference/run.py runs it in turns with a peer.
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "bench/json_file.h"
#include "core/device.h"
#include "core/philox.h"
#include "inference/scheduler.h"
#include "model/weights/model_folder.h"
#include "router/forced_gate.h"

namespace elastron::bench {
namespace {

struct Case {
  int64_t tokens = 512, texts = 1, steps = 32;
  double msr = 0;
};

Case parse(const std::string& text) {
  Case c;
  char end = 0;
  long long tokens = 0, texts = 0, steps = 0;
  if (std::sscanf(text.c_str(), "%lld:%lld:%lf:%lld%c", &tokens, &texts, &c.msr, &steps, &end) !=
      4) {
    throw CLI::ValidationError("--case", "'" + text + "' is not TOKENS:TEXTS:MSR:STEPS");
  }
  c.tokens = tokens, c.texts = texts, c.steps = steps;
  return c;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Bytes per second that all threads read, of memory no cache holds; the best of some passes.
double read_bandwidth(const Tensor& numbers) {
  const auto* words = static_cast<const uint64_t*>(numbers.raw());
  const int64_t n = numbers.bytes() / 8;
  double best = 0;
  uint64_t sum = 0;
  for (int pass = 0; pass < 4; ++pass) {
    const auto start = std::chrono::steady_clock::now();
#pragma omp parallel for reduction(+ : sum) schedule(static)
    for (int64_t i = 0; i < n; ++i) sum += words[i];
    best = std::max(best, double(n * 8) / seconds_since(start));
  }
  if (sum == 1) std::puts("");  // so that the sum is needed
  return best;
}

// What a token of every text reads of the weights: all matrices but the embedding, of which it reads
// a row, unless it is the head as well.
double weight_bytes(const inference::Engine& engine, const model::ModelFolder& folder) {
  const model::ModelConfig& m = folder.config();
  const int64_t head = m.vocab_size * m.hidden_size;
  const int64_t q = m.q_heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  const int64_t layer = m.hidden_size * (2 * q + 2 * kv + 3 * m.intermediate_size);
  return double(m.num_layers * layer + head) * double(dtype_size(engine.dtype()));
}

nlohmann::json run(const Case& c, const model::ModelFolder& folder, inference::Engine& engine) {
  const model::ModelConfig& m = folder.config();
  engine.route_by(router::random_static_gates(m.num_layers, m.kv_heads, c.msr, 1));
  inference::Scheduler scheduler(engine, {.slots = c.texts, .vocab_size = m.vocab_size});
  for (int64_t text = 0; text < c.texts; ++text) {
    const RandomStream stream(uint64_t(text), RandomPurpose::test, 0);
    inference::Request request{.max_tokens = c.steps + 1, .ignore_eos = true};
    for (int64_t i = 0; i < c.tokens; ++i) {
      request.prompt.push_back(int32_t(stream.uniform_at(uint64_t(i)) * double(m.vocab_size)));
    }
    scheduler.submit(std::move(request));
  }
  auto start = std::chrono::steady_clock::now();
  const auto first = scheduler.step();
  const double reading = seconds_since(start) / double(c.texts);
  double cache = 0, full = 0;
  for (const inference::Event& event : first) {
    cache += double(event.prompt->cache_bytes);
    full += double(event.prompt->full_cache_bytes);
  }
  std::vector<double> steps;
  while (!scheduler.idle()) {
    start = std::chrono::steady_clock::now();
    scheduler.step();
    steps.push_back(seconds_since(start));
  }
  std::ranges::sort(steps);
  const double step = steps.empty() ? 0 : steps[steps.size() / 2];
  const double bytes = weight_bytes(engine, folder) + cache;
  fmt::print(
      "{:>6} tokens x {:<2} MSR {:<4}: prompt {:.3f} s; {:.1f} ms a step, {:.1f} tokens/s; cache "
      "{:.0f} MB, {:.2f} of full\n",
      c.tokens, c.texts, c.msr, reading, step * 1e3, step == 0 ? 0 : double(c.texts) / step,
      cache * 1e-6, cache / full);
  return {{"tokens", c.tokens},        {"texts", c.texts},     {"msr", c.msr},
          {"prompt_seconds", reading}, {"step_seconds", step}, {"cache_bytes", cache},
          {"full_cache_bytes", full},  {"step_bytes", bytes}};
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) {
  using namespace elastron;
  CLI::App app("an engine on the CPU, timed");
  std::string model, dtype = "bfloat16", json;
  std::vector<std::string> cases;
  app.add_option("--model", model)->required();
  app.add_option("--dtype", dtype)->check(CLI::IsMember({"bfloat16", "float32"}));
  app.add_option("--case", cases, "TOKENS:TEXTS:MSR:STEPS")->required();
  app.add_option("--json", json);
  CLI11_PARSE(app, argc, argv);
  std::vector<bench::Case> parsed;
  int64_t longest = 0;
  for (const auto& text : cases) {
    parsed.push_back(bench::parse(text));
    longest = std::max(longest, parsed.back().tokens + parsed.back().steps + 1);
  }
  parallel::Mesh mesh = parallel::Mesh::single();
  const model::ModelFolder folder(model);
  CpuDevice device;
  inference::Engine engine(
      folder, {.dtype = dtype == "float32" ? DType::f32 : DType::bf16, .max_position = longest},
      mesh, device);
  const Tensor probe = Tensor::zeros({int64_t(1) << 27}, DType::f64, device);
  nlohmann::json figures = {{"threads", omp_get_max_threads()}};
  for (const bench::Case& c : parsed) {
    figures["cases"].push_back(bench::run(c, folder, engine));
    figures["cases"].back()["read_bytes_per_second"] = bench::read_bandwidth(probe);
  }
  return bench::write_json(json, figures);
}
