// A micro batch as this rank computes it: all of it, or its own rows where context-parallel ranks
// share the sequences (parallel.context); padded where a tensor group's ranks share rows.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "data/context_shard.h"
#include "model/decoder.h"
#include "parallel/mesh.h"
#include "train/config.h"

namespace elastron::train {

class LocalBatch {
 public:
  // `whole` and the mesh must outlive it. step, tau and sample: as in router::RouterBatch.
  LocalBatch(const data::PackedBatch& whole, const Config& config, parallel::Mesh& mesh,
             Device& device, int64_t step, double tau, bool sample);
  LocalBatch(const LocalBatch&) = delete;
  LocalBatch& operator=(const LocalBatch&) = delete;

  const data::PackedBatch& whole() const { return whole_; }
  // The rows that this rank has.
  const data::PackedBatch& own() const { return own_ ? *own_ : whole_; }
  const model::DeviceBatch& device() const { return device_; }
  const router::RouterBatch& router() const { return router_; }
  const model::AttentionExchange& exchange() const { return *device_.exchange; }
  // Those of them that are no padding, which stands behind them.
  int64_t rows() const {
    return whole_rows_.empty() ? whole_.tokens() : int64_t(whole_rows_.size());
  }
  // The row of the whole batch that an own row is, which is no padding.
  int64_t whole_row(int64_t own) const {
    return whole_rows_.empty() ? own : whole_rows_[size_t(own)];
  }

 private:
  const data::PackedBatch& whole_;
  data::ContextPlan plan_;
  std::optional<data::PackedBatch> own_;  // where it is another one
  std::vector<int32_t> whole_rows_;       // with context parallelism
  model::DeviceBatch device_;
  router::RouterBatch router_;
};

}  // namespace elastron::train
