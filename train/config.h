// The whole configuration of a run: one struct per YAML section (configs/reference.yaml).
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "core/config/schema.h"
#include "core/limits.h"
#include "data/config.h"
#include "data/context_shard.h"
#include "model/decoder_config.h"
#include "reward/config.h"
#include "router/config.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace elastron::train {

enum class Objective : uint8_t { pretrain, router, reward };
// Parts of a model that can be trained: train.trainable.
enum class Part : uint8_t { backbone, router, reward_head, lora };
enum class WeightSource : uint8_t { load, random };
enum class ComputeDType : uint8_t { float32, bfloat16, float64 };
// What to do with documents that reach beyond the positions which model.path covers; automatic: an
// error where something trains, a warning elsewhere.
enum class BeyondPositions : uint8_t { automatic, warn, error, allow };
enum class CommunicatorChoice : uint8_t { automatic, nccl, mpi };
enum class ContextKind : uint8_t { gather, ulysses };
enum class Balance : uint8_t { cost, none };
enum class DeviceChoice : uint8_t { automatic, cpu, cuda };
enum class LossNorm : uint8_t { global, per_rank, token_scaled };
enum class Accumulation : uint8_t { mean, sum };

struct ModelSection {
  std::string path;
  WeightSource weights = WeightSource::load;
  ComputeDType dtype = ComputeDType::float32;
  config::Auto<int64_t> max_position;
  BeyondPositions beyond_positions = BeyondPositions::automatic;
  ops::FullAttentionBy full_attention = ops::FullAttentionBy::automatic;

  DType compute_dtype() const {
    return dtype == ComputeDType::float64    ? DType::f64
           : dtype == ComputeDType::bfloat16 ? DType::bf16
                                             : DType::f32;
  }
};

struct ParallelSection {
  int64_t tensor = 1;
  bool sequence = true;
  int64_t context = 1;
  ContextKind context_kind = ContextKind::gather;
  config::Auto<int64_t> data;
  Balance balance = Balance::cost;
  CommunicatorChoice communicator = CommunicatorChoice::automatic;
  int64_t bucket_bytes = 25 << 20;
  double timeout_seconds = 600;
};

struct LearningRates {
  double router = 5e-4;
  double lambda = 1e-3;
  double backbone = 1e-3;
  double head = 1e-3;
  double lora = 2e-4;
};

struct LossSection {
  LossNorm norm = LossNorm::global;
  int64_t chunk_rows = 2048;
};

struct RandomGateSection {
  double share = 0.0;
  double sparse = 0.5;
};

struct TrainSection {
  Objective objective = Objective::router;
  std::vector<Part> trainable;  // empty: see Config::trains
  model::LoraConfig lora;
  int64_t steps = 300;
  int64_t global_batch = 48;
  int64_t micro_batch = 1;
  LearningRates lr;
  double warmup_ratio = 0.2;
  ScheduleKind schedule = ScheduleKind::cosine;
  double final_lr_ratio = 1e-7;
  AdamWConfig adam;
  double weight_decay = 0.1;
  double clip = 5.0;
  int64_t seed = 42;
  model::Recompute recompute = model::Recompute::none;
  Accumulation accum = Accumulation::mean;
  bool shard_optimizer = true;
  LossSection loss;
  RandomGateSection random_gates;
  int64_t max_skips = 3;
  bool memory_check = true;
};

struct EvalSection {
  int64_t every = 0;
  int64_t micro_batch = 8;
};

struct CheckpointSection {
  int64_t every = 100;
  int64_t keep = 2;
};

struct OutputSection {
  std::string dir = "runs/default";
  bool tensorboard = true;
};

struct LogSection {
  int64_t every = 1;
};

struct Config {
  ModelSection model;
  router::RouterConfig router;
  reward::RewardConfig reward;
  ParallelSection parallel;
  TrainSection train;
  EvalSection eval;
  data::DataConfig data;
  CheckpointSection checkpoint;
  OutputSection output;
  LogSection log;
  DeviceChoice device = DeviceChoice::automatic;

