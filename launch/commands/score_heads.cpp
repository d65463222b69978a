// elastron score-heads [CONFIG.yaml...] [--model DIR] [--data FILE.jsonl] --out FILE.json
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/file/atomic_file.h"
#include "core/json.h"
#include "core/plural.h"
#include "core/progress.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/runtime.h"
#include "model/weights/model_folder.h"
#include "parallel/agree.h"
#include "router/layer_routers.h"
#include "train/checkpoint/first_checkpoint.h"
#include "train/evaluate/head_scores.h"
#include "train/positions.h"

namespace elastron::launch {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ConfigArguments config;
  std::string model, out, needles = "answered";
  std::vector<std::string> data;
  int64_t after = 0;
};

train::Config load_config(const Options& options, parallel::Communicator& everyone) {
  ConfigArguments arguments = options.config;
  if (!options.model.empty()) arguments.overrides.push_back("model.path=" + options.model);
  train::Config config = load_run_config(arguments, everyone);
  if (config.parallel.context != 1) {
    throw UsageError("heads are scored on whole sequences", "parallel.context", "set it to 1");
  }
  if (!options.data.empty()) {
    config.data.format = data::Format::jsonl;
    config.data.eval = options.data;
  }
  // The other synthetic tasks ask for nothing that stands in one place.
  if (config.data.format == data::Format::synthetic && config.data.synthetic.kinds.empty()) {
    config.data.synthetic.kinds = {{"needle", 1.0}, {"recall", 1.0}, {"trace", 1.0}};
  }
  return config;
}

// The backbone with full attention, and the documents.
class ScoredModel {
 public:
  ScoredModel(const train::Config& config, Runtime& runtime) : config_(config), runtime_(runtime) {
    parallel::Mesh& mesh = runtime.mesh();
    parallel::on_all_ranks(mesh.world(), [&] {
      folder_ = std::make_unique<model::ModelFolder>(config.model.path, config.model.rope_scaling);
      const model::ModelConfig& m = folder_->config();
      tokenizer_ = data::load_tokenizer(config.model.path);
      source_ = data::open_evaluation_source(config.data, *tokenizer_, m.end_of_document(),
                                             config.model.path);
      train::check_positions(config, m, "the longest document", {source_.get()}, /*trains=*/false);
      const model::DecoderOptions options{
          .dtype = config.model.compute_dtype(),
          .storage = config.model.storage_dtype(),
          .repack = false,
          .max_position = config.model.max_position.value_or(config.data.max_tokens),
          .full_attention = config.model.full_attention};
      decoder_ = std::make_unique<model::Decoder>(m, options, mesh.tensor(), runtime.device());
      folder_->load(decoder_->parameters());
      const int64_t own = m.kv_heads / mesh.tensor().size();
      routed_ =
          router::routed_by_gates(router::uniform_gates(m.num_layers, m.kv_heads, 1),
                                  {m.kv_heads, own * mesh.tensor().rank(), own}, config.router);
    });
    fingerprint_ = train::shared_fingerprint(*folder_, mesh);
  }

  train::HeadScoreResult score(const train::HeadScoreOptions& options) {
    Progress progress(runtime_.mesh().world().rank() == 0);
    return train::score_heads(config_, runtime_.mesh(), runtime_.device(), *decoder_, routed_,
                              *source_, *tokenizer_, options, [&](uint64_t done, uint64_t total) {
                                runtime_.watchdog().beat();
                                progress.show(
                                    "scoring heads", done, total,
                                    fmt::format("{} of {}", done, plural(int64_t(total), "pack")));
                              });
  }
  const std::string& fingerprint() const { return fingerprint_; }
  std::string data_fingerprint() const { return source_->fingerprint(); }

 private:
  const train::Config& config_;
  Runtime& runtime_;
  std::unique_ptr<model::ModelFolder> folder_;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::unique_ptr<data::PackSource> source_;
  std::unique_ptr<model::Decoder> decoder_;
  std::vector<router::RoutedLayer> routed_;
  std::string fingerprint_;
};

