// elastron synthesize --out FILE.jsonl: records of the synthetic long-context tasks; with --pairs,
// chosen and rejected memory traces; with --tokenizer the tokenizer.json of the tasks' vocabulary.
// With --ruler: a folder of tasks of RULER's kinds, in words of our own.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <memory>
#include <optional>

#include "benchmark/ruler/rows.h"
#include "benchmark/ruler/tasks.h"
#include "benchmark/synthetic/own_task.h"
#include "core/file/atomic_file.h"
#include "core/limits.h"
#include "core/progress.h"
#include "data/jsonl.h"
#include "data/source.h"
#include "data/synthetic/tasks.h"
#include "data/tokenizer.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "reward/trace_rows.h"

namespace elastron::launch {

namespace {

constexpr int64_t kLongestRuler = int64_t(1) << 20;  // tokens

struct Options {
  std::string out, tokenizer;
  std::vector<std::string> kinds;
  std::vector<int64_t> own_lengths;
  int64_t records = 600, clearance = 96;
  std::optional<uint64_t> own_seed;
  // Pairs: not what training makes with its default seeds, so that a file can judge what was
  // trained.
  uint64_t seed() const { return own_seed.value_or(pairs ? 1000 : 1); }
  bool pairs = false;
  std::string lexicon = "english", form = "preference";
  reward::TraceOptions traces;  // but for its lexicon
  bool ruler = false;
  std::string model;  // whose tokens count
  std::vector<int64_t> depths;

