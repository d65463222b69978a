// elastron eval-reward CONFIG.yaml... --checkpoint PATH --data DIR_OR_FILES --out DIR
//                      [--judge discriminative|generative]
// elastron eval-reward --outputs FILES --out DIR: what the published evaluator wrote.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "core/file/atomic_file.h"
#include "core/file/checksum.h"
#include "core/file/input_file.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/made_by.h"
#include "launch/opened_engine.h"
#include "launch/signals.h"
#include "parallel/agree.h"
#include "report/plot/accuracy_plot.h"
#include "reward/benchmark_report.h"
#include "reward/judging/row_judging.h"
#include "reward/published_outputs.h"
#include "train/evaluate/row_scoring.h"

namespace elastron::launch {

namespace {

constexpr size_t kLongestPrompt = size_t(1) << 20;

struct Options {
  ConfigArguments config;
  std::vector<std::string> data, outputs;
  std::string line;  // the whole command
  std::string out, judge = "discriminative", system_prompt, order = "drawn";
  train::ScoreOptions score;
  reward::JudgeOptions generative;
};

// The files of a report, whole or not at all; the rows are there already. `made`: how it came about.
void write_report(const std::string& out, const std::vector<std::string>& files,
                  std::vector<reward::JudgedRow> rows, const nlohmann::ordered_json& made) {
  const reward::BenchmarkReport report(files, std::move(rows));
  write_text_atomically(out + "/results.csv", report.results_csv());
  if (report.generative()) {
    write_text_atomically(out + "/results_lenient.csv",
                          report.results_csv(reward::VerdictRule::lenient));
  }
  write_text_atomically(out + "/accuracy.svg", report::accuracy_plot(report));
  write_text_atomically(out + "/summary.json", report.summary().dump(2) + "\n");
  write_text_atomically(out + "/made_by.json", made.dump(2) + "\n");
  std::fputs(report.text().c_str(), stdout);
  log_info("report in {}: results.csv, accuracy.svg, summary.json, rows.jsonl", out);
}

ExitCode score_outputs(const Options& options, parallel::World& world) {
  auto everyone = world.split(0, world.rank(), "world");
  const Log log({.rank = world.rank()});
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() != 0) return;
    std::vector<std::string> files;
    std::vector<reward::JudgedRow> all;
    reward::EvaluationIdentity identity = {{"judge", "published outputs"}};
    for (const std::string& path : options.outputs) {
      const std::string name = std::filesystem::path(path).stem().string();
      if (std::ranges::find(files, name) != files.end()) reward::refuse_second_file(name, path);
      files.push_back(name);
      const auto rows = reward::read_published_outputs(path);
      all.insert(all.end(), rows.begin(), rows.end());
      Checksum sum;
      for (const reward::JudgedRow& row : rows) sum.add(reward::judged_row_line(row));
      identity["file " + name] = sum.digest();
    }
    reward::JudgedRowsFile file(options.out, identity, files);
    for (reward::JudgedRow& row : all) {
      if (!file.done(row.file, row.index)) file.append(std::move(row));
    }
    write_report(options.out, files, file.finish(), made_by(options.line, 1));
  });
  return ExitCode::ok;
}

LongRun around(Runtime& runtime) {
  return {.beat = [&] { runtime.watchdog().beat(); }, .stop_requested = stop_requested};
}

// Both -> on rank 0 all rows, elsewhere none; nothing on all ranks where it was stopped on request.
using Rows = std::optional<std::vector<reward::JudgedRow>>;

Rows scored(const Options& options, const train::Config& config, parallel::World& world,
            const std::vector<reward::EvaluationFile>& files,
            const reward::EvaluationIdentity& identity) {
  train::RowsToScore rows(config, world, files, options.score);
  Runtime runtime(world, rows.config());
  runtime.check_kernels(rows.config(), /*trains=*/false);
  runtime.announce(world);
  train::RowScoring scoring(rows, runtime.mesh(), runtime.device(), options.out, identity);
  on_stop_request(OnStop::note);
  if (!scoring.run(around(runtime))) return {};
  return scoring.finish();
}

reward::JudgeOptions judge_options(const Options& options, const train::Config& config) {
  reward::JudgeOptions judge = options.generative;
  judge.order = options.order == "both" ? reward::JudgeOrder::both : reward::JudgeOrder::drawn;
  judge.prompt.limit = options.score.limit;
  judge.prompt.chat_template = config.data.chat_template;
  judge.prompt.control_tokens = config.data.control_tokens;
  if (config.parallel.context > 1 && config.parallel.context_kind != train::ContextKind::gather) {
    throw UsageError("a generative judge gathers keys and values", "parallel.context_kind",
                     "set it to gather");
  }
  if (!options.score.checkpoint.empty()) {
    throw UsageError("a generative judge is a model folder", "--checkpoint",
                     "export the checkpoint and set model.path to the folder");
  }
  if (!options.system_prompt.empty()) {
    judge.prompt.system_prompt = read_small_file(options.system_prompt, kLongestPrompt);
  }
  return judge;
}

