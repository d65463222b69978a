// A batch as a rank of the context group computes it: all of it, or its own rows where the ranks
// share the sequences; padded where a tensor group's ranks share rows.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "data/context_shard.h"
#include "model/decoder.h"
#include "parallel/communicator.h"

namespace elastron::model {

struct LocalBatchOptions {
  int64_t block = data::kContextBlock;  // pieces begin at multiples of it
  int64_t row_shares = 1;               // which the number of rows is to be a multiple of
  bool exchange_heads = false;          // exchanged_heads() in place of gathered_attention()
  ops::PoolRule pool;                   // which rows routers read
};

class LocalBatch {
 public:
  // `whole` and the group must outlive it. `router` is of the whole batch.
  LocalBatch(const data::PackedBatch& whole, router::RouterBatch router,
             const LocalBatchOptions& options, parallel::Communicator& context, Device& device);
  LocalBatch(const LocalBatch&) = delete;
  LocalBatch& operator=(const LocalBatch&) = delete;

  const data::PackedBatch& whole() const { return whole_; }
  // The rows that this rank has.
  const data::PackedBatch& own() const { return own_ ? *own_ : whole_; }
  // Of the whole batch; of no ranks where each has all of it.
  const data::ContextPlan& plan() const { return plan_; }
  const DeviceBatch& device() const { return device_; }
  const router::RouterBatch& router() const { return router_; }
  const AttentionExchange& exchange() const { return *device_.exchange; }
  // Those of the own rows that are no padding, which stands behind them.
  int64_t rows() const { return shares_rows() ? int64_t(whole_rows_.size()) : whole_.tokens(); }
  // The row of the whole batch that an own row is, which is no padding.
  int64_t whole_row(int64_t own) const { return shares_rows() ? whole_rows_[size_t(own)] : own; }

 private:
  bool shares_rows() const { return plan_.ranks() > 0; }

  const data::PackedBatch& whole_;
  data::ContextPlan plan_;
  std::optional<data::PackedBatch> own_;  // where it is another one
  std::vector<int32_t> whole_rows_;       // where the context group shares rows
  DeviceBatch device_;
  router::RouterBatch router_;
};

// Where this rank has each row of the whole batch, or -1.
std::vector<int32_t> own_rows_of(const LocalBatch& batch);

}  // namespace elastron::model
