#include "launch/benchmark_runs.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "benchmark/longbench/run_tasks.h"
#include "benchmark/ruler/run_tasks.h"
#include "benchmark/running/report.h"
#include "benchmark/running/run.h"
#include "core/file/atomic_file.h"
#include "launch/chat_template_argument.h"
#include "launch/made_by.h"
#include "launch/signals.h"
#include "parallel/agree.h"

namespace elastron::launch {

namespace {

using Json = nlohmann::ordered_json;

benchmark::Kind kind_of(const BenchmarkArguments& arguments) {
  if (arguments.benchmark == "ruler") return benchmark::Kind::ruler;
  if (arguments.benchmark == "longbench-v2") return benchmark::Kind::longbench_v2;
  return arguments.extended ? benchmark::Kind::longbench_e : benchmark::Kind::longbench;
}

// The name of a model's files: its folder's.
std::string name_of(const std::string& folder) {
  const std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

benchmark::Tasks tasks_of(const BenchmarkArguments& a, const benchmark::Prompter& prompter) {
  switch (kind_of(a)) {
    case benchmark::Kind::ruler:
      if (a.chat && !prompter.has_chat()) {
        throw UsageError("the model folder has no chat template", "--chat",
                         "leave --chat out, or name a form with --chat-template");
      }
      return benchmark::ruler_run_tasks(a.data, a.tasks, prompter,
                                        {.chat = a.chat, .limit = a.limit});
    case benchmark::Kind::longbench_v2:
      return benchmark::longbench_v2_run_tasks(a.data, a.prompts, name_of(a.engine.model), prompter,
                                               {.form = a.form, .limit = a.limit});
    default:
      return benchmark::longbench_run_tasks(a.data, a.prompts, a.tasks, prompter,
                                            {.extended = a.extended, .limit = a.limit});
  }
}

RowsIdentity identity_of(const BenchmarkArguments& a, const std::string& gates) {
  std::string overrides;
  for (const std::string& each : a.engine.overrides) {
    // Devices may change on the way, and compute the same.
    if (!each.starts_with("device")) overrides += (overrides.empty() ? "" : " ") + each;
  }
  return {
      {"benchmark", a.benchmark + (a.extended ? "-e" : "")},
      {"model", a.engine.model},
      {"router", a.engine.router},
      {"gates", gates},
      {"dtype", a.engine.dtype},
      {"settings", overrides},
      {"decode", a.decode},
      {"chat template", a.chat_template},
      {"sampling", fmt::format("temperature {}, seed {}", a.answers.temperature, a.answers.seed)}};
}

class Runs {
 public:
  Runs(const BenchmarkArguments& arguments, parallel::World& world)
      : arguments_(arguments), world_(world), everyone_(world.split(0, world.rank(), "world")) {
    parallel::on_all_ranks(*everyone_, [&] {
      prompter_.emplace(arguments.engine.model, chat_template());
      tasks_ = tasks_of(arguments, *prompter_);
    });
    if (!prompter_->has_chat() && arguments.benchmark != "ruler") {
      log_info("{} has no chat template: all prompts are bare", arguments.engine.model);
    }
  }

  // Collective. The gates are what `force` says; empty: what --router and --force do. -> nothing
  // where it was stopped on request.
  struct Outcome {
    std::vector<benchmark::Cell> cells;  // on the first rank
    double msr = 0;                      // over all rows
  };
  std::optional<Outcome> run(const std::string& out, const std::string& force) {
    const std::string gates = force.empty() ? arguments_.engine.force : force;
    const RowsIdentity identity = identity_of(arguments_, gates);
    benchmark::BenchmarkRun run(*everyone_, tasks_, out, identity);
    if (!run.done()) {
      open(run);
      if (!force.empty()) opened_->force(force);
      benchmark::AnswerOptions answers = arguments_.answers;
      answers.cache.keep_all = arguments_.decode == "full";
      parallel::on_all_ranks(*everyone_, [&] {
        check_cache(opened_->engine(), {.cache_bytes = answers.cache_bytes, .cache = answers.cache},
                    opened_->engine().max_position(), "the longest row", "--cache");
      });
      on_stop_request(OnStop::note);
      const LongRun around{.beat = [&] { opened_->runtime().watchdog().beat(); },
                           .stop_requested = stop_requested};
      if (!run.run(opened_->engine(), *prompter_, answers, around)) {
        log_info("stopped on request: the same command goes on with what is in {}", out);
        return {};
      }
    }
    return report(run, out, identity);
  }

  parallel::Communicator& everyone() { return *everyone_; }

 private:
  data::ChatTemplateSetting chat_template() const {
    // RULER's rows have what a template adds already, unless --chat says otherwise.
    const bool used = arguments_.benchmark != "ruler" || arguments_.chat;
    return used ? chat_template_setting(arguments_.chat_template) : data::ChatTemplateSetting::none;
  }

  void open(const benchmark::BenchmarkRun& run) {
    if (opened_) return;
    // Later runs of a comparison have all rows to answer.
    const int64_t longest = benchmark::longest(
        *everyone_, arguments_.compare ? benchmark::rows_of(tasks_) : run.left());
    EngineArguments engine = arguments_.engine;
    engine.shorter = "lower --limit, or leave these rows out";
    opened_ = std::make_unique<OpenedEngine>(world_, engine, longest);
    // Now, and not when it is their turn.
    for (const std::string& file : arguments_.scores) {
      opened_->check_force(fmt::format("scores:{}:0.5", file));
    }
  }

  Outcome report(const benchmark::BenchmarkRun& run, const std::string& out,
                 const RowsIdentity& identity) {
    Outcome outcome;
    std::string msr;
    parallel::on_all_ranks(*everyone_, [&] {
      if (everyone_->rank() != 0) return;
      const auto figures = run.figures();
      benchmark::TaskFigures all;
      for (const benchmark::TaskParts& f : figures) {
        all.rows += f.all.rows;
        all.msr += f.all.msr;
      }
      msr = fmt::format("{}", all.msr / double(all.rows));
      benchmark::Report report = benchmark::report_of(kind_of(arguments_), out, tasks_, figures);
      const Json results = {{"benchmark", arguments_.benchmark + (arguments_.extended ? "-e" : "")},
                            {"settings", identity},
                            {"made_by", made_by(arguments_.line, arguments_.engine.fewest_ranks())},
                            {"results", std::move(report.parts)}};
      write_text_atomically(out + "/results.json", results.dump(2) + "\n");
      if (arguments_.compare) std::fputs(("\n" + out + "\n").c_str(), stdout);
      std::fputs(report.table.c_str(), stdout);
      outcome.cells = std::move(report.cells);
    });
    outcome.msr = std::stod(everyone_->broadcast_host(msr, 0));
    return outcome;
  }

  const BenchmarkArguments& arguments_;
  parallel::World& world_;
  std::unique_ptr<parallel::Communicator> everyone_;
  std::optional<benchmark::Prompter> prompter_;
  benchmark::Tasks tasks_;
  std::unique_ptr<OpenedEngine> opened_;
};

// The router, full attention, and gates that do not depend on the text, of the router's sparsity.
ExitCode compare(const BenchmarkArguments& arguments, Runs& runs) {
  constexpr int kRandomGates = 3;
  std::vector<benchmark::ComparedRun> compared;
  const auto run = [&](const std::string& name, const std::string& force) {
    auto outcome = runs.run(arguments.out + "/" + name, force);
    if (outcome) compared.push_back({name, outcome->cells});
    return outcome;
  };
  // First, as the engine is opened with it.
  const auto routed = run("router", "");
  if (!routed || !run("full", "full")) return ExitCode::stopped;
  for (const std::string& file : arguments.scores) {
    if (!run(scores_name(file), fmt::format("scores:{}:{:.2f}", file, routed->msr))) {
      return ExitCode::stopped;
    }
  }
  for (int seed = 1; seed <= kRandomGates; ++seed) {
    if (!run(fmt::format("random-{}", seed), fmt::format("random:{:.2f}:{}", routed->msr, seed))) {
      return ExitCode::stopped;
    }
  }
  std::swap(compared[0], compared[1]);
  parallel::on_all_ranks(runs.everyone(), [&] {
    if (runs.everyone().rank() != 0) return;
    write_text_atomically(arguments.out + "/compare.json",
                          benchmark::comparison_json(compared).dump(2) + "\n");
    std::fputs(("\n" + benchmark::comparison_table(compared)).c_str(), stdout);
  });
  return ExitCode::ok;
}

}  // namespace

std::string scores_name(const std::string& file) {
  return "scores-" + std::filesystem::path(file).stem().string();
}

ExitCode run_benchmark(const BenchmarkArguments& arguments, parallel::World& world) {
  const Log log({.rank = world.rank()});
  Runs runs(arguments, world);
  if (arguments.compare) return compare(arguments, runs);
  return runs.run(arguments.out, "") ? ExitCode::ok : ExitCode::stopped;
}

}  // namespace elastron::launch