  bool trains(Part part) const {
    if (!train.trainable.empty())
      return std::ranges::find(train.trainable, part) != train.trainable.end();
    switch (train.objective) {
      case Objective::pretrain: return part == Part::backbone;
      case Objective::router: return part == Part::router;
      case Objective::reward: return part == (has_reward_head() ? Part::reward_head : Part::lora);
    }
    return false;
  }
  // A scalar head in place of the LM head.
  bool has_reward_head() const {
    return train.objective == Objective::reward && reward.loss == reward::LossKind::bradley_terry;
  }
  // Tokens: parts of a sequence that ranks of the context group have begin at multiples of it. They
  // hold whole blocks of XAttention.
  int64_t context_block() const {
    return ops::has_blocks(router.mode) ? std::max(data::kContextBlock, router.xa.block)
                                        : data::kContextBlock;
  }
  // More have nothing to do: they get no block of the longest documents.
  int64_t most_context_ranks() const {
    return (data.max_tokens + context_block() - 1) / context_block();
  }
  bool splits_rows() const { return parallel.sequence && parallel.tensor > 1; }
  bool has_lora() const { return trains(Part::lora); }
  // Routers decide the gates: those that train, or that reward.router names.
  bool has_routers() const {
    return trains(Part::router) || (train.objective == Objective::reward && !reward.router.empty());
  }
};

}  // namespace elastron::train