Json data_json(const train::Config& config, const ScoredModel& model) {
  Json data = {{"format", config::enum_name(config.data.format)},
               {"fingerprint", model.data_fingerprint()}};
  if (config.data.format == data::Format::synthetic) {
    const data::SyntheticConfig& s = config.data.synthetic;
    for (const auto& [kind, weight] : s.kinds) data["kinds"].push_back(kind);
    data["lengths"] = s.lengths;
    data["clearance"] = s.clearance;
    data["seed"] = s.seed;
    data["per_kind_and_length"] = s.eval_per_kind;
  } else {
    data["files"] = config.data.eval;
  }
  return data;
}

std::string result_text(const train::Config& config, const Options& options,
                        const ScoredModel& model, const train::HeadScoreResult& result) {
  // Those that a sparser setting keeps longest come first.
  Json ranking = Json::array();
  auto order = router::heads_by_score(result.kv_scores);
  std::ranges::reverse(order);
  for (const auto& [layer, head] : order) {
    ranking.push_back(
        {{"layer", layer}, {"kv_head", head}, {"score", result.kv_scores[layer][head]}});
  }
  const Json file = {{"format", "elastron-head-scores"},
                     {"format_version", 1},
                     {"model", config.model.path},
                     {"backbone_fingerprint", model.fingerprint()},
                     {"settings",
                      {{"answers", "given, not generated"},
                       {"needles", options.needles},
                       {"after", options.after},
                       {"kv_scores", "mean over the query heads of a group"},
                       {"dtype", config::enum_name(config.model.dtype)},
                       {"storage", config::enum_name(config.model.storage)},
                       {"data", data_json(config, model)}}},
                     {"documents", result.documents},
                     {"not_found", result.not_found},
                     {"not_answered", result.not_answered},
                     {"needles", result.needles},
                     {"scores", result.scores},
                     {"kv_scores", result.kv_scores},
                     {"ranking", ranking}};
  return file.dump(1) + "\n";
}

ExitCode run(const Options& options, parallel::World& world) {
  auto everyone = world.split(0, world.rank(), "world");
  const Log log({.rank = world.rank()});
  train::Config config = load_config(options, *everyone);
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() == 0) check_place(options.out);
  });
  Runtime runtime(world, config);
  runtime.check_kernels(config, /*trains=*/false);
  runtime.announce(world);
  ScoredModel model(config, runtime);
  const auto result =
      model.score({.answered_only = options.needles == "answered", .after = options.after});
  parallel::on_all_ranks(*everyone, [&] {
    if (result.needles == 0) {
      const bool none_found = result.not_found == result.documents;
      throw InputError(none_found ? "no document's answer stands in its prompt"
                                  : "the model gives none of the answers by itself",
                       "score-heads",
                       none_found ? "use questions whose answer is copied from the context"
                                  : "use a model that can, or --needles all");
    }
    if (world.rank() != 0) return;
    write_text_atomically(options.out, result_text(config, options, model, result));
  });
  log_info("{} of {} ({} not in the prompt, {} not answered); scores in {}",
           plural(result.needles, "needle"), plural(result.documents, "document"), result.not_found,
           result.not_answered, options.out);
  return ExitCode::ok;
}

}  // namespace

void add_score_heads(cli::App& app, Command& selected) {
  auto* command =
      app.add_subcommand("score-heads", "how much each attention head retrieves from the context");
  auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->config.files,
                      "configuration files, merged left to right: model, data, parallel, device");
  command->add_option("--set", options->config.overrides, "set a key: --set data.format=synthetic")
      ->allow_extra_args(false);
  command->add_option("--model", options->model, "model folder, in place of model.path");
  command->add_option("--data", options->data,
                      "JSON lines whose answers stand in their contexts, in place of the "
                      "evaluation data");
  command
      ->add_option("--needles", options->needles,
                   "answered: those whose whole answer is the model's own choice, token by token; "
                   "all: the others too")
      ->check(cli::IsMember({"answered", "all"}))
      ->capture_default_str();
  command
      ->add_option("--after", options->after,
                   "keys up to so many tokens behind the answer's token count as well")
      ->check(cli::Range(0, 64))
      ->capture_default_str();
  command->add_option("--out", options->out, "JSON; router.force=scores:FILE:MSR reads it")
      ->required();
  command->callback([&selected, options] {
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
