// elastron synthesize --out FILE.jsonl: records of the synthetic long-context tasks, or with
// --tokenizer the tokenizer.json of their vocabulary.
#include <CLI/CLI.hpp>
#include <memory>

#include "core/file/atomic_file.h"
#include "data/jsonl.h"
#include "data/source.h"
#include "data/synthetic/tasks.h"
#include "launch/command.h"

namespace elastron::launch {

namespace {

struct Options {
  std::string out, tokenizer;
  std::vector<std::string> kinds;
  std::vector<int64_t> lengths = {512};
  int64_t records = 600, clearance = 96;
  uint64_t seed = 1;
};

ExitCode run(const Options& options) {
  if (options.out.empty() && options.tokenizer.empty()) {
    throw UsageError("nothing to write", "command line", "give --out or --tokenizer");
  }
  if (!options.tokenizer.empty()) {
    write_text_atomically(options.tokenizer, data::synthetic_tokenizer_json());
  }
  if (options.out.empty()) return ExitCode::ok;
  data::SyntheticConfig config;
  for (const std::string& kind : options.kinds) config.kinds[kind] = 1.0;
  const auto mix = data::synthetic_mix(config);
  for (const int64_t length : options.lengths) {
    if (length < data::kShortestSynthetic) {
      throw UsageError("length " + std::to_string(length) + " is too short", "--length",
                       "use at least " + std::to_string(data::kShortestSynthetic));
    }
  }
  std::string text;
  for (int64_t i = 0; i < options.records; ++i) {
    const auto kinds = int64_t(mix.size()), lengths = int64_t(options.lengths.size());
    text += data::jsonl_line(data::synthetic_record(
        options.seed, data::SyntheticKind(mix[size_t(i % kinds)].first), uint64_t(i),
        {.length = options.lengths[size_t(i / kinds % lengths)], .clearance = options.clearance}));
  }
  write_text_atomically(options.out, text);
  return ExitCode::ok;
}

}  // namespace

void add_synthesize(CLI::App& app, Command& selected) {
  auto* command = app.add_subcommand("synthesize", "writes synthetic long-context tasks as JSONL");
  auto options = std::make_shared<Options>();
  command->add_option("--out", options->out, "JSONL file");
  command->add_option("--tokenizer", options->tokenizer, "write the vocabulary's tokenizer.json");
  command->add_option("--kind", options->kinds, "kinds, taken in turn; default: the six tasks");
  command->add_option("--length", options->lengths, "document lengths in words, taken in turn");
  command->add_option("--records", options->records, "number of records")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--clearance", options->clearance,
                   "words between the last far fact and the question")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "seed")->capture_default_str();
  command->callback([&selected, options] { selected.alone = [options] { return run(*options); }; });
}

}  // namespace elastron::launch
