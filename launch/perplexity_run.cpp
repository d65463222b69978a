#include "launch/perplexity_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "benchmark/perplexity/run.h"
#include "core/file/atomic_file.h"
#include "core/file/checksum.h"
#include "data/leading_ids.h"
#include "launch/made_by.h"
#include "launch/signals.h"
#include "model/weights/model_config.h"
#include "parallel/agree.h"

namespace elastron::launch {

namespace {

using Json = nlohmann::ordered_json;

std::vector<int64_t> lengths_of(const PerplexityArguments& a) {
  std::vector<int64_t> lengths = a.lengths;
  const int64_t positions = model::read_model_shapes(a.engine.model).max_position_embeddings;
  if (lengths.empty()) {
    for (int64_t n = 4096; n <= positions; n *= 2) lengths.push_back(n);
  }
  if (lengths.empty()) {
    throw UsageError(fmt::format("the model has {} positions", positions), "--length",
                     "give lengths that it covers");
  }
  std::ranges::sort(lengths);
  return lengths;
}

RowsIdentity identity_of(const PerplexityArguments& a,
                         const std::vector<benchmark::TokenisedText>& texts,
                         const std::vector<int64_t>& lengths, const std::string& gates) {
  Checksum sum;
  for (const auto& text : texts) {
    sum.add(text.name);
    for (const int32_t id : text.ids) sum.add(int64_t(id));
  }
  std::string settings;
  for (const std::string& each : a.engine.overrides) {
    // Devices may change on the way, and compute the same.
    if (!each.starts_with("device")) settings += (settings.empty() ? "" : " ") + each;
  }
  return {{"benchmark", "perplexity"},
          {"model", a.engine.model},
          {"router", a.engine.router},
          {"gates", gates},
          {"dtype", a.engine.dtype},
          {"settings", settings},
          {"texts", sum.digest()},
          {"lengths", nlohmann::json(lengths).dump()},
          {"window", std::to_string(a.window)}};
}

// By length.
std::map<int64_t, Json> results_of(const benchmark::PerplexityRun& run) {
  std::map<int64_t, std::vector<benchmark::ScoredText>> by_length;
  for (const benchmark::ScoredText& score : run.scores()) by_length[score.tokens].push_back(score);
  std::map<int64_t, Json> results;
  for (const auto& [tokens, scores] : by_length) {
    results[tokens] = benchmark::perplexity_json(scores);
  }
  return results;
}

std::string line_of(int64_t tokens, const Json& gates, const Json& full) {
  return fmt::format("{:>8}{:>11}{:>14.4f}{:>14.4f} to {:<12.4f}{:>14.4f}{:>6.2f}{:>6.2f}\n",
                     tokens, gates["documents"].get<int64_t>(), gates["perplexity"].get<double>(),
                     gates["interval_95"][0].get<double>(), gates["interval_95"][1].get<double>(),
                     full["perplexity"].get<double>(), gates["msr"].get<double>(),
                     gates["esr"].get<double>());
}

void report(const PerplexityArguments& a, const RowsIdentity& identity,
            const std::map<int64_t, Json>& gates, const std::map<int64_t, Json>& full) {
  Json results = {{"benchmark", "perplexity"},
                  {"settings", identity},
                  {"made_by", made_by(a.line, a.engine.fewest_ranks())},
                  {"results", Json::object()}};
  std::string table = fmt::format("{:>8}{:>11}{:>14}{:>22}{:>22}{:>6}{:>6}\n", "tokens",
                                  "documents", "perplexity", "95 % interval", "full", "MSR", "ESR");
  for (const auto& [tokens, result] : gates) {
    Json all = result;
    all["full"] = full.at(tokens);
    table += line_of(tokens, result, full.at(tokens));
    results["results"][std::to_string(tokens)] = std::move(all);
  }
  write_text_atomically(a.out + "/results.json", results.dump(2) + "\n");
  std::fputs(table.c_str(), stdout);
}

}  // namespace

ExitCode run_perplexity(const PerplexityArguments& arguments, parallel::World& world) {
  auto everyone = world.split(0, world.rank(), "world");
  const Log log({.rank = world.rank()});
  std::vector<int64_t> lengths;
  std::vector<benchmark::TokenisedText> texts;
  parallel::on_all_ranks(*everyone, [&] {
    lengths = lengths_of(arguments);
    const std::string& folder = arguments.engine.model;
    texts = benchmark::read_texts(arguments.data, *data::load_tokenizer(folder),
                                  data::leading_ids(folder), lengths.back());
  });
  std::unique_ptr<OpenedEngine> opened;
  std::map<std::string, std::map<int64_t, Json>> results;  // on the first rank
  const RowsIdentity of_gates = identity_of(arguments, texts, lengths, arguments.engine.force);
  // As the engine is opened first, then with full attention.
  for (const std::string name : {"gates", "full"}) {
    const bool full = name == "full";
    RowsIdentity identity = of_gates;
    if (full) identity["gates"] = "full";
    benchmark::PerplexityRun run(*everyone, texts, lengths, arguments.window, arguments.out, name,
                                 identity);
    if (!run.done()) {
      if (!opened) {
        opened = std::make_unique<OpenedEngine>(world, arguments.engine, lengths.back());
      }
      if (full) opened->force("full");
      on_stop_request(OnStop::note);
      const LongRun around{.beat = [&] { opened->runtime().watchdog().beat(); },
                           .stop_requested = stop_requested};
      if (!run.run(opened->engine(), around)) {
        log_info("stopped on request: the same command goes on with what is in {}", arguments.out);
        return ExitCode::stopped;
      }
    }
    parallel::on_all_ranks(*everyone, [&] {
      if (everyone->rank() != 0) return;
      results[name] = results_of(run);
      if (full) report(arguments, of_gates, results["gates"], results["full"]);
    });
  }
  return ExitCode::ok;
}

}  // namespace elastron::launch