Rows judged(const Options& options, const train::Config& config, parallel::World& world,
            const std::vector<reward::EvaluationFile>& files, reward::EvaluationIdentity identity) {
  auto everyone = world.split(0, world.rank(), "world");
  reward::JudgeOptions judge;
  parallel::on_all_ranks(*everyone, [&] { judge = judge_options(options, config); });
  EngineArguments arguments{
      .model = config.model.path,
      .router = config.reward.router,
      .force = config.router.force,
      .dtype = std::string(config::enum_name(config.model.dtype)),
      .tensor = int(config.parallel.tensor),
      .context = int(config.parallel.context),
      .overrides = {"model.beyond_positions=" +
                        std::string(config::enum_name(config.model.beyond_positions)),
                    "model.storage=" + std::string(config::enum_name(config.model.storage))},
      .shorter = "lower --limit or --max-tokens"};
  const model::RopeOverride& rope = config.model.rope_scaling;
  if (rope.keys) {
    arguments.overrides.push_back("model.rope_scaling=" + model::rope_override_text(rope));
    identity["rope scaling"] = model::rope_override_text(rope);
  }
  if (config.model.storage != train::WeightsKept::automatic) {
    identity["storage"] = std::string(config::enum_name(config.model.storage));
  }
  identity["model"] = arguments.model;
  identity["router"] = arguments.router + " " + arguments.force;
  reward::RowJudging judging(*everyone, files, arguments.model, judge, options.out, identity);
  if (!judging.done()) {
    OpenedEngine opened(world, arguments, judging.longest());
    on_stop_request(OnStop::note);
    if (!judging.run(opened.engine(), around(opened.runtime()))) return {};
  }
  return judging.finish();
}

ExitCode run(const Options& options, parallel::World& world) {
  if (!options.outputs.empty()) return score_outputs(options, world);
  auto everyone = world.split(0, world.rank(), "world");
  ConfigArguments arguments = options.config;
  arguments.overrides.push_back("train.objective=reward");
  const train::Config config = load_run_config(arguments, *everyone);
  const Log log({.rank = world.rank()});
  std::vector<reward::EvaluationFile> files;
  parallel::on_all_ranks(*everyone, [&] {
    files = reward::read_evaluation_files(options.data, config.reward.bad_rows,
                                          config.data.bad_records, world.rank() == 0);
  });
  const reward::EvaluationIdentity identity = {{"rows", reward::rows_checksum(files)}};
  Rows rows = options.judge == "discriminative" ? scored(options, config, world, files, identity)
                                                : judged(options, config, world, files, identity);
  if (!rows) {
    log_info("stopped on request: the same command goes on with what is in {}", options.out);
    return ExitCode::stopped;
  }
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() != 0) return;
    const auto& p = config.parallel;
    write_report(options.out, reward::names_of(files), std::move(*rows),
                 made_by(options.line, int(p.tensor * p.context)));
  });
  return ExitCode::ok;
}

}  // namespace

void add_eval_reward(cli::App& app, Command& selected) {
  auto* command =
      app.add_subcommand("eval-reward", "a reward model's MemoryRewardBench report, or a judge's");
  auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->config.files, "configuration files, merged left to right");
  command->add_option("--set", options->config.overrides, "set a key: --set reward.bad_rows=skip")
      ->allow_extra_args(false);
  command->add_option("--checkpoint", options->score.checkpoint,
                      "of reward training; without it the model folder's own head judges");
  auto* data =
      command->add_option("--data", options->data,
                          "files of the benchmark or of preferences, folders of them, or patterns");
  command
      ->add_option("--out", options->out,
                   "folder of the report; an interrupted one is gone on with")
      ->required();
  command->add_option("--judge", options->judge, "discriminative: scores; generative: verdicts")
      ->check(cli::IsMember({"discriminative", "generative"}))
      ->capture_default_str();
  command
      ->add_option("--limit", options->score.limit,
                   "tokens from which a sequence (generative: a prompt) loses its middle")
      ->check(cli::Range(32, 1 << 24))
      ->capture_default_str();
  command->add_flag("!--no-untrained", options->score.untrained,
                    "leave out the baseline of an untrained head, which takes a second pass where "
                    "the backbone is not as it was");
  command
      ->add_option("--order", options->order,
                   "generative: which response is A; both: every row twice, for consistency")
      ->check(cli::IsMember({"drawn", "both"}))
      ->capture_default_str();
  command->add_option("--system-prompt", options->system_prompt,
                      "generative: file with the text in place of the built-in ones");
  auto& generation = options->generative.generation;
  command->add_option("--max-tokens", generation.max_tokens, "generative: most tokens of an answer")
      ->check(cli::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--temperature", generation.sampling.temperature, "generative: 0: greedy")
      ->check(cli::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--top-p", generation.sampling.top_p, "generative")
      ->check(cli::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--seed", generation.sampling.seed, "generative: of orders and tokens")
      ->capture_default_str();
  command
      ->add_option("--batch", options->generative.texts,
                   "generative: answers that a rank writes side by side, each with a cache")
      ->check(cli::Range(1, 1024))
      ->capture_default_str();
  command
      ->add_option("--outputs", options->outputs,
                   "score files that the published evaluator wrote; no model is needed")
      ->excludes(data);
  command->callback([&selected, options] {
    options->line = selected.line;
    if (options->outputs.empty() && (options->data.empty() || options->config.files.empty())) {
      throw cli::ValidationError("CONFIG and --data are needed, or --outputs");
    }
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
