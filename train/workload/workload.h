// An objective at work: its data, its loss, its evaluation, its part of a checkpoint, and what it
// writes at the end. The loop, the step, the optimiser and the reporter are the same for all.
#pragma once
#include <functional>
#include <string>

#include "core/json.h"
#include "data/source.h"
#include "train/checkpoint/header.h"
#include "train/step/loss.h"

namespace elastron::train {

class Session;

class Workload {
 public:
  virtual ~Workload() = default;

  virtual const data::BatchSource& source() const = 0;
  virtual TrainingLoss& loss() = 0;

  struct Evaluated {
    double loss = 0;                 // the checkpoint with the lowest one is the best
    std::string line;                // for people
    nlohmann::ordered_json figures;  // of metrics.jsonl
  };
  // Collective over the mesh; the same on all ranks. Only where eval.every is set.
  virtual Evaluated evaluate(const std::function<void()>& beat) = 0;

  // Values of its own in a checkpoint's state.
  virtual void add_state(NamedValues& values) const { (void)values; }
  virtual void restore(const NamedValues& values) { (void)values; }

  // Collective, after the last step: writes Objective::result_folder, where there is one.
  virtual void finish() {}
};

}  // namespace elastron::train
