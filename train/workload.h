// What an objective brings to the training loop: its data, its loss, its evaluation. The loop
// itself is the same for all.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "core/json.h"
#include "data/source.h"
#include "parallel/mesh.h"
#include "train/checkpoint/header.h"
#include "train/config.h"
#include "train/session.h"
#include "train/step/loss.h"

namespace elastron::train {

class Workload {
 public:
  virtual ~Workload() = default;

  virtual const data::BatchSource& source() const = 0;
  virtual TrainingLoss& loss() = 0;

  struct Evaluated {
    double loss = 0;                 // by it the best checkpoint is chosen
    std::string line;                // for people
    nlohmann::ordered_json figures;  // of metrics.jsonl
  };
  // Collective over the mesh; the same on all ranks. Only where eval.every is set.
  virtual Evaluated evaluate(const std::function<void()>& beat) = 0;

  // Values of its own in a checkpoint's state.
  virtual void add_state(NamedValues& values) const { (void)values; }
  virtual void restore(const NamedValues& values) { (void)values; }
};

// Collective. Opens the data. All must outlive the workload.
std::unique_ptr<Workload> open_workload(const Config& config, parallel::Mesh& mesh, Device& device,
                                        Session& session);

}  // namespace elastron::train
