// elastron plan CONFIG.yaml... [--device NAME|FILE] [--ranks N] [--layouts] [--json FILE]: memory
// and time of a run, before it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "core/file/atomic_file.h"
#include "launch/command.h"
#include "launch/runtime.h"
#include "train/plan/report.h"

namespace elastron::launch {

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

// Beside the sources, or where ELASTRON_DEVICES says.
std::string device_folder() {
  if (const char* folder = std::getenv("ELASTRON_DEVICES")) return folder;
  return ELASTRON_SOURCE_FOLDER "/configs/devices";
}

ExitCode plan(const Options& options) {
  const auto config =
      config::load_config<train::Config>(options.config.files, options.config.overrides);
  const auto device = train::load_device_spec(options.device, device_folder());
  const auto model = model::read_model_config(config.model.path);
  const int64_t split = config.parallel.context * config.parallel.tensor;
  int ranks = options.ranks;
  if (ranks == 0) {
    const int64_t wanted = config.parallel.data.is_auto()
                               ? std::max<int64_t>(int64_t(device.per_node), split)
                               : config.parallel.data.value_or(1) * split;
    if (wanted > kMostPlannedRanks) {
      throw UsageError(fmt::format("{} ranks are more than can be planned", wanted),
                       "parallel.data, parallel.context, parallel.tensor",
                       fmt::format("make their product {} at most", kMostPlannedRanks));
    }
    ranks = int(wanted);
  }
  const auto report = train::make_plan(config, model, ranks, options.layouts || options.ranks > 0,
                                       device, options.expected, options.pack_spread);
  std::fputs(train::plan_text(report).c_str(), stdout);
  if (!options.json.empty()) {
    write_text_atomically(options.json, train::plan_json(report).dump(2) + "\n");
  }
  return ExitCode::ok;
}

}  // namespace

void add_plan(CLI::App& app, Command& selected) {
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
      ->check(CLI::Range(1, kMostPlannedRanks));
  command->add_flag("--layouts", options->layouts, "rank all layouts");
  command->add_option("--msr", options->expected.msr, "expected share of sparse heads")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--document-tokens", options->expected.document_tokens,
                   "mean length of a document; default: data.max_tokens")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40));
  command
      ->add_option("--xattention", options->expected.xattention,
                   "share of causal pairs in the blocks that XAttention chooses")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--pack-spread", options->pack_spread,
                   "standard deviation of a pack's cost over its mean")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  command->add_option("--json", options->json, "file for all figures");
  command->callback(
      [&selected, options] { selected.alone = [options] { return plan(*options); }; });
}

}  // namespace elastron::launch
