#include "train/plan/run_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "data/packed_batch.h"
#include "train/workload/registry.h"

namespace elastron::train {

model::DecoderOptions decoder_options(const Config& config, bool training) {
  return {.dtype = config.model.compute_dtype(),
          .train_backbone = config.trains(Part::backbone) && training,
          .lora = config.has_lora() ? std::optional(config.train.lora) : std::nullopt,
          .train_lora = training,
          .split_rows = config.splits_rows(),
          .lm_head = !config.has_reward_head(),
          .recompute = config.train.recompute,
          .max_position = config.model.max_position.value_or(config.data.max_tokens),
          .loss_chunk_rows = config.train.loss.chunk_rows,
          .full_attention = config.model.full_attention};
}

int64_t micro_batch_tokens(const Config& config) {
  return objective_of(config).sequences_per_pack() * config.train.micro_batch *
         config.data.max_tokens;
}

bool trains_decoder(const Config& config) {
  return config.trains(Part::backbone) || config.trains(Part::router) || config.has_lora();
}

bool layout_goes(const Config& config, const model::ModelConfig& model,
                 const parallel::MeshLayout& layout) {
  const int64_t packs = config.train.global_batch / config.train.micro_batch;
  if (model.kv_heads % layout.tensor != 0 || model.intermediate_size % layout.tensor != 0 ||
      packs % layout.data != 0) {
    return false;
  }
  if (layout.context == 1) return true;
  if (config.most_context_ranks() < layout.context) return false;
  return config.parallel.context_kind == ContextKind::gather ||
         model.kv_heads / layout.tensor % layout.context == 0;
}

model::MemoryShape memory_shape(const Config& config, const parallel::MeshLayout& layout,
                                DeviceKind device) {
  const bool shares = config.train.shard_optimizer && config.trains(Part::backbone);
  model::MemoryShape shape{.tokens = micro_batch_tokens(config),
                           .longest = config.data.max_tokens,
                           .tensor_ranks = layout.tensor,
                           .context_ranks = layout.context,
                           .context_block = config.context_block(),
                           .exchange_heads = config.parallel.context_kind == ContextKind::ulysses,
                           .device = device,
                           .optimizer_ranks = shares ? layout.data * layout.context : 1,
                           .tasks = data::kTaskCount,
                           .train_routers = config.trains(Part::router),
                           .backward = trains_decoder(config)};
  if (config.has_routers()) shape.routers = config.router;
  return shape;
}

model::MemoryPlan planned_memory(const Config& config, const model::ModelConfig& model,
                                 const parallel::MeshLayout& layout, Device& device) {
  const auto options = decoder_options(config, true);
  model::MemoryShape shape = memory_shape(config, layout, device.kind());
  const int heads = layout.tensor * (shape.exchange_heads ? layout.context : 1);
  shape.attention = ops::attention_workspace(device, options.dtype, model.q_heads / heads,
                                             model.kv_heads / heads, model.head_dim, shape.tokens,
                                             shape.train_routers, options.full_attention);
  return model::plan_memory(model, options, shape);
}

std::string keys_to_turn(const Config& config, const model::ModelConfig& model,
                         const parallel::MeshLayout& layout, DeviceKind device) {
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
  const int64_t now =
      model::plan_memory(model, decoder_options(config, true), memory_shape(config, layout, device))
          .total();
  for (const Turn& t : turns) {
    const int64_t then = model::plan_memory(model, decoder_options(t.config, true),
                                            memory_shape(t.config, t.layout, device))
                             .total();
    if (then < now - now / 100) found.emplace_back(then, t.what);
  }
  std::ranges::sort(found);
  std::string text;
  for (const auto& [bytes, what] : found) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", what, model::describe_bytes(bytes));
  }
  return text;
}

void check_memory(const Config& config, const model::ModelConfig& model,
                  const parallel::MeshLayout& layout, Device& device, int64_t available) {
  if (!config.train.memory_check || available <= 0) return;
  // A layout that does not fit the model is reported where the model is made.
  if (model.kv_heads % layout.tensor != 0) return;
  const auto plan = planned_memory(config, model, layout, device);
  if (plan.total() <= available) return;
  const std::string keys = keys_to_turn(config, model, layout, device.kind());
  throw UsageError(
      fmt::format("a rank needs {} ({} held, {} saved, {} working) and has {}",
                  model::describe_bytes(plan.total()), model::describe_bytes(plan.held()),
                  model::describe_bytes(plan.saved), model::describe_bytes(plan.working),
                  model::describe_bytes(available)),
      "memory",
      (keys.empty() ? "use more memory" : "set " + keys) +
          ", or train.memory_check: false to try all the same");
}

}  // namespace elastron::train
