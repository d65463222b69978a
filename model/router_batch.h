// A packed batch as the routers read it.
#pragma once
#include <cstdint>

#include "data/packed_batch.h"
#include "router/config.h"
#include "router/gate_source.h"

namespace elastron::model {

// Keeps references into `batch`. step, tau, sample: as in router::RouterBatch.
router::RouterBatch make_router_batch(const data::PackedBatch& batch,
                                      const router::RouterConfig& config, int64_t step, double tau,
                                      bool sample);

}  // namespace elastron::model
