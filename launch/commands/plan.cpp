// elastron plan CONFIG.yaml... [--device NAME|FILE] [--ranks N] [--layouts] [--json FILE]: memory
// and time of a run, before it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "core/file/atomic_file.h"
#include "core/file/exists.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/runtime.h"
#include "launch/shipped_files.h"
#include "train/plan/report.h"
#include "train/positions.h"

namespace elastron::launch {

namespace fs = std::filesystem;

namespace {

constexpr int kMostPlannedRanks = 65536;

struct Options {
  ConfigArguments config;
  std::string device = "h200", json;
  int ranks = 0;
  bool layouts = false;
  train::Expected expected;
  double pack_spread = 0.3;
};

// Where ELASTRON_DEVICES says, or those that ship.
std::string device_folder(const Options& options) {
  if (const char* folder = std::getenv("ELASTRON_DEVICES")) return folder;
  const std::string shipped = shipped_folder("devices", options.config.files);
  return shipped.empty() ? "configs/devices" : shipped;
}

bool has_config(const std::string& folder) { return exists(folder + "/config.json"); }

std::string names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    if (has_config(entry.path().string())) names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return fmt::format("{}", fmt::join(names, ", "));
}

// The folder of the model's config.json: model.path, or before that is there the shapes that ship
// under its name.
std::string shapes_folder(const Options& options, const std::string& path) {
  if (has_config(path)) return path;
  const std::string shipped = shipped_folder("models", options.config.files);
  const fs::path whole(path);
  const fs::path name = whole.has_filename() ? whole.filename() : whole.parent_path().filename();
  const std::string found = shipped + "/" + name.string();
  if (!shipped.empty() && !name.empty() && has_config(found)) return found;
  throw InputError(
      "there is no config.json", path,
      "set model.path to a folder that has one (weights are not needed)" +
          (shipped.empty() ? std::string()
                           : ", or to a name of " + shipped + ": " + names_in(shipped)));
}

// Data ranks of one machine under parallel.data: auto: as many as share the micro batches of a step
// evenly, as a run must have it.
int64_t data_ranks_of_machine(const train::Config& config, int64_t devices, int64_t split) {
  const int64_t micro_batches = config.train.global_batch / config.train.micro_batch;
  int64_t ranks = std::max<int64_t>(devices / split, 1);
  while (micro_batches % ranks != 0) --ranks;
  return ranks;
}

ExitCode plan(const Options& options) {
  const auto config = read_run_config(options.config);
  const Log log({});
  if (!options.json.empty()) check_place(options.json);
  const auto device = train::load_device_spec(options.device, device_folder(options));
  const std::string shapes = shapes_folder(options, config.model.path);
  const auto model = model::read_model_config(shapes, config.model.rope_scaling);
  const int64_t split = config.parallel.context * config.parallel.tensor;
  int ranks = options.ranks;
  if (ranks == 0) {
    const auto devices = int64_t(device.per_node);
    const int64_t wanted =
        split * (config.parallel.data.is_auto() ? data_ranks_of_machine(config, devices, split)
                                                : config.parallel.data.value_or(1));
    if (wanted > kMostPlannedRanks) {
      throw UsageError(fmt::format("{} ranks are more than can be planned", wanted),
                       "parallel.data, parallel.context, parallel.tensor",
                       fmt::format("make their product {} at most", kMostPlannedRanks));
    }
    ranks = int(wanted);
  }
  const auto report = train::make_plan(config, model, ranks, options.layouts || options.ranks > 0,
                                       device, options.expected, options.pack_spread);
  if (shapes != config.model.path) {
    fmt::print("{} has no config.json yet: shapes of {}\n", config.model.path, shapes);
  }
  if (options.ranks == 0 && config.parallel.data.is_auto() && ranks < int(device.per_node)) {
    fmt::print(
        "{} of the {} devices of a machine, as data ranks share the micro batches of a step "
        "evenly: train.global_batch / train.micro_batch is {}\n",
        ranks, int(device.per_node), config.train.global_batch / config.train.micro_batch);
  }
  std::fputs(train::plan_text(report).c_str(), stdout);
  // A remark on what follows from the plan, not a reason to give none.
  const auto policy = config.model.beyond_positions == train::BeyondPositions::allow
                          ? train::BeyondPositions::allow
                          : train::BeyondPositions::warn;
  train::check_positions(policy, model, "a document of data.max_tokens", config.data.max_tokens,
                         fmt::format("set data.max_tokens to {}", model.covered_positions),
                         /*trains=*/true);
  if (!options.json.empty()) {
    write_text_atomically(options.json, train::plan_json(report).dump(2) + "\n");
  }
  return ExitCode::ok;
}

}  // namespace

void add_plan(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand(
      "plan", "memory and time of a training run on a device, and the layouts of its ranks");
  auto options = std::make_shared<Options>();
  command->add_option("CONFIG", options->config.files, "configuration files, merged left to right")
      ->required();
  command->add_option("--set", options->config.overrides, "set a key: --set train.steps=20")
      ->allow_extra_args(false);
  command->add_option("--device", options->device, "a name in configs/devices, or a file")
      ->capture_default_str();
  command->add_option("--ranks", options->ranks, "devices; ranks all layouts of so many")
      ->check(cli::Range(1, kMostPlannedRanks));
  command->add_flag("--layouts", options->layouts, "rank all layouts");
  command->add_option("--msr", options->expected.msr, "expected share of sparse heads")
      ->check(cli::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--document-tokens", options->expected.document_tokens,
                   "mean length of a document; default: data.max_tokens")
      ->check(cli::Range(int64_t(1), int64_t(1) << 40));
  command
      ->add_option("--xattention", options->expected.xattention,
                   "share of causal pairs in the blocks that XAttention chooses")
      ->check(cli::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--pack-spread", options->pack_spread,
                   "standard deviation of a pack's cost over its mean")
      ->check(cli::Range(0.0, 10.0))
      ->capture_default_str();
  command->add_option("--json", options->json, "file for all figures");
  command->callback(
      [&selected, options] { selected.alone = [options] { return plan(*options); }; });
}

}  // namespace elastron::launch
