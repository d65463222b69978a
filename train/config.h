// The whole configuration of a run: one struct per YAML section (configs/reference.yaml).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config/load.h"
#include "data/config.h"
#include "data/context_shard.h"
#include "model/decoder_config.h"
#include "model/weights/rope_override.h"
#include "reward/config.h"
#include "router/config.h"
#include "train/step/optimizer.h"
#include "train/step/schedule.h"

namespace elastron::train {

// Parts of a model that can be trained: train.trainable.
enum class Part : uint8_t { backbone, router, reward_head, lora };
enum class WeightSource : uint8_t { load, random };
enum class ComputeDType : uint8_t { float32, bfloat16, float64 };
// How the matrices of a frozen backbone are kept; automatic: in model.dtype. The key is
// model.storage: model.weights already says where weights come from.
enum class WeightsKept : uint8_t { automatic, fp8, bf16, fp32 };
// What to do with documents that reach beyond the positions which model.path covers; automatic: an
// error where something trains, a warning elsewhere.
enum class BeyondPositions : uint8_t { automatic, warn, error, allow };
enum class CommunicatorChoice : uint8_t { automatic, nccl, mpi };
enum class ContextKind : uint8_t { gather, ulysses };
enum class Balance : uint8_t { cost, none };
enum class DeviceChoice : uint8_t { automatic, cpu, cuda };
// Whether a GPU's kernels are checked at the start; automatic: on a GPU, a driver or a build that
// they were not checked on.
enum class SelfCheck : uint8_t { automatic, off, full };
enum class LossNorm : uint8_t { global, per_rank, token_scaled };
enum class Accumulation : uint8_t { mean, sum };

struct ModelSection {
  std::string path;
  WeightSource weights = WeightSource::load;
  ComputeDType dtype = ComputeDType::float32;
  WeightsKept storage = WeightsKept::automatic;
  config::Auto<int64_t> max_position;
  BeyondPositions beyond_positions = BeyondPositions::automatic;
  model::RopeOverride rope_scaling;
  ops::FullAttentionBy full_attention = ops::FullAttentionBy::automatic;

  DType compute_dtype() const {
    return dtype == ComputeDType::float64    ? DType::f64
           : dtype == ComputeDType::bfloat16 ? DType::bf16
                                             : DType::f32;
  }
  std::optional<DType> storage_dtype() const;  // as model::DecoderOptions has it
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
  bool robust_only = false;
};

struct TrainSection {
  std::string objective = "router";  // train/workload/registry.h has the objectives
  std::vector<Part> trainable;       // empty: see Config::trains
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

struct DeviceSection {
  DeviceChoice kind = DeviceChoice::automatic;
  SelfCheck self_check = SelfCheck::automatic;
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
  DeviceSection device;

  // By train.trainable, or as the objective has it.
  bool trains(Part part) const;
  bool has_reward_head() const;  // a scalar head in place of the LM head
  // Tokens: parts of a sequence that ranks of the context group have begin at multiples of it. They
  // hold whole blocks where blocks are chosen.
  int64_t context_block() const { return data::context_block(router.head_pattern().block()); }
  // More have nothing to do: they get no block of the longest documents.
  int64_t most_context_ranks() const {
    return (data.max_tokens + context_block() - 1) / context_block();
  }
  bool splits_rows() const { return parallel.sequence && parallel.tensor > 1; }
  bool has_lora() const { return trains(Part::lora); }
  // Routers decide the gates: those that train, or trained ones that the objective reads.
  bool has_routers() const;
};

}  // namespace elastron::train

namespace elastron::config {

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
struct EnumNames<train::WeightsKept> {
  using T = train::WeightsKept;
  static constexpr NameOf<T> names[] = {
      {T::automatic, "auto"}, {T::fp8, "fp8"}, {T::bf16, "bf16"}, {T::fp32, "fp32"}};
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
struct EnumNames<train::SelfCheck> {
  using T = train::SelfCheck;
  static constexpr NameOf<T> names[] = {{T::automatic, "auto"}, {T::off, "off"}, {T::full, "full"}};
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

// Its keys stand in train/config.cpp.
extern template Table table_of(train::Config&);

}  // namespace elastron::config
