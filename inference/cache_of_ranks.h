// The keys and values of a prompt on their way into the caches of a context group, whose ranks read
// its rows together: a rank computes all kv heads of some rows, and caches all rows of some heads.
#pragma once
#include "model/kv_cache.h"
#include "model/local_batch.h"
#include "model/row_index.h"
#include "parallel/communicator.h"

namespace elastron::inference {

class CacheOfRanks final : public model::KvCache {
 public:
  // `own` gets the rows of positions 0 to T - 1 of this rank's part of the kv heads, or of all of them
  // where `heads_over` is null. The prompt is all of the batch, whose rows the group shares if its plan
  // has ranks. All must outlive it, and the tensors are on the device.
  CacheOfRanks(model::KvCache& own, const model::LocalBatch& prompt,
               parallel::Communicator& context, const parallel::Communicator* heads_over,
               Device& device);

  // Collective over the context group where it shares the rows.
  void fill(int64_t layer, const Tensor& k, const Tensor& v, const Tensor& gate) override;

 private:
  Tensor rows_of_heads(const Tensor& k, const Tensor& v) const;

  model::KvCache& own_;
  parallel::Communicator& context_;
  int64_t part_ = 0, parts_ = 1;  // of the kv heads
  bool shares_rows_;
  model::RowIndex tokens_;  // of the prompt, in the ranks' rows, one rank behind the other
};

}  // namespace elastron::inference
