// An engine on the CPU, timed: reading a prompt, and decoding some texts at once. Which gates its
// heads have is drawn for a given MSR (random:MSR:1, as --force has it), or decided by a router.
//
//   elastron_bench_inference --model DIR [--dtype bfloat16] --case TOKENS:TEXTS:MSR:STEPS ... [--json FILE]
//     [--router PATH [--documents KIND...]]
//
// A case reads TEXTS prompts of TOKENS ids each, one after the other, and decodes STEPS tokens of all. MSR
// is a number, or "router". Prompts are random ids, or documents of the synthetic kinds, in turn.
// bench/inference/run.py runs it in turns with a peer, launch/reproduce.sh on the small backbone.
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "bench/json_file.h"
#include "core/device.h"
#include "core/philox.h"
#include "data/synthetic/tasks.h"
#include "data/tokenizer.h"
#include "inference/prompt_summary.h"
#include "inference/scheduler.h"
#include "model/weights/model_folder.h"
#include "router/forced_gate.h"
#include "train/exchange/router_exchange.h"

namespace elastron::bench {
namespace {

struct Case {
  int64_t tokens = 512, texts = 1, steps = 32;
  std::optional<double> msr;  // of drawn gates; empty: the router decides
};

Case parse(const std::string& text) {
  Case c;
  char end = 0;
  long long tokens = 0, texts = 0, steps = 0;
  double msr = 0;
  if (std::sscanf(text.c_str(), "%lld:%lld:%lf:%lld%c", &tokens, &texts, &msr, &steps, &end) == 4) {
    c.msr = msr;
  } else if (std::sscanf(text.c_str(), "%lld:%lld:router:%lld%c", &tokens, &texts, &steps, &end) !=
             3) {
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

struct Prompts {
  const data::Tokenizer* tokenizer = nullptr;
  std::vector<std::string> kinds;  // of synthetic documents; empty: random ids

  std::vector<int32_t> ids(int64_t text, int64_t tokens, int64_t vocab_size) const {
    if (!kinds.empty()) {
      const auto kind = data::synthetic_kind_from_name(kinds[size_t(text) % kinds.size()]);
      const data::Record r = data::synthetic_record(1, kind, uint64_t(text), {.length = tokens});
      std::vector<int32_t> ids = tokenizer->encode(r.context + " " + r.question);
      ids.resize(size_t(tokens), ids.back());  // for the answer's words
      return ids;
    }
    const RandomStream stream(uint64_t(text), RandomPurpose::test, 0);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < tokens; ++i) {
      ids.push_back(int32_t(stream.uniform_at(uint64_t(i)) * double(vocab_size)));
    }
    return ids;
  }
};

nlohmann::json run(const Case& c, const Prompts& prompts, const model::ModelFolder& folder,
                   inference::Engine& engine, const parallel::Mesh& mesh) {
  const model::ModelConfig& m = folder.config();
  if (c.msr) engine.route_by(router::random_static_gates(m.num_layers, m.kv_heads, *c.msr, 1));
  inference::Scheduler scheduler(engine, {.slots = c.texts, .vocab_size = m.vocab_size});
  for (int64_t text = 0; text < c.texts; ++text) {
    inference::Request request{.max_tokens = c.steps + 1, .ignore_eos = true};
    request.prompt = prompts.ids(text, c.tokens, m.vocab_size);
    scheduler.submit(std::move(request));
  }
  auto start = std::chrono::steady_clock::now();
  const auto first = scheduler.step();
  const double reading = seconds_since(start) / double(c.texts);
  double cache = 0, full = 0, msr = 0, visited = 0;
  for (const inference::Event& event : first) {
    const inference::PromptSummary summary = inference::summary_of(*event.prompt, mesh);
    cache += summary.cache_bytes;
    full += summary.full_cache_bytes;
    msr += summary.msr / double(c.texts);
    visited += (1 - summary.esr_tiles) / double(c.texts);
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
      "{:>6} tokens x {:<2} MSR {:<4.2f}: prompt {:.3f} s; {:.1f} ms a step, {:.1f} tokens/s; "
      "cache "
      "{:.0f} MB, {:.2f} of full\n",
      c.tokens, c.texts, msr, reading, step * 1e3, step == 0 ? 0 : double(c.texts) / step,
      cache * 1e-6, cache / full);
  return {{"tokens", c.tokens},        {"texts", c.texts},         {"msr", msr},
          {"prompt_seconds", reading}, {"step_seconds", step},     {"cache_bytes", cache},
          {"full_cache_bytes", full},  {"tiles_visited", visited}, {"step_bytes", bytes}};
}

// What a case cost, as a reproduction's results have it (docs/report.md). Beside the time: what part of full
// attention's operations the tiles that were visited leave, dense products included.
nlohmann::json cost_of(const nlohmann::json& figures, const model::ModelConfig& m) {
  const double tokens = figures["tokens"], visited = figures["tiles_visited"];
  const double q = double(m.q_heads * m.head_dim), kv = double(m.kv_heads * m.head_dim);
  const double dense = double(m.num_layers) * tokens * 2 * double(m.hidden_size) *
                       (2 * q + 2 * kv + 3 * double(m.intermediate_size));
  const double attention = double(m.num_layers) * 2 * tokens * tokens * q;  // of causal pairs
  const double step = figures["step_seconds"];
  return {{"tokens", figures["tokens"]},
          {"msr", figures["msr"]},
          {"prefill_seconds", figures["prompt_seconds"]},
          {"decode_tokens_per_second", step == 0 ? 0 : double(figures["texts"]) / step},
          {"cache_bytes", figures["cache_bytes"]},
          {"tiles_visited", figures["tiles_visited"]},
          {"arithmetic_prefill", (dense + visited * attention) / (dense + attention)}};
}

}  // namespace
}  // namespace elastron::bench

int main(int argc, char** argv) {
  using namespace elastron;
  CLI::App app("an engine on the CPU, timed");
  std::string model, router, dtype = "bfloat16", json, cost;
  std::vector<std::string> cases;
  bench::Prompts prompts;
  app.add_option("--model", model)->required();
  app.add_option("--dtype", dtype)->check(CLI::IsMember({"bfloat16", "float32"}));
  app.add_option("--case", cases, "TOKENS:TEXTS:MSR:STEPS")->required();
  app.add_option("--json", json);
  app.add_option("--cost", cost, "what the last case cost, for launch/reproduce.sh");
  app.add_option("--router", router, "decides where a case says so; its settings hold in all");
  app.add_option("--documents", prompts.kinds, "synthetic kinds");
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
  inference::EngineOptions options{.dtype = dtype == "float32" ? DType::f32 : DType::bf16,
                                   .max_position = longest};
  std::optional<router::StoredRouter> stored;
  if (!router.empty()) {
    stored = train::read_router(router, mesh, device);
    options.routing = stored->config;
  }
  inference::Engine engine(folder, options, mesh, device);
  const auto tokenizer = prompts.kinds.empty() ? nullptr : data::load_tokenizer(model);
  prompts.tokenizer = tokenizer.get();
  const Tensor probe = Tensor::zeros({int64_t(1) << 27}, DType::f64, device);
  nlohmann::json figures = {{"threads", omp_get_max_threads()}};
  for (const bench::Case& c : parsed) {
    if (stored && !c.msr) engine.route_by(*stored, router);
    figures["cases"].push_back(bench::run(c, prompts, folder, engine, mesh));
    figures["cases"].back()["read_bytes_per_second"] = bench::read_bandwidth(probe);
  }
  const int failed =
      cost.empty()
          ? 0
          : bench::write_json(cost, bench::cost_of(figures["cases"].back(), folder.config()));
  return failed != 0 ? failed : bench::write_json(json, figures);
}
