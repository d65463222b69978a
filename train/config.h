// The whole configuration of a run: one struct per YAML section (configs/reference.yaml).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/config/schema.h"
#include "data/config.h"
#include "model/decoder_config.h"
#include "router/config.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace elastron::train {

enum class Objective : uint8_t { pretrain, router };
enum class WeightSource : uint8_t { load, random };
enum class ComputeDType : uint8_t { float32, bfloat16, float64 };
enum class DeviceChoice : uint8_t { automatic, cpu, cuda };
enum class LossNorm : uint8_t { global, per_rank };
enum class Accumulation : uint8_t { mean, sum };

struct ModelSection {
  std::string path;
  WeightSource weights = WeightSource::load;
  ComputeDType dtype = ComputeDType::float32;
  int64_t max_position = 0;  // 0: data.max_tokens
};

struct ParallelSection {
  int64_t tensor = 1;
  int64_t context = 1;
  config::Auto<int64_t> data;
  int64_t bucket_bytes = 25 << 20;
  double timeout_seconds = 600;
};

struct LearningRates {
  double router = 5e-4;
  double lambda = 1e-3;
  double backbone = 1e-3;
};

struct LossSection {
  LossNorm norm = LossNorm::global;
  int64_t chunk_rows = 2048;
};

struct TrainSection {
  Objective objective = Objective::router;
  std::vector<std::string> trainable;  // empty: what the objective says
  int64_t steps = 300;
  int64_t global_batch = 48;
  int64_t micro_batch = 1;
  LearningRates lr;
  double warmup_ratio = 0.2;
  ScheduleKind schedule = ScheduleKind::cosine;
  double final_lr_ratio = 1e-7;
  AdamWConfig adam;
  double clip = 5.0;
  int64_t seed = 42;
  model::Recompute recompute = model::Recompute::none;
  Accumulation accum = Accumulation::mean;
  LossSection loss;
  double random_gate_share = 0.0;
  double random_gate_sparse = 0.5;
  int64_t max_skipped_steps = 3;
};

struct EvalSection {
  int64_t every = 0;
  int64_t micro_batch = 8;
};

struct CheckpointSection {
  int64_t every = 100;
  int64_t keep = 2;
  bool final = true;
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
  ParallelSection parallel;
  TrainSection train;
  EvalSection eval;
  data::DataConfig data;
  CheckpointSection checkpoint;
  OutputSection output;
  LogSection log;
  DeviceChoice device = DeviceChoice::automatic;
};

}  // namespace elastron::train
