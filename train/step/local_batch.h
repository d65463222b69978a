// A micro batch as this rank computes it, by the run's configuration.
#pragma once
#include "model/local_batch.h"
#include "parallel/mesh.h"
#include "train/config.h"

namespace elastron::train {

class LocalBatch : public model::LocalBatch {
 public:
  // `whole` and the mesh must outlive it. step, tau and sample: as in router::RouterBatch.
  LocalBatch(const data::PackedBatch& whole, const Config& config, parallel::Mesh& mesh,
             Device& device, int64_t step, double tau, bool sample);
};

}  // namespace elastron::train
