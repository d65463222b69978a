// elastron eval CONFIG.yaml... --checkpoint PATH [--out FILE.json] [--compare]
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "core/file/atomic_file.h"
#include "core/json.h"
#include "core/plural.h"
#include "core/progress.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/made_by.h"
#include "launch/runtime.h"
#include "parallel/agree.h"
#include "train/checkpoint/checkpoint.h"
#include "train/evaluate/evaluate.h"
#include "train/positions.h"
#include "train/session.h"
#include "train/workload/registry.h"

namespace elastron::launch {

namespace {

using Json = train::FigureValue;

struct Options {
  ConfigArguments config;
  std::string checkpoint, out;
  std::string line;  // the whole command
  bool compare = false;
};

// One way of deciding gates, evaluated.
struct Row {
  std::string gates;
  train::EvalResult result;
};

// `made`: how all of them came about.
Json row_json(const Row& row, const Json& made) {
  Json object = {{"gates", row.gates},
                 {"all", train::eval_json(row.result.all)},
                 {"esr_by_head", row.result.esr_by_head}};
  for (const auto& [name, f] : row.result.by_task) object["by_task"][name] = train::eval_json(f);
  for (const auto& [name, f] : row.result.by_kind) object["by_kind"][name] = train::eval_json(f);
  object["full_by_kind"] = row.result.full_by_kind;
  if (const auto& f = row.result.features) {
    object["features_by_kind"] = {{"kinds", f->kinds}, {"before", f->before}, {"after", f->after}};
  }
  object["made_by"] = made;
  return object;
}

// Accuracy and MSR of each kind under each way of deciding gates; how many documents have no
// answer, where there are any.
std::string table(const std::vector<Row>& rows) {
  constexpr size_t kCell = 13;  // "accuracy  MSR"
  const train::EvalFigures& all = rows.front().result.all;
  const int64_t unanswered = all.documents - all.answers;
  const auto width = [&](const Row& r) { return std::max(kCell, r.gates.size()); };
  const auto first = [&](const std::string& name, const std::string& documents,
                         const std::string& without) {
    return fmt::format("{:<22}{:>6}", name, documents) +
           (unanswered > 0 ? fmt::format("{:>11}", without) : "");
  };
  std::string names = first("", "", ""), heads = first("kind", "docs", "unanswered");
  for (const Row& r : rows) {
    names += fmt::format("  {:>{}}", r.gates, width(r));
    heads += fmt::format("  {:>{}}", "accuracy  MSR", width(r));
  }
  std::string text = "\n" + names + "\n" + heads + "\n";
  const auto line = [&](const std::string& name, const auto& pick) {
    const train::EvalFigures& f = pick(rows.front());
    text += first(name, std::to_string(f.documents), std::to_string(f.documents - f.answers));
    for (const Row& r : rows) {
      const std::string cell =
          fmt::format("{:>8} {:>4.2f}", train::accuracy_text(pick(r)), pick(r).msr);
      text += fmt::format("  {:>{}}", cell, width(r));
    }
    text += "\n";
  };
  for (const auto& [kind, unused] : rows.front().result.by_kind) {
    line(
        kind, [&](const Row& r) -> const auto& { return r.result.by_kind.at(kind); });
  }
  line(
      "all", [](const Row& r) -> const auto& { return r.result.all; });
  if (unanswered > 0) {
    text += fmt::format("{} of {} have no answer: accuracy is of the others\n", unanswered,
                        plural(all.documents, "document"));
  }
  return text;
}

class Evaluation {
 public:
  Evaluation(const Options& options, const train::Config& config, Runtime& runtime)
      : options_(options),
        config_(config),
        runtime_(runtime),
        // Master weights, where a checkpoint has those of the backbone.
        session_(config, /*training=*/config.trains(train::Part::backbone), runtime.mesh(),
                 runtime.device()) {
    parallel::Mesh& mesh = runtime.mesh();
    parallel::on_all_ranks(mesh.world(), [&] {
      source_ = data::open_evaluation_source(config.data, session_.tokenizer(),
                                             session_.decoder().config().end_of_document(),
                                             config.model.path);
      train::check_positions(config, session_.decoder().config(), "the longest document",
                             {source_.get()}, /*trains=*/false);
    });
    if (options.checkpoint.empty()) return;
    parallel::on_all_ranks(mesh.world(), [&] {
      checkpoint_ = train::resolve_checkpoint(options.checkpoint, config.output.dir);
    });
    const auto header = train::verify_checkpoint(checkpoint_, mesh);
    parallel::on_all_ranks(mesh.world(), [&] {
      train::require_objective(header, config.train.objective, checkpoint_,
                               "give one of this configuration's runs");
      train::require_backbone(header, session_.backbone_fingerprint(), checkpoint_);
    });
    train::load_tensors(checkpoint_, {session_.model().objective_parameters(), nullptr}, mesh);
    has_router_ = config.has_routers();
  }

