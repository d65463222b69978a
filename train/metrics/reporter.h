// What a run says about itself: one progress line and one metrics object per logged step.
#pragma once
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "core/device.h"
#include "model/decoder.h"
#include "router/objective.h"
#include "train/config.h"
#include "train/plan/step_work.h"
#include "train/step/step.h"
#include "train/workload.h"

namespace elastron::train {

class Reporter {
 public:
  // On the rank that speaks; on others nothing is written. `first_step`: metrics of that step and
  // later ones, left by an interrupted run, are cut off.
  // `decoder` is asked for its shapes, for what a step takes of the GPUs of all `ranks`.
  Reporter(const Config& config, std::string run, bool speaks, int64_t first_step,
           const Device& device, const model::Decoder& decoder, int ranks);
  ~Reporter();

  // `step` counts from 1: steps done. Called after every step; logs every log.every steps.
  // `passes`: through the data so far, where it has an end.
  void step(int64_t step, const StepResult& result, const router::SparsityObjective* objective,
            std::optional<double> passes);
  void evaluation(int64_t step, const Workload::Evaluated& result);
  void skipped(int64_t step, const StepResult& result, int64_t in_a_row);

 private:
  class Sinks;
  const Config& config_;
  const Device& device_;
  const model::Decoder& decoder_;
  int ranks_;
  StepWork work_;
  double done_since_ = 0, dense_since_ = 0;  // operations
  std::unique_ptr<Sinks> sinks_;
  std::chrono::steady_clock::time_point last_, begin_;
  int64_t tokens_since_ = 0, pairs_since_ = 0, steps_since_ = 0, first_step_;
};

}  // namespace elastron::train