namespace elastron::config {

template <>
struct EnumNames<train::Objective> {
  static constexpr NameOf<train::Objective> names[] = {{train::Objective::pretrain, "pretrain"},
                                                       {train::Objective::router, "router"},
                                                       {train::Objective::reward, "reward"}};
};
template <>
struct EnumNames<train::Part> {
  using T = train::Part;
  static constexpr NameOf<T> names[] = {{T::backbone, "backbone"},
                                        {T::router, "router"},
                                        {T::reward_head, "reward_head"},
                                        {T::lora, "lora"}};
};
template <>
struct EnumNames<train::WeightSource> {
  static constexpr NameOf<train::WeightSource> names[] = {{train::WeightSource::load, "load"},
                                                          {train::WeightSource::random, "random"}};
};
template <>
struct EnumNames<train::ComputeDType> {
  using T = train::ComputeDType;
  static constexpr NameOf<T> names[] = {
      {T::float32, "float32"}, {T::bfloat16, "bfloat16"}, {T::float64, "float64"}};
};
template <>
struct EnumNames<train::BeyondPositions> {
  using T = train::BeyondPositions;
  static constexpr NameOf<T> names[] = {
      {T::automatic, "auto"}, {T::warn, "warn"}, {T::error, "error"}, {T::allow, "allow"}};
};
template <>
struct EnumNames<train::DeviceChoice> {
  using T = train::DeviceChoice;
  static constexpr NameOf<T> names[] = {{T::automatic, "auto"}, {T::cpu, "cpu"}, {T::cuda, "cuda"}};
};
template <>
struct EnumNames<ops::FullAttentionBy> {
  using T = ops::FullAttentionBy;
  static constexpr NameOf<T> names[] = {
      {T::automatic, "auto"}, {T::own, "own"}, {T::cudnn, "cudnn"}};
};
template <>
struct EnumNames<train::CommunicatorChoice> {
  using T = train::CommunicatorChoice;
  static constexpr NameOf<T> names[] = {{T::automatic, "auto"}, {T::nccl, "nccl"}, {T::mpi, "mpi"}};
};
template <>
struct EnumNames<train::ContextKind> {
  using T = train::ContextKind;
  static constexpr NameOf<T> names[] = {{T::gather, "gather"}, {T::ulysses, "ulysses"}};
};
template <>
struct EnumNames<train::Balance> {
  using T = train::Balance;
  static constexpr NameOf<T> names[] = {{T::cost, "cost"}, {T::none, "none"}};
};
template <>
struct EnumNames<train::LossNorm> {
  static constexpr NameOf<train::LossNorm> names[] = {
      {train::LossNorm::global, "global"},
      {train::LossNorm::per_rank, "per_rank"},
      {train::LossNorm::token_scaled, "token_scaled"}};
};
template <>
struct EnumNames<train::Accumulation> {
  static constexpr NameOf<train::Accumulation> names[] = {{train::Accumulation::mean, "mean"},
                                                          {train::Accumulation::sum, "sum"}};
};
template <>
struct EnumNames<train::ScheduleKind> {
  static constexpr NameOf<train::ScheduleKind> names[] = {
      {train::ScheduleKind::cosine, "cosine"}, {train::ScheduleKind::constant, "constant"}};
};
template <>
struct EnumNames<model::Recompute> {
  using R = model::Recompute;
  static constexpr NameOf<R> names[] = {
      {R::none, "none"}, {R::selective, "selective"}, {R::layer, "layer"}};
};

template <>
struct Schema<train::ModelSection> {
  using C = train::ModelSection;
  static constexpr auto fields = std::tuple{
      field("path", &C::path, "Hugging Face model folder: config.json, weights, tokenizer.json"),
      field("weights", &C::weights, "load the folder's weights, or start from random ones"),
      field("dtype", &C::dtype, "of weights and activations; sums are in float32 or wider"),
      field("full_attention", &C::full_attention,
            "on a GPU; auto: cuDNN for bfloat16 and 1024 tokens or more; own repeats bit for bit"),
      field("max_position", &C::max_position, between(1, kMostTokens),
            "longest document in tokens; auto: data.max_tokens"),
      field("beyond_positions", &C::beyond_positions,
            "documents longer than the positions that the model folder covers; auto: error in "
            "training, warn elsewhere")};
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
                     "use q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj");
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
                       "probability that a head of such a document is sparse")};
};
template <>
struct Schema<train::AdamWConfig> {
  using C = train::AdamWConfig;
  static constexpr auto fields =
      std::tuple{field("beta1", &C::beta1, between(0, 1), "decay of the first moment"),
                 field("beta2", &C::beta2, between(0, 1), "decay of the second moment"),
                 field("eps", &C::eps, greater_than(0), "added to the root of the second moment")};
};
template <>
struct Schema<train::TrainSection> {
  using C = train::TrainSection;
  static constexpr auto fields = std::tuple{
      field("objective", &C::objective,
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
      field("device", &C::device, "auto: CUDA where there is a GPU and the build has it")};
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
    if (c.train.objective != train::Objective::pretrain &&
        c.model.weights == train::WeightSource::random && !c.trains(train::Part::backbone)) {
      problems.add("model.weights", "what does not train needs trained weights", "set it to load");
    }
#if !ELASTRON_WITH_CUDA
    if (c.device == train::DeviceChoice::cuda) {
      problems.add("device", "this build has no CUDA back end",
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
    using train::Objective, train::Part;
    const std::string key = "train.trainable";
    for (const Part part : c.train.trainable) {
      const bool fits =
          c.train.objective == Objective::reward ||
          part == (c.train.objective == Objective::pretrain ? Part::backbone : Part::router);
      if (fits) continue;
      problems.add(key,
                   "'" + std::string(enum_name(part)) + "' does not train under this objective",
                   c.train.objective == Objective::pretrain ? "use [backbone]" : "use [router]");
    }
    if (c.train.objective != Objective::reward) return;
    if (c.trains(Part::backbone) && c.trains(Part::lora)) {
      problems.add(key, "adapters stand beside frozen weights", "take backbone or lora out");
    }
    if (c.trains(Part::reward_head) && !c.has_reward_head()) {
      problems.add(key, "reward.loss: simpo has no reward head", "take reward_head out");
    }
    if (!c.has_reward_head() && !c.trains(Part::backbone) && !c.trains(Part::lora) &&
        !c.trains(Part::router)) {
      problems.add(key, "nothing trains", "use lora, router or backbone");
    }
  }
};

}  // namespace elastron::config