  // `place`: "2 of 6".
  Row run(const std::string& force, const std::string& place, Progress& progress) {
    const auto& m = session_.decoder().config();
    router::Force forced;
    parallel::on_all_ranks(runtime_.mesh().world(), [&] {
      forced = router::parse_force(force, m.num_layers, m.kv_heads, config_.router.granularity);
      if (!forced.active && !has_router_) {
        throw UsageError("there is no router to evaluate", "--checkpoint",
                         "give a router checkpoint, or set router.force");
      }
    });
    auto gates = forced.active ? session_.model().routed_by_gates(forced.gates)
                               : session_.model().routed_by_router();
    const std::string name = force == "none" ? "router" : force;
    const std::string what = fmt::format("evaluating {} ({})", name, place);
    return {name, train::evaluate(config_, runtime_.mesh(), runtime_.device(), session_.decoder(),
                                  gates, *source_,
                                  [&](uint64_t done, uint64_t total) {
                                    runtime_.watchdog().beat();
                                    progress.show(what, done, total);
                                  },
                                  {.features = !options_.out.empty()})};
  }
  bool has_router() const { return has_router_; }
  // What its figures were made of, for who wants them again.
  Json made_by() const {
    const int ranks = runtime_.mesh().world().size();
    Json made = launch::made_by(options_.line, ranks);
    made["configuration"] = options_.config.files;
    made["settings"] = options_.config.overrides;
    made["checkpoint"] = checkpoint_;
    made["ranks"] = ranks;
    made["backbone"] = session_.backbone_fingerprint();
    return made;
  }

 private:
  const Options& options_;
  const train::Config& config_;
  Runtime& runtime_;
  bool has_router_ = false;
  std::string checkpoint_;  // a file; empty without one
  train::Session session_;
  std::unique_ptr<data::PackSource> source_;
};

ExitCode run(const Options& options, parallel::World& world) {
  auto everyone = world.split(0, world.rank(), "world");
  train::Config config = load_run_config(options.config, *everyone);
  parallel::on_all_ranks(*everyone, [&] {
    train::objective_of(config).check_text_evaluation();
    if (world.rank() == 0 && !options.out.empty()) check_place(options.out);
  });
  Log log({.rank = world.rank()});
  Runtime runtime(world, config);
  runtime.check_kernels(config, /*trains=*/false);
  Evaluation evaluation(options, config, runtime);

  std::vector<Row> rows;
  Progress progress(world.rank() == 0);
  constexpr int kRandomGates = 3;
  const int ways = !options.compare ? 1 : evaluation.has_router() ? 3 + kRandomGates : 2;
  const auto evaluate = [&](const std::string& force) {
    rows.push_back(evaluation.run(force, fmt::format("{} of {}", rows.size() + 1, ways), progress));
  };
  if (options.compare) {
    evaluate("full");
    evaluate("sparse");
    if (evaluation.has_router()) {
      evaluate("none");
      // Static gates of the same sparsity as the router's, drawn at random.
      const double msr = rows.back().result.all.msr;
      for (int seed = 1; seed <= kRandomGates; ++seed) {
        evaluate(fmt::format("random:{:.2f}:{}", msr, seed));
      }
    }
  } else {
    const bool full = config.router.force == "none" && !evaluation.has_router();
    evaluate(full ? "full" : config.router.force);
  }
  progress.clear();
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() != 0) return;
    std::fputs(table(rows).c_str(), stdout);
    if (options.out.empty()) return;
    Json all = Json::array();
    const Json made = evaluation.made_by();
    for (const Row& r : rows) all.push_back(row_json(r, made));
    write_text_atomically(options.out, (options.compare ? all : all[0]).dump(2) + "\n");
    log_info("figures in {}", options.out);
  });
  return ExitCode::ok;
}

}  // namespace

void add_eval(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("eval", "loss, accuracy and sparsity on the evaluation data");
  auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->config.files, "configuration files, merged left to right")
      ->required();
  command->add_option("--set", options->config.overrides, "set a key: --set router.force=full")
      ->allow_extra_args(false);
  command->add_option(
      "--checkpoint", options->checkpoint,
      "checkpoint, a run's folder, or latest or best of output.dir; without one the "
      "model folder's weights");
  command->add_option("--out", options->out, "write the figures as JSON");
  command->add_flag("--compare", options->compare,
                    "full, sparse, the router, and random static gates of the router's sparsity");
  command->callback([&selected, options] {
    options->line = selected.line;
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
