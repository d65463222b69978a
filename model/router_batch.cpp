#include "model/router_batch.h"

#include "router/routed_layer.h"

namespace elastron::model {

router::RouterBatch make_router_batch(const data::PackedBatch& batch,
                                      const router::RouterConfig& config, int64_t step, double tau,
                                      bool sample) {
  router::RouterBatch out;
  const auto first = batch.first_sequences();
  for (size_t d = 0; d < first.size(); ++d) {
    out.segments.push_back(router::pool_segment(config.pool_segment, batch.range_ids[d],
                                                batch.cu_seqlens[size_t(first[d])]));
  }
  out.sample_keys = batch.sample_keys;
  out.task_ids = batch.task_ids;
  out.step = uint32_t(step);
  out.tau = tau;
  out.sample = sample;
  return out;
}

}  // namespace elastron::model
