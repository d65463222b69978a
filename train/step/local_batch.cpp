#include "train/step/local_batch.h"

#include <algorithm>
#include <numeric>

#include "model/router_batch.h"

namespace elastron::train {

LocalBatch::LocalBatch(const data::PackedBatch& whole, const Config& config, parallel::Mesh& mesh,
                       Device& device, int64_t step, double tau, bool sample)
    : whole_(whole), router_(model::make_router_batch(whole, config.router, step, tau, sample)) {
  parallel::Communicator& context = mesh.context();
  // Rows that the tensor group's ranks share must divide over them.
  const int64_t shares = config.splits_rows() ? mesh.tensor().size() : 1;
  const auto padded = [&](int64_t rows) { return (rows + shares - 1) / shares * shares; };
  if (context.size() == 1) {
    if (padded(whole.tokens()) != whole.tokens()) {
      own_ = whole;
      own_->pad(padded(whole.tokens()));
    }
    device_ = model::DeviceBatch::make(own(), device);
    return;
  }
  std::vector<int32_t> offsets;
  for (int64_t s = 0; s < whole.sequences(); ++s) offsets.push_back(int32_t(whole.offset(s)));
  plan_ = data::plan_context(whole.cu_seqlens, context.size(), config.context_block(), offsets);
  plan_.rows = padded(plan_.rows);
  own_ = data::shard(whole, plan_, context.rank());
  std::vector<int32_t> own_rows(size_t(whole.tokens()), -1);
  for (const data::ContextPiece& piece : plan_.pieces[size_t(context.rank())]) {
    const int32_t first = whole.cu_seqlens[size_t(piece.sequence)];
    for (int32_t row = first + piece.begin; row < first + piece.end; ++row) {
      own_rows[size_t(row)] = int32_t(whole_rows_.size());
      whole_rows_.push_back(row);
    }
  }
  device_ =
      model::DeviceBatch::make(*own_, device,
                               config.parallel.context_kind == ContextKind::ulysses
                                   ? model::exchanged_heads(whole, plan_, context, device)
                                   : model::gathered_attention(whole, plan_, context, device));
  router_.pooled = std::make_shared<const router::PooledRows>(
      router_.segments, config.router.pool_rule(),
      [&](int64_t row) { return int64_t(own_rows[size_t(row)]); }, context, device);
  router_.segments = router_.pooled->segments();
}

}  // namespace elastron::train
