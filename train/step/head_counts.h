// Counts of what the heads did in a forward pass, by document: gates and visited tiles.
#pragma once
#include <cstdint>
#include <vector>

#include "model/attention_exchange.h"
#include "model/decoder.h"
#include "parallel/mesh.h"
#include "router/sparsity.h"

namespace elastron::train {

// Over all ranks of the tensor and context groups.
struct HeadCounts {
  std::vector<router::DocumentHeads> documents;
  // [layers, local kv heads]: share of tiles that the head skipped, summed over the documents.
  std::vector<double> skipped;
};

// Collective over both groups. `batch`: the whole one; `exchange`: the one that the forward pass
// had; `group`: query heads of a kv head. Copies gates and counts to the host once each.
HeadCounts count_heads(const model::RoutedHeads& heads, const data::PackedBatch& batch,
                       const model::AttentionExchange& exchange, const ops::HeadPattern& pattern,
                       int64_t group, parallel::Mesh& mesh);

}  // namespace elastron::train
