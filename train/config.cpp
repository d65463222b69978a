#include "train/config.h"

#include <algorithm>
#include <string>

#include "core/config/schema.h"
#include "core/limits.h"
#include "model/weights/rope_settings.h"
#include "train/workload/registry.h"

namespace elastron::train {

bool Config::trains(Part part) const {
  if (train.trainable.empty()) return objective_of(*this).trains_by_default(*this, part);
  return std::ranges::find(train.trainable, part) != train.trainable.end();
}

std::optional<DType> ModelSection::storage_dtype() const {
  switch (storage) {
    case WeightsKept::automatic: return {};
    case WeightsKept::fp8: return DType::e4m3;
    case WeightsKept::bf16: return DType::bf16;
    case WeightsKept::fp32: return DType::f32;
  }
  throw LogicError("no such storage");
}

bool Config::has_reward_head() const { return objective_of(*this).has_reward_head(*this); }

bool Config::has_routers() const {
  return trains(Part::router) || !objective_of(*this).stored_router(*this).empty();
}

}  // namespace elastron::train

namespace elastron::config {

template <>
struct Schema<train::ModelSection> {
  using C = train::ModelSection;
  static constexpr auto fields = std::tuple{
      field("path", &C::path, "Hugging Face model folder: config.json, weights, tokenizer.json"),
      field("weights", &C::weights, "load the folder's weights, or start from random ones"),
      field("dtype", &C::dtype, "of weights and activations; sums are in float32 or wider"),
      field("storage", &C::storage,
            "how matrices of a frozen backbone are kept: fp8 is e4m3 with a scale per block of 128 "
            "x 128; auto: in dtype"),
      field("full_attention", &C::full_attention,
            "on a GPU; auto: cuDNN for bfloat16 and 1024 tokens or more; own repeats bit for bit"),
      field("max_position", &C::max_position, between(1, kMostTokens),
            "longest document in tokens; auto: data.max_tokens"),
      field("beyond_positions", &C::beyond_positions,
            "documents longer than the positions that the model folder covers; auto: error in "
            "training, warn elsewhere"),
      field(
          "rope_scaling", &C::rope_scaling,
          "in place of the folder's rope scaling, with the keys that config.json has for it; auto: "
          "the folder's; none: positions are not scaled")};
  static void check(const C& c, Problems& problems) {
    try {
      model::check_rope_override(c.rope_scaling);
    } catch (const model::ConfigFault& fault) {
      problems.add("rope_scaling", fault.fault, fault.advice);
    }
  }
};
template <>
struct Schema<train::ParallelSection> {
  using C = train::ParallelSection;
  static constexpr auto fields = std::tuple{
      field("tensor", &C::tensor, between(1, kMostRanks), "ranks that split each layer's weights"),
      field(
          "sequence", &C::sequence,
          "sequence parallelism: tensor ranks have a part of the rows each between these weights"),
      field("context", &C::context, between(1, kMostRanks), "ranks that split each sequence"),
      field("context_kind", &C::context_kind,
            "gather: keys and values to every rank, all heads on each; ulysses: heads for rows"),
      field("data", &C::data, between(1, kMostRanks),
            "ranks that see different packs; auto: what is left"),
      field("balance", &C::balance,
            "cost: micro batches are dealt to data ranks by predicted work; none: in turns"),
      field("communicator", &C::communicator,
            "of GPU tensors; auto: nccl where each rank has a GPU of its own"),
      field("bucket_bytes", &C::bucket_bytes, between(1, int64_t(1) << 40),
            "size of a gradient bucket"),
      field("timeout_seconds", &C::timeout_seconds, at_least(0),
            "a rank without progress for so long ends the job; 0: never")};
};
template <>
struct Schema<train::LearningRates> {
  using C = train::LearningRates;
  static constexpr auto fields = std::tuple{
      field("router", &C::router, at_least(0), "peak rate of the routers"),
      field("lambda", &C::lambda, at_least(0), "peak rate of the multipliers"),
      field("backbone", &C::backbone, at_least(0), "peak rate of the backbone, where it trains"),
      field("head", &C::head, at_least(0), "peak rate of the reward head"),
      field("lora", &C::lora, at_least(0), "peak rate of the low-rank adapters")};
};
template <>
struct Schema<model::LoraConfig> {
  using C = model::LoraConfig;
  static constexpr auto fields = std::tuple{
      field("rank", &C::rank, between(1, 4096), "of the adapters' product"),
      field("alpha", &C::alpha, greater_than(0), "the product counts alpha / rank times"),
      field("targets", &C::targets, "linear layers that get an adapter")};
  static void check(const C& c, Problems& problems) {
    for (const std::string& target : c.targets) {
      if (std::ranges::find(model::kLinearNames, target) == model::kLinearNames.end()) {
        problems.add("targets", "'" + target + "' is no linear layer",
                     "use " + model::linear_names());
      }
    }
    if (c.targets.empty()) problems.add("targets", "no linear layers", "name at least one");
  }
};
template <>
struct Schema<train::LossSection> {
  using C = train::LossSection;
  static constexpr auto fields = std::tuple{
      field("norm", &C::norm,
            "divide by the labels of the whole step, each micro batch by its own, or by the "
            "mean per micro batch over the run so far"),
      field("chunk_rows", &C::chunk_rows, between(1, kMostTokens),
            "positions for which logits exist at a time")};
};
template <>
struct Schema<train::RandomGateSection> {
  using C = train::RandomGateSection;
  static constexpr auto fields =
      std::tuple{field("share", &C::share, between(0, 1),
                       "pretraining: share of documents that run with random gates"),
                 field("sparse", &C::sparse, between(0, 1),
                       "probability that a head of such a document is sparse"),
                 field("robust_only", &C::robust_only,
                       "only documents of tasks that need nothing far: Summarization, Code, "
                       "In-Context Learning")};
};
template <>
struct Schema<train::AdamWConfig> {
  using C = train::AdamWConfig;
  static constexpr auto fields = std::tuple{
      field("beta1", &C::beta1, at_least(0) && less_than(1), "decay of the first moment"),
      field("beta2", &C::beta2, at_least(0) && less_than(1), "decay of the second moment"),
      field("eps", &C::eps, greater_than(0), "added to the root of the second moment")};
};
constexpr Rule objective_names() {
  Rule names;
  for (const auto& row : train::kObjectives) names.choices[names.choice_count++] = row.name;
  return names;
}
template <>
struct Schema<train::TrainSection> {
  using C = train::TrainSection;
  static constexpr auto fields = std::tuple{
      field("objective", &C::objective, objective_names(),
            "pretrain: all weights, on text; router: the routers; reward: a judge of pairs"),
      field("trainable", &C::trainable,
            "what trains, of backbone, router, reward_head and lora; empty: the objective's own, "
            "[backbone], [router] or [reward_head] ([lora] with reward.loss: simpo)"),
      section("lora", &C::lora, "low-rank adapters beside frozen weights (trainable: lora)"),
      field("steps", &C::steps, between(1, kMostSteps), "optimiser steps"),
      field("global_batch", &C::global_batch, between(1, kMostPacksPerStep),
            "packs per step, over all ranks"),
      field("micro_batch", &C::micro_batch, between(1, kMostPacksPerStep),
            "packs per forward pass of a rank"),
      section("lr", &C::lr, "peak learning rates"),
      field("warmup_ratio", &C::warmup_ratio, between(0, 1), "share of the steps that warms up"),
      field("schedule", &C::schedule, "after warm-up"),
      field("final_lr_ratio", &C::final_lr_ratio, between(0, 1),
            "learning rate at the end, over the peak"),
      section("adam", &C::adam, "AdamW"),
      field("weight_decay", &C::weight_decay, at_least(0),
            "decoupled weight decay of every trainable tensor"),
      field("clip", &C::clip, at_least(0), "largest global gradient norm; 0: no clipping"),
      field("seed", &C::seed, at_least(0), "seed of everything random"),
      field("recompute", &C::recompute,
            "activations computed again in the backward pass instead of kept"),
      field("accum", &C::accum, "average or sum the micro batches' gradients"),
      field("shard_optimizer", &C::shard_optimizer,
            "share optimiser state and master weights of a trained backbone among the data ranks"),
      section("loss", &C::loss, "language-model loss"),
      section("random_gates", &C::random_gates, "sparse heads while a backbone is pretrained"),
      field("max_skips", &C::max_skips, at_least(0),
            "steps in a row that may be skipped for a non-finite loss before the run ends"),
      field("memory_check", &C::memory_check,
            "end at once where the planned memory is more than the device has")};
};
template <>
struct Schema<train::EvalSection> {
  using C = train::EvalSection;
  static constexpr auto fields = std::tuple{
      field("every", &C::every, at_least(0), "steps between evaluations; 0: none while training"),
      field("micro_batch", &C::micro_batch, between(1, kMostPacksPerStep),
            "documents per forward pass")};
};
template <>
struct Schema<train::CheckpointSection> {
  using C = train::CheckpointSection;
  static constexpr auto fields =
      std::tuple{field("every", &C::every, at_least(0),
                       "steps between checkpoints; 0: only the last step and on a stop"),
                 field("keep", &C::keep, at_least(2), "checkpoints kept; the oldest go first")};
};
template <>
struct Schema<train::OutputSection> {
  using C = train::OutputSection;
  static constexpr auto fields = std::tuple{
      field("dir", &C::dir, "folder of checkpoints, metrics, logs and the resolved config"),
      field("tensorboard", &C::tensorboard, "write TensorBoard event files")};
};
template <>
struct Schema<train::LogSection> {
  using C = train::LogSection;
  static constexpr auto fields = std::tuple{
      field("every", &C::every, at_least(1), "steps between progress lines and metrics")};
};
template <>
struct Schema<train::DeviceSection> {
  using C = train::DeviceSection;
  static constexpr auto fields = std::tuple{
      field("kind", &C::kind, "auto: CUDA where there is a GPU and the build has it"),
      field("self_check", &C::self_check,
            "the GPU's kernels are checked at the start; auto: once on each GPU model, driver and "
            "build; full: always")};
};
template <>
struct Schema<train::Config> {
  using C = train::Config;
  static constexpr auto fields = std::tuple{
      section("model", &C::model, "the backbone"),
      section("router", &C::router, "the Attention Router"),
      section("reward", &C::reward, "reward models (objective: reward)"),
      section("parallel", &C::parallel, "how ranks share the work"),
      section("train", &C::train, "training"),
      section("eval", &C::eval, "evaluation"),
      section("data", &C::data, "data"),
      section("checkpoint", &C::checkpoint, "checkpoints"),
      section("output", &C::output, "what a run leaves behind"),
      section("log", &C::log, "progress"),
      section("device", &C::device, "what computes; `device: cuda` is short for its kind", "kind")};
  static void check(const C& c, Problems& problems) {
    if (c.model.path.empty()) {
      problems.add("model.path", "no model folder is given", "set it to a Hugging Face folder");
    }
    if (c.train.global_batch % c.train.micro_batch != 0) {
      problems.add("train.global_batch", "train.micro_batch does not divide it",
                   "make it a multiple of train.micro_batch");
    }
    check_trainable(c, problems);
    check_context(c, problems);
    if (c.model.storage != train::WeightsKept::automatic && c.trains(train::Part::backbone)) {
      problems.add("model.storage", "weights that train are in model.dtype", "set it to auto");
    }
    if (c.model.weights == train::WeightSource::random && !c.trains(train::Part::backbone) &&
        !train::objective_of(c).makes_backbone()) {
      problems.add("model.weights", "what does not train needs trained weights", "set it to load");
    }
#if !ELASTRON_WITH_CUDA
    if (c.device.kind == train::DeviceChoice::cuda) {
      problems.add("device.kind", "this build has no CUDA back end",
                   "set it to auto or cpu, or build with ELASTRON_CUDA=ON");
    }
#endif
  }

 private:
  static void check_context(const C& c, Problems& problems) {
    if (c.parallel.context == 1) return;
    if (c.most_context_ranks() < c.parallel.context) {
      problems.add("parallel.context",
                   "documents of " + std::to_string(c.data.max_tokens) +
                       " tokens (data.max_tokens) have fewer blocks of " +
                       std::to_string(c.context_block()) + " tokens than that",
                   "set it to " + std::to_string(c.most_context_ranks()) + " or less");
    }
  }
  static void check_trainable(const C& c, Problems& problems) {
    const train::Objective& objective = train::objective_of(c);
    std::string use;
    for (const auto& entry : EnumNames<train::Part>::names) {
      if (!objective.may_train(entry.value)) continue;
      use += (use.empty() ? "" : ", ") + std::string(entry.name);
    }
    for (const train::Part part : c.train.trainable) {
      if (objective.may_train(part)) continue;
      problems.add("train.trainable",
                   "'" + std::string(enum_name(part)) + "' does not train under this objective",
                   "use [" + use + "]");
    }
    objective.check(c, problems);
  }
};

template Table table_of(train::Config&);

}  // namespace elastron::config
