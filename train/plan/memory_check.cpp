#include "train/plan/memory_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "ops/attention_means.h"
#include "train/plan/full_attention_line.h"
#include "train/plan/layouts.h"
#include "train/plan/planned_batch.h"
#include "train/trained_model.h"

namespace elastron::train {

MemoryPlan planned_memory(const Config& config, const model::ModelConfig& model,
                          const parallel::MeshLayout& layout, Device& device) {
  return plan_step(config, model, layout, device.behaves_as(), {},
                   ops::attention_means(device, full_attention_question(config, model, layout)),
                   device.attached<ops::ForbiddenKernels>())
      .memory;
}

std::string keys_to_turn(const Config& config, const model::ModelConfig& model,
                         const parallel::MeshLayout& layout, DeviceKind device, int64_t now) {
  struct Turn {
    std::string what;
    Config config;
    parallel::MeshLayout layout;
  };
  std::vector<Turn> turns;
  const auto add = [&](std::string what, const auto& change) {
    Turn turn{std::move(what), config, layout};
    change(turn);
    turns.push_back(std::move(turn));
  };
  for (const auto mode : {model::Recompute::selective, model::Recompute::layer}) {
    if (mode <= config.train.recompute || !trains_decoder(config)) continue;
    add(fmt::format("train.recompute: {}", config::enum_name(mode)),
        [&](Turn& t) { t.config.train.recompute = mode; });
  }
  if (config.train.micro_batch > 1) {
    add(fmt::format("train.micro_batch: {}", config.train.micro_batch / 2),
        [](Turn& t) { t.config.train.micro_batch /= 2; });
  }
  parallel::MeshLayout more = layout;
  more.tensor *= 2;
  if (layout_goes(config, model, more)) {
    add(fmt::format("parallel.tensor: {}", more.tensor), [&](Turn& t) {
      t.layout = more;
      t.config.parallel.tensor = more.tensor;
    });
  }
  if (layout.tensor > 1 && !config.parallel.sequence) {
    add("parallel.sequence: true", [](Turn& t) { t.config.parallel.sequence = true; });
  }
  more = layout;
  more.context *= 2;
  if (layout_goes(config, model, more) && more.context <= 64) {
    add(fmt::format("parallel.context: {}", more.context), [&](Turn& t) { t.layout = more; });
  }
  if (config.train.loss.chunk_rows > 512) {
    add("train.loss.chunk_rows: 512", [](Turn& t) { t.config.train.loss.chunk_rows = 512; });
  }
  add(fmt::format("data.max_tokens: {}", config.data.max_tokens / 2), [](Turn& t) {
    t.config.data.max_tokens = std::max<int64_t>(t.config.data.max_tokens / 2, 1);
  });
  std::vector<std::pair<int64_t, std::string>> found;
  for (const Turn& t : turns) {
    const int64_t then = plan_step(t.config, model, t.layout, device, {}).memory.total();
    if (then < now - now / 100) found.emplace_back(then, t.what);
  }
  std::ranges::sort(found);
  std::string text;
  for (const auto& [bytes, what] : found) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", what, describe_bytes(bytes));
  }
  return text;
}

void check_memory(const Config& config, const model::ModelConfig& model,
                  const parallel::MeshLayout& layout, Device& device, int64_t usable) {
  if (!config.train.memory_check || usable <= 0) return;
  // A layout that does not fit the model is reported where the model is made.
  if (!layout_goes(config, model, layout)) return;
  const auto plan = planned_memory(config, model, layout, device);
  if (plan.total() <= usable) return;
  const std::string keys = keys_to_turn(config, model, layout, device.kind(), plan.total());
  throw UsageError(
      fmt::format("a rank needs {} ({} held, {} saved, {} working) and may fill {}",
                  describe_bytes(plan.total()), describe_bytes(plan.held()),
                  describe_bytes(plan.saved), describe_bytes(plan.working), describe_bytes(usable)),
      "memory",
      (keys.empty() ? "use more memory" : "set " + keys) +
          ", or train.memory_check: false to try all the same");
}

}  // namespace elastron::train
