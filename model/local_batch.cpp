#include "model/local_batch.h"

#include <memory>
#include <utility>

#include "core/ceil_div.h"

namespace elastron::model {

LocalBatch::LocalBatch(const data::PackedBatch& whole, router::RouterBatch router,
                       const LocalBatchOptions& options, parallel::Communicator& context,
                       Device& device)
    : whole_(whole), router_(std::move(router)) {
  const auto padded = [&](int64_t rows) {
    return ceil_div(rows, options.row_shares) * options.row_shares;
  };
  if (context.size() == 1) {
    if (padded(whole.tokens()) != whole.tokens()) {
      own_ = whole;
      own_->pad(padded(whole.tokens()));
    }
    device_ = DeviceBatch::make(own(), device);
    return;
  }
  std::vector<int32_t> offsets;
  for (int64_t s = 0; s < whole.sequences(); ++s) offsets.push_back(int32_t(whole.offset(s)));
  plan_ = data::plan_context(whole.cu_seqlens, context.size(), options.block, offsets);
  plan_.rows = padded(plan_.rows);
  own_ = data::shard(whole, plan_, context.rank());
  for (const data::ContextPiece& piece : plan_.pieces[size_t(context.rank())]) {
    const int32_t first = whole.cu_seqlens[size_t(piece.sequence)];
    for (int32_t row = first + piece.begin; row < first + piece.end; ++row) {
      whole_rows_.push_back(row);
    }
  }
  device_ =
      DeviceBatch::make(*own_, device,
                        options.exchange_heads ? exchanged_heads(whole, plan_, context, device)
                                               : gathered_attention(whole, plan_, context, device));
  const std::vector<int32_t> own_rows = own_rows_of(*this);
  router_.pooled = std::make_shared<const router::PooledRows>(
      router_.segments, options.pool, [&](int64_t row) { return int64_t(own_rows[size_t(row)]); },
      context, device);
  router_.segments = router_.pooled->segments();
}

std::vector<int32_t> own_rows_of(const LocalBatch& batch) {
  std::vector<int32_t> own(size_t(batch.whole().tokens()), -1);
  for (int64_t row = 0; row < batch.rows(); ++row) {
    own[size_t(batch.whole_row(row))] = int32_t(row);
  }
  return own;
}

}  // namespace elastron::model