  std::vector<int64_t> lengths() const {
    if (!own_lengths.empty()) return own_lengths;
    return {ruler ? 4096 : 512};
  }
};

// Line `i` of the file, of that kind (a place in the mix) and length.
using MakeLine = std::function<std::string(uint64_t i, size_t kind, int64_t length)>;

// Kinds are taken in turn, and lengths when all kinds had theirs.
void write_lines(const Options& options, size_t kinds, const MakeLine& make) {
  std::string text;
  Progress progress(true);
  const std::vector<int64_t> lengths = options.lengths();
  for (int64_t i = 0; i < options.records; ++i) {
    progress.show("making records", uint64_t(i), uint64_t(options.records),
                  fmt::format("{} of {}", i, options.records));
    text += make(uint64_t(i), size_t(i) % kinds, lengths[size_t(i) / kinds % lengths.size()]);
  }
  write_text_atomically(options.out, text);
  progress.clear();
  fmt::print("{}: {} {}, {:.1f} MB\n", options.out, options.records,
             options.pairs ? "pairs" : "records", double(text.size()) / 1e6);
}

void write_pairs(const Options& options) {
  std::map<std::string, double> kinds;
  for (const std::string& kind : options.kinds) kinds[kind] = 1.0;
  const auto mix = reward::trace_mix(kinds);
  const auto form =
      options.form == "benchmark" ? reward::PairForm::benchmark : reward::PairForm::preference;
  write_lines(options, mix.size(), [&](uint64_t i, size_t k, int64_t length) {
    reward::TraceOptions traces = options.traces;
    traces.length = length;
    traces.lexicon = options.lexicon == "coded" ? reward::Lexicon::coded : reward::Lexicon::english;
    const int kind = mix[k].first;
    return reward::trace_row(reward::trace_pair(options.seed(), kind, i, traces), kind, form);
  });
}

void write_records(const Options& options) {
  data::SyntheticConfig config;
  for (const std::string& kind : options.kinds) config.kinds[kind] = 1.0;
  const auto mix = data::synthetic_mix(config);
  for (const int64_t length : options.lengths()) {
    if (length < data::kShortestSynthetic) {
      throw UsageError("length " + std::to_string(length) + " is too short", "--length",
                       "use at least " + std::to_string(data::kShortestSynthetic));
    }
  }
  write_lines(options, mix.size(), [&](uint64_t i, size_t k, int64_t length) {
    return data::jsonl_line(
        data::synthetic_record(options.seed(), data::SyntheticKind(mix[k].first), i,
                               {.length = length, .clearance = options.clearance}));
  });
}

std::vector<const benchmark::RulerTask*> ruler_kinds(const Options& options) {
  std::vector<const benchmark::RulerTask*> kinds;
  std::string names;
  for (const benchmark::RulerTask& task : benchmark::ruler_tasks()) {
    if (options.kinds.empty()) kinds.push_back(&task);
    names += (names.empty() ? "" : ", ") + std::string(task.name);
  }
  for (const std::string& name : options.kinds) {
    kinds.push_back(benchmark::ruler_task(name));
    if (kinds.back() == nullptr) {
      throw UsageError("unknown kind '" + name + "'", "--kind", "one of " + names);
    }
  }
  return kinds;
}

// Depths are taken in turn.
std::string ruler_lines(const Options& options, const benchmark::RulerTask& task, int64_t length,
                        const data::Tokenizer& tokenizer, Progress& progress) {
  std::string text;
  for (int64_t i = 0; i < options.records; ++i) {
    progress.show(std::string(task.name), uint64_t(i), uint64_t(options.records),
                  fmt::format("{} of {}, {} tokens", i, options.records, length));
    benchmark::OwnTaskOptions row{.seed = options.seed(), .length = length};
    if (!options.depths.empty()) {
      row.depth_percent = options.depths[size_t(i) % options.depths.size()];
    }
    const auto made = benchmark::own_ruler_row(task, i, row, tokenizer);
    text += benchmark::ruler_data_row(made).dump() + "\n";
  }
  return text;
}

// A folder per length where there are several, and in it one per task, as RULER's are.
ExitCode write_ruler(const Options& options) {
  const auto kinds = ruler_kinds(options);
  const std::vector<int64_t> lengths = options.lengths();
  for (const int64_t length : lengths) {
    if (length <= kLongestRuler) continue;
    throw UsageError("length " + std::to_string(length) + " is too long", "--length",
                     "use at most " + std::to_string(kLongestRuler) + " tokens");
  }
  const auto tokenizer = data::load_tokenizer(options.model);
  Progress progress(true);
  for (const int64_t length : lengths) {
    const std::string place =
        options.out + (lengths.size() > 1 ? "/" + std::to_string(length) : "");
    for (const benchmark::RulerTask* task : kinds) {
      const std::string folder = fmt::format("{}/{}{}", place, benchmark::kOwnTask, task->name);
      make_folder(folder);
      write_text_atomically(folder + "/validation.jsonl",
                            ruler_lines(options, *task, length, *tokenizer, progress));
    }
  }
  progress.clear();
  fmt::print("{}: {} tasks of {} records, lengths: {}\n", options.out, kinds.size(),
             options.records, fmt::join(lengths, ", "));
  return ExitCode::ok;
}

ExitCode run(const Options& options) {
  if (options.ruler) return write_ruler(options);
  if (options.out.empty() && options.tokenizer.empty()) {
    throw UsageError("nothing to write", "command line", "give --out or --tokenizer");
  }
  if (!options.tokenizer.empty()) {
    write_text_atomically(options.tokenizer, data::synthetic_tokenizer_json());
    fmt::print("{}: the tokenizer of the synthetic tasks\n", options.tokenizer);
  }
  if (options.out.empty()) return ExitCode::ok;
  options.pairs ? write_pairs(options) : write_records(options);
  return ExitCode::ok;
}

void add_pair_options(cli::App& command, Options& options) {
  auto* pairs = command.add_flag("--pairs", options.pairs, "preference pairs of memory traces");
  command.add_option("--entities", options.traces.entities, "whom a memory is about")
      ->check(cli::Range(reward::kFewestEntities, reward::kMostEntities))
      ->needs(pairs)
      ->capture_default_str();
  command.add_option("--sections", options.traces.sections, "that a prompt is told in")
      ->check(cli::Range(reward::kFewestSections, reward::kMostSections))
      ->needs(pairs)
      ->capture_default_str();
  command
      .add_option("--lexicon", options.lexicon,
                  "english, or coded: the words of the synthetic tasks")
      ->check(cli::IsMember({"english", "coded"}))
      ->needs(pairs)
      ->capture_default_str();
  command
      .add_option("--form", options.form,
                  "preference: prompt, chosen, rejected; benchmark: MemoryRewardBench's standard "
                  "form")
      ->check(cli::IsMember({"preference", "benchmark"}))
      ->needs(pairs)
      ->capture_default_str();
}

void add_ruler_options(cli::App& command, Options& options) {
  auto* ruler = command.add_flag("--ruler", options.ruler,
                                 "tasks of RULER's thirteen kinds in words of our own: --out is a "
                                 "folder, lengths are tokens, --records are of each task");
  auto* model = command
                    .add_option("--model", options.model,
                                "model folder whose tokenizer.json counts the tokens")
                    ->needs(ruler);
  command
      .add_option("--depth", options.depths,
                  "where what is asked for stands, in percent of the text, taken in turn; default: "
                  "drawn")
      ->check(cli::Range(int64_t(0), int64_t(100)))
      ->needs(ruler);
  ruler->needs(model);
  ruler->excludes("--pairs")->excludes("--clearance")->excludes("--tokenizer");
}

}  // namespace

void add_synthesize(cli::App& app, Command& selected) {
  auto* command =
      app.add_subcommand("synthesize", "writes synthetic long-context tasks, or pairs, as JSONL");
  auto options = std::make_shared<Options>();
  command->add_option("--out", options->out, "JSONL file; with --ruler a folder");
  command->add_option("--tokenizer", options->tokenizer, "write the vocabulary's tokenizer.json");
  command->add_option("--kind", options->kinds,
                      "kinds, taken in turn; default: the six tasks, all eight of pairs, all "
                      "thirteen of --ruler");
  command
      ->add_option("--length", options->own_lengths,
                   "document lengths in words, taken in turn; default 512, of --ruler 4096")
      ->check(cli::Range(int64_t(1), kMostTokens));
  command->add_option("--records", options->records, "number of records")
      ->check(cli::PositiveNumber)
      ->capture_default_str();
  auto* clearance = command
                        ->add_option("--clearance", options->clearance,
                                     "words between the last far fact and the question")
                        ->check(cli::Range(int64_t(0), kMostTokens))
                        ->capture_default_str();
  command->add_option("--seed", options->own_seed, "seed; default 1, of pairs 1000");
  add_pair_options(*command, *options);
  clearance->excludes("--pairs");
  add_ruler_options(*command, *options);
  command->callback([&selected, options] {
    if (options->ruler && options->out.empty()) throw cli::ValidationError("--ruler needs --out");
    selected.alone = [options] { return run(*options); };
  });
}

}  // namespace elastron::launch
