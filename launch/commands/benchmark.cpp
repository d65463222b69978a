// elastron benchmark BENCHMARK --model DIR --data DIR --out DIR: a model asked, and scored.
// elastron benchmark BENCHMARK --score DIR --out FILE.json: scores of predictions in the published
// layouts, whoever made them.
#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "benchmark/longbench/score_folder.h"
#include "benchmark/longbench_v2/score_folder.h"
#include "benchmark/ruler/score_folder.h"
#include "core/file/atomic_file.h"
#include "core/log.h"
#include "launch/benchmark_runs.h"
#include "launch/chat_template_argument.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/perplexity_run.h"

namespace elastron::launch {

namespace {

struct Options {
  BenchmarkArguments run;  // its benchmark, tasks and out are those of scores alone too
  std::string score, details, csv;
  bool thoughts = false, no_context = false;
  std::vector<int64_t> lengths;
  int64_t window = 1024;
  double cache = 0;  // GB
};

benchmark::ScoredFolder scored(const Options& options) {
  const BenchmarkArguments& run = options.run;
  if (run.benchmark == "longbench") {
    return benchmark::score_longbench(options.score, run.extended, run.tasks);
  }
  if (run.benchmark == "longbench-v2") {
    return benchmark::score_longbench_v2(options.score, run.tasks);
  }
  auto ruler = benchmark::score_ruler(options.score, run.tasks);
  if (!options.csv.empty()) {
    make_folder(options.csv);
    write_text_atomically(ruler.summary_path(options.csv), ruler.summary_csv);
    write_text_atomically(options.csv + "/submission.csv", ruler.submission_csv);
  }
  return ruler;
}

ExitCode run_scores(const Options& options) {
  const Log log({});
  for (const std::string& path : {options.run.out, options.details}) {
    if (!path.empty()) check_place(path, ExitCode::usage);
  }
  const benchmark::ScoredFolder result = scored(options);
  write_text_atomically(options.run.out, result.published.dump(4) + "\n");
  if (!options.details.empty()) {
    write_text_atomically(options.details, result.details.dump(2) + "\n");
  }
  fmt::print("{}", result.table);
  return ExitCode::ok;
}

// Of templates, and none.
std::vector<std::string> template_names() {
  std::vector<std::string> names = chat_template_forms();
  names.emplace_back("none");
  return names;
}

void check_compared(const BenchmarkArguments& run) {
  if (run.compare && (run.engine.router.empty() || run.engine.force != "none")) {
    throw cli::ValidationError("--compare is of a router: give --router, and no --force");
  }
  if (!run.scores.empty() && !run.compare) {
    throw cli::ValidationError("--scores is for --compare");
  }
  std::set<std::string> names;
  for (const std::string& file : run.scores) {
    if (!names.insert(scores_name(file)).second) {
      throw cli::ValidationError("two files of --scores are named alike: " + file);
    }
  }
}

void check_scores_alone(const Options& options) {
  const BenchmarkArguments& run = options.run;
  if (!run.data.empty() || !run.prompts.empty() || !run.engine.model.empty() || run.compare ||
      !run.scores.empty()) {
    throw cli::ValidationError("--score has predictions already: --model and --data make some");
  }
}

// Of what is asked of a model.
void check_run(const Options& options) {
  const BenchmarkArguments& run = options.run;
  if (run.engine.model.empty() || run.data.empty()) {
    throw cli::ValidationError("--model and --data are needed, or --score");
  }
  if (run.benchmark.starts_with("longbench") && run.prompts.empty()) {
    throw cli::ValidationError("--prompts is needed for " + run.benchmark);
  }
  if (!options.details.empty() || !options.csv.empty()) {
    throw cli::ValidationError("--details and --csv are for --score: --out has them all");
  }
  check_compared(run);
}

void check_benchmark(const Options& options) {
  const BenchmarkArguments& run = options.run;
  const auto only = [&](bool given, const char* option, const char* benchmark) {
    if (given && run.benchmark != benchmark) {
      throw cli::ValidationError(fmt::format("{} is for {}", option, benchmark));
    }
  };
  only(!options.lengths.empty(), "--length", "perplexity");
  if (run.benchmark == "perplexity" && (!options.score.empty() || run.compare)) {
    throw cli::ValidationError("--score and --compare are not for perplexity");
  }
  if (options.cache > 0 && (run.benchmark == "perplexity" || !options.score.empty())) {
    throw cli::ValidationError("--cache is for answers: perplexity and --score have none");
  }
  only(run.extended, "--e", "longbench");
  only(!options.csv.empty(), "--csv", "ruler");
  only(run.chat, "--chat", "ruler");
  only(options.thoughts, "--cot", "longbench-v2");
  only(options.no_context, "--no-context", "longbench-v2");
}

void add_scores_alone(cli::App& command, Options& options) {
  command.add_option("--score", options.score,
                     "folder of predictions, <task>.jsonl, to score without a model");
  command.add_option("--details", options.details,
                     "with --score: JSON file with rows, empty predictions, intervals and means of "
                     "groups");
  command.add_option("--csv", options.csv,
                     "with --score, ruler: folder for summary.csv and submission.csv");
}

void add_prompts(cli::App& command, Options& options) {
  BenchmarkArguments& run = options.run;
  command.add_option("--data", run.data,
                     "the benchmark's data: folder of <task>/validation.jsonl or of "
                     "<length>/<task>/..., of <set>.jsonl or <set>_e.jsonl, or data.json; "
                     "perplexity: .txt, .jsonl with a field text, or a folder of these");
  command.add_option("--prompts", run.prompts,
                     "longbench: folder with dataset2prompt.json and dataset2maxlen.json; "
                     "longbench-v2: folder with 0shot.txt");
  command
      .add_option("--chat-template", run.chat_template,
                  "auto: the model folder's; none: bare prompts; or a form by name")
      ->check(cli::IsMember(template_names()));
  command.add_flag("--chat", run.chat,
                   "ruler: rows were prepared without a chat template, and are put into one");
  command
      .add_option("--limit", run.limit,
                  "tokens beyond which a prompt loses its middle; default: what the model's "
                  "positions leave room for, longbench-v2 at most 120000, ruler none")
      ->check(cli::Range(2, 1 << 24));
  auto* cot = command.add_flag("--cot", options.thoughts,
                               "longbench-v2: first thoughts, by 0shot_cot.txt, then the answer");
  command
      .add_flag("--no-context", options.no_context,
                "longbench-v2: without the text, by 0shot_no_context.txt")
      ->excludes(cot);
}

void add_answers(cli::App& command, Options& options) {
  benchmark::AnswerOptions& answers = options.run.answers;
  command.add_option("--temperature", answers.temperature, "0: the likeliest token")
      ->check(cli::NonNegativeNumber);
  command.add_option("--seed", answers.seed, "of drawn tokens");
  answers.texts = 4;
  command
      .add_option("--batch", answers.texts,
                  "answers that a rank writes side by side, each with a cache")
      ->check(cli::Range(1, 1024))
      ->capture_default_str();
  command
      .add_option("--cache", options.cache,
                  "GB of all caches of a rank; fewer answers are side by side where these are not "
                  "enough; 0: no limit")
      ->check(cli::NonNegativeNumber);
  command
      .add_option("--decode", options.run.decode,
                  "sparse: streaming heads keep sink and local window only; full: all keys")
      ->check(cli::IsMember({"sparse", "full"}));
  command
      .add_option("--length", options.lengths,
                  "perplexity: tokens that documents are cut to; default: 4096 and its doubles, as "
                  "far as the model's positions go")
      ->check(cli::Range(2, 1 << 24));
  command
      .add_option("--window", options.window, "perplexity: how many of the last tokens are scored")
      ->check(cli::Range(1, 1 << 24))
      ->capture_default_str();
  command.add_flag("--compare", options.run.compare,
                   "the router, full attention, and random static gates of the router's sparsity");
  command.add_option("--scores", options.run.scores,
                     "with --compare: scores of heads, ranked at the router's sparsity as well");
}

}  // namespace

void add_benchmark(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand(
      "benchmark", "asks a model the questions of long-context benchmarks; scores predictions");
  auto options = std::make_shared<Options>();
  command
      ->add_option("BENCHMARK", options->run.benchmark,
                   "longbench, longbench-v2, ruler or perplexity")
      ->required()
      ->check(cli::IsMember({"longbench", "longbench-v2", "ruler", "perplexity"}));
  command
      ->add_option(
          "--out", options->run.out,
          "folder of predictions, results.json and tables, an interrupted one is gone on "
          "with; with --score a JSON file: {set: {bucket: score}} or {task: score}, as the "
          "benchmark's own program has it")
      ->required();
  command->add_option("--task", options->run.tasks, "sets, tasks or files; default: all there");
  command->add_flag("--e", options->run.extended, "longbench: LongBench-E, in buckets by length");
  options->run.engine.add_to(*command, /*needed=*/false);
  add_prompts(*command, *options);
  add_answers(*command, *options);
  add_scores_alone(*command, *options);
  command->callback([&selected, options] {
    check_benchmark(*options);
    options->run.line = selected.line;
    if (!options->score.empty()) {
      check_scores_alone(*options);
      selected.alone = [options] { return run_scores(*options); };
      return;
    }
    check_run(*options);
    using Form = benchmark::LongBenchV2Asking::Form;
    options->run.form = options->thoughts     ? Form::thoughts
                        : options->no_context ? Form::no_context
                                              : Form::plain;
    options->run.answers.cache_bytes = cache_bytes(options->cache);
    if (options->run.benchmark == "perplexity") {
      selected.together = [options](parallel::World& world) {
        return run_perplexity({.engine = options->run.engine,
                               .data = options->run.data,
                               .out = options->run.out,
                               .lengths = options->lengths,
                               .window = options->window,
                               .line = options->run.line},
                              world);
      };
      return;
    }
    selected.together = [options](parallel::World& world) {
      return run_benchmark(options->run, world);
    };
  });
}

}  // namespace elastron::launch
