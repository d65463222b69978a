// elastron pack --model DIR --in FILES --out FILE.h5 --max-tokens N: records as JSON lines in,
// packed token ids out.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

#include "data/pack_jsonl.h"
#include "launch/command.h"
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

// One line that is drawn again on a terminal, a line now and then elsewhere.
class Progress {
 public:
  void operator()(const PackProgress& p) {
    if (stop_requested()) {
      finish();
      throw Stopped();
    }
    const auto now = Clock::now();
    if (p.phase != phase_) {
      phase_ = p.phase;
      begin_ = now;
      shown_ = begin_;
    }
    const double wait = terminal_ ? 0.5 : 10.0;
    if (seconds(shown_, now) < wait) return;
    shown_ = now;
    const std::string line = text(p, seconds(begin_, now));
    if (terminal_) {
      std::fprintf(stderr, "\r%s\033[K", line.c_str());
      drawn_ = true;
    } else {
      std::fprintf(stderr, "%s\n", line.c_str());
    }
  }
  void finish() {
    if (drawn_) std::fputs("\r\033[K", stderr);
    drawn_ = false;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double seconds(Clock::time_point a, Clock::time_point b) {
    return std::chrono::duration<double>(b - a).count();
  }
  static std::string text(const PackProgress& p, double elapsed) {
    const double done = double(p.done), total = double(std::max<uint64_t>(p.total, 1));
    const auto left = int64_t(done > 0 ? elapsed * (total - done) / done : 0);
    const std::string eta =
        fmt::format("eta {}:{:02}:{:02}", left / 3600, left / 60 % 60, left % 60);
    if (p.phase == PackProgress::Phase::tokenising) {
      return fmt::format(
          "tokenising {:5.1f} % | {:.1f} of {:.1f} MB | {:.2f} MB/s | {} documents "
          "| {} tokens | {}",
          100 * done / total, done / 1e6, total / 1e6, done / 1e6 / elapsed, p.documents, p.tokens,
          eta);
    }
    return fmt::format("{} {:5.1f} % | {}",
                       p.phase == PackProgress::Phase::writing ? "writing" : "verifying",
                       100 * done / total, eta);
  }

  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  bool drawn_ = false;
  PackProgress::Phase phase_ = PackProgress::Phase::tokenising;
  Clock::time_point begin_ = Clock::now(), shown_ = begin_;
};

DataConfig data_config(const Options& options) {
  DataConfig config{.min_tokens = 1000, .overlong = data::Overlong::drop};
  if (!options.config.empty()) {
    // Of a run's configuration only `data` counts here; the model is named by --model.
    const std::vector<std::string> model = {"model.path=."};
    config = config::load_config<train::Config>(options.config, model).data;
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
    text += fmt::format("  {}: {} documents, {} tokens\n", data::kTaskNames[t],
                        s.tasks[t].documents, s.tasks[t].tokens);
  }
  return text;
}

ExitCode run(const Options& options) {
  on_stop_request(OnStop::note);
  const DataConfig config = data_config(options);
  const auto tokenizer = data::load_tokenizer(options.model);
  const int32_t eos = model::read_model_config(options.model).eos_token_id;
  const int threads = options.threads > 0 ? options.threads
                                          : int(std::max(1u, std::thread::hardware_concurrency()));
  Progress progress;
  try {
    const PackSummary summary =
        data::pack_jsonl(options.in, options.out, config, *tokenizer, eos, options.model, threads,
                         [&](const PackProgress& p) { progress(p); });
    progress.finish();
    std::fputs(summary_text(summary, options.out, config.max_tokens).c_str(), stdout);
  } catch (const Stopped&) {
    std::fprintf(stderr, "stopped on request: nothing was written\n");
    return ExitCode::stopped;
  } catch (...) {
    progress.finish();
    throw;
  }
  return ExitCode::ok;
}

template <class T>
CLI::Option* add_change(CLI::App& command, Options& options, const std::string& flag,
                        T DataConfig::*member, const std::string& doc) {
  return command.add_option_function<T>(
      flag,
      [&options, member](const T& value) {
        options.changes.push_back([member, value](DataConfig& c) { c.*member = value; });
      },
      doc);
}

template <class E>
void add_choice(CLI::App& command, Options& options, const std::string& flag, E DataConfig::*member,
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
      ->check(CLI::IsMember(names));
}

void add_prompt(CLI::App& command, Options& options, const std::string& flag,
                std::string data::Prompts::*member, const std::string& doc) {
  command.add_option_function<std::string>(
      flag,
      [&options, member](const std::string& text) {
        options.changes.push_back([member, text](DataConfig& c) { c.prompts.*member = text; });
      },
      doc);
}

}  // namespace

void add_pack(CLI::App& app, Command& selected) {
  auto* command = app.add_subcommand("pack", "tokenises and packs JSONL records for training");
  auto shared = std::make_shared<Options>();
  Options& options = *shared;
  command->add_option("--model", options.model, "model folder with tokenizer.json and config.json")
      ->required();
  command->add_option("--in", options.in, "JSONL files")->required();
  command->add_option("--out", options.out, "packed file (.h5); replaced when all is done")
      ->required();
  add_change(*command, options, "--max-tokens", &DataConfig::max_tokens,
             "tokens per pack, and of the longest document")
      ->check(CLI::PositiveNumber)
      ->required();
  add_change(*command, options, "--min-tokens", &DataConfig::min_tokens,
             "shorter documents are dropped; default 1000")
      ->check(CLI::PositiveNumber);
  add_choice(*command, options, "--packing", &DataConfig::packing,
             "which documents share a pack; default sorted");
  add_choice(*command, options, "--label-mode", &DataConfig::label_mode,
             "predict every token, or the answer only; default all");
  add_choice(*command, options, "--unknown-task", &DataConfig::unknown_task,
             "what to do with a record of an unknown task; default error");
  add_choice(*command, options, "--overlong", &DataConfig::overlong,
             "what to do with a document longer than --max-tokens; default drop");
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
      ->check(CLI::Range(1, 1024));
  command->callback([&selected, shared] { selected.alone = [shared] { return run(*shared); }; });
}

}  // namespace elastron::launch
