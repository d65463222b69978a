#include "train/plan/planned_batch.h"

#include "train/workload/registry.h"

namespace elastron::train {

data::PackedBatch planned_batch(const Config& config, int64_t document_tokens) {
  data::PackedBatch batch;
  batch.cu_seqlens = {0};
  for (int64_t p = 0; p < config.train.micro_batch; ++p) {
    objective_of(config).add_planned_pack(config, document_tokens, batch);
    batch.pack_ends.push_back(int32_t(batch.documents()));
  }
  batch.place_in_step(0);
  return batch;
}

int64_t micro_batch_tokens(const Config& config) {
  return config.train.micro_batch * objective_of(config).planned_pack_tokens(config);
}

}  // namespace elastron::train
