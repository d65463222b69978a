#include "train/step/local_batch.h"

#include "model/router_batch.h"

namespace elastron::train {

LocalBatch::LocalBatch(const data::PackedBatch& whole, const Config& config, parallel::Mesh& mesh,
                       Device& device, int64_t step, double tau, bool sample)
    : model::LocalBatch(whole, model::make_router_batch(whole, config.router, step, tau, sample),
                        {.block = config.context_block(),
                         .row_shares = config.splits_rows() ? mesh.tensor().size() : 1,
                         .exchange_heads = config.parallel.context_kind == ContextKind::ulysses,
                         .pool = config.router.pool_rule()},
                        mesh.context(), device) {}

}  // namespace elastron::train
