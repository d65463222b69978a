// elastron pack --model DIR --in FILES --out FILE.h5 --max-tokens N: records as JSON lines in,
// packed token ids out.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

#include "core/log.h"
#include "core/plural.h"
#include "core/progress.h"
#include "data/pack_jsonl.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/runtime.h"
#include "launch/signals.h"
#include "model/weights/model_config.h"
#include "train/config.h"

namespace elastron::launch {

namespace {

using data::DataConfig;
using data::PackProgress;
using data::PackSummary;

struct Options {
  std::string model, out;
  std::vector<std::string> in, config;
  int threads = 0;
  // Each flag that was given changes the configuration.
  std::vector<std::function<void(DataConfig&)>> changes;
};

// Thrown out of the work when the user wants it to end.
struct Stopped {};

void show(Progress& progress, const PackProgress& p, double seconds) {
  if (p.phase != PackProgress::Phase::tokenising) {
    const bool writing = p.phase == PackProgress::Phase::writing;
    return progress.show(writing ? "writing" : "verifying", p.done, p.total);
  }
  progress.show(
      "tokenising", p.done, p.total,
      fmt::format("{:.1f} of {:.1f} MB | {:.2f} MB/s | {} | {}", double(p.done) / 1e6,
                  double(p.total) / 1e6, seconds > 0 ? double(p.done) / 1e6 / seconds : 0.0,
                  plural(p.documents, "document"), plural(p.tokens, "token")));
}

DataConfig data_config(const Options& options) {
  DataConfig config{.min_tokens = 1000, .overlong = data::Overlong::drop};
  if (!options.config.empty()) {
    // Only `data` of a run's configuration counts here; the model is named by --model.
    config = read_run_config({.files = options.config, .overrides = {"model.path=."}}).data;
  }
  for (const auto& change : options.changes) change(config);
  if (config.min_tokens > config.max_tokens) {
    throw UsageError(fmt::format("no document has at least {} and at most {} tokens",
                                 config.min_tokens, config.max_tokens),
                     "--min-tokens, --max-tokens", "lower the one or raise the other");
  }
  return config;
}

std::string summary_text(const PackSummary& s, const std::string& out, int64_t max_tokens) {
  std::string text = fmt::format(
      "{}\n  records: {}\n  documents: {} ({})\n  tokens: {}\n"
      "  packs: {} of at most {} tokens, {:.1f} % full\n",
      out, s.counts.records, s.documents, s.counts.dropped_text(), s.tokens, s.packs, max_tokens,
      100.0 * double(s.tokens) / double(max_tokens) / double(s.packs));
  for (size_t t = 0; t < s.tasks.size(); ++t) {
    text +=
        fmt::format("  {}: {}, {}\n", data::kTaskNames[t], plural(s.tasks[t].documents, "document"),
                    plural(s.tasks[t].tokens, "token"));
  }
  for (const std::string& remark :
       {s.counts.bad_text(), s.counts.controls.text(s.control_tokens, "record")}) {
    if (!remark.empty()) text += "  " + remark + "\n";
  }
  return text;
}

ExitCode run(const Options& options) {
  const Log log({});
  on_stop_request(OnStop::note);
  const DataConfig config = data_config(options);
  const auto tokenizer = data::load_tokenizer(options.model);
  const int32_t eos = model::read_model_shapes(options.model).end_of_document();
  const int threads = options.threads > 0 ? options.threads
                                          : int(std::max(1u, std::thread::hardware_concurrency()));
  Progress progress(true);
  const auto begin = std::chrono::steady_clock::now();
  try {
    const PackSummary summary =
        data::pack_jsonl(options.in, options.out, config, *tokenizer, eos, options.model, threads,
                         [&](const PackProgress& p) {
                           if (stop_requested()) throw Stopped();
                           const auto now = std::chrono::steady_clock::now();
                           show(progress, p, std::chrono::duration<double>(now - begin).count());
                         });
    progress.clear();
    std::fputs(summary_text(summary, options.out, config.max_tokens).c_str(), stdout);
  } catch (const Stopped&) {
    progress.clear();
    std::fprintf(stderr, "stopped on request: nothing was written\n");
    return ExitCode::stopped;
  }
  return ExitCode::ok;
}

template <class T>
cli::Option* add_change(cli::App& command, Options& options, const std::string& flag,
                        T DataConfig::*member, const std::string& doc) {
  return command.add_option_function<T>(
      flag,
      [&options, member](const T& value) {
        options.changes.push_back([member, value](DataConfig& c) { c.*member = value; });
      },
      doc);
}

template <class E>
void add_choice(cli::App& command, Options& options, const std::string& flag, E DataConfig::*member,
                const std::string& doc) {
  std::vector<std::string> names;
  for (const auto& entry : config::EnumNames<E>::names) names.emplace_back(entry.name);
  command
      .add_option_function<std::string>(
          flag,
          [&options, member](const std::string& name) {
            for (const auto& entry : config::EnumNames<E>::names) {
              if (entry.name != name) continue;
              options.changes.push_back(
                  [member, value = entry.value](DataConfig& c) { c.*member = value; });
            }
          },
          doc)
      ->check(cli::IsMember(names));
}

void add_prompt(cli::App& command, Options& options, const std::string& flag,
                std::string data::Prompts::*member, const std::string& doc) {
  command.add_option_function<std::string>(
      flag,
      [&options, member](const std::string& text) {
        options.changes.push_back([member, text](DataConfig& c) { c.prompts.*member = text; });
      },
      doc);
}

}  // namespace

void add_pack(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("pack", "tokenises and packs JSONL records for training");
  auto shared = std::make_shared<Options>();
  Options& options = *shared;
  command->add_option("--model", options.model, "model folder with tokenizer.json and config.json")
      ->required();
  command->add_option("--in", options.in, "JSONL files, folders of them, or patterns")->required();
  command->add_option("--out", options.out, "packed file (.h5); replaced when all is done")
      ->required();
  add_change(*command, options, "--max-tokens", &DataConfig::max_tokens,
             "tokens per pack, and of the longest document")
      ->check(cli::PositiveNumber)
      ->required();
  add_change(*command, options, "--min-tokens", &DataConfig::min_tokens,
             "shorter documents are dropped; default 1000")
      ->check(cli::PositiveNumber);
  add_choice(*command, options, "--packing", &DataConfig::packing,
             "which documents share a pack; default sorted");
  add_choice(*command, options, "--label-mode", &DataConfig::label_mode,
             "predict every token, or the answer only; default all");
  add_choice(*command, options, "--unknown-task", &DataConfig::unknown_task,
             "what to do with a record of an unknown task; default error");
  add_choice(*command, options, "--overlong", &DataConfig::overlong,
             "what to do with a document longer than --max-tokens; default drop");
  add_choice(*command, options, "--bad-records", &DataConfig::bad_records,
             "what to do with a line that is no record: end, or skip it and say how many; default "
             "error");
  add_choice(
      *command, options, "--control-tokens", &DataConfig::control_tokens,
      "what becomes of control tokens spelled out in a record's text: kept as such, text, or "
      "an error; default auto, keep");
  add_choice(*command, options, "--chat-template", &DataConfig::chat_template,
             "how question and answer become a conversation; default auto, the model folder's");
  add_prompt(*command, options, "--summarization-before", &data::Prompts::summarization_before,
             "instruction in front of a Summarization document");
  add_prompt(*command, options, "--summarization-after", &data::Prompts::summarization_after,
             "cue after a Summarization document's text and a blank line");
  add_prompt(*command, options, "--code-before", &data::Prompts::code_before,
             "instruction in front of a Code document");
  command->add_option("--config", options.config,
                      "configuration files of a run: their `data` section instead of the defaults");
  command->add_option("--threads", options.threads, "default: all processors")
      ->check(cli::Range(1, 1024));
  command->callback([&selected, shared] { selected.alone = [shared] { return run(*shared); }; });
}

}  // namespace elastron::launch
