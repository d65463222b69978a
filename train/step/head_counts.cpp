#include "train/step/head_counts.h"

#include <span>

namespace elastron::train {

namespace {

// Numbers [layers, documents, kv heads of this rank].
struct ByHead {
  int64_t layers, documents, heads;

  size_t at(int64_t layer, int64_t document, int64_t head) const {
    return size_t((layer * documents + document) * heads + head);
  }
};

// Tiles that each head visited of a document, over all its sequences and rows.
std::vector<int64_t> visited_tiles(const model::RoutedHeads& routed, const ByHead& shape,
                                   const model::AttentionExchange& exchange,
                                   parallel::Communicator& context) {
  const auto tiles = Tensor::stack(routed.visited).to_vector<int64_t>();
  std::vector<int64_t> visited(size_t(shape.layers * shape.documents * shape.heads), 0);
  const int64_t first = exchange.first_kv_head(shape.heads), own = routed.visited.front().size(1);
  size_t next = 0;
  for (int64_t l = 0; l < shape.layers; ++l) {
    for (const int32_t document : exchange.documents()) {
      for (int64_t h = 0; h < own; ++h) visited[shape.at(l, document, first + h)] += tiles[next++];
    }
  }
  context.all_reduce_host(std::span<int64_t>(visited), parallel::ReduceOp::sum);
  return visited;
}

// Tiles of one kv head under full attention, by document.
std::vector<int64_t> full_tiles(const data::PackedBatch& batch, const ops::HeadPattern& pattern,
                                int64_t group) {
  std::vector<int64_t> tiles(size_t(batch.documents()), 0);
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t length = batch.length(s);
    tiles[size_t(batch.document(s))] +=
        ops::dense_tiles(pattern, group, length, batch.offset(s) + length);
  }
  return tiles;
}

// Adds the counts of the tensor group's ranks, which have some of the heads each.
void reduce_heads(std::vector<router::DocumentHeads>& documents, parallel::Communicator& tensor) {
  std::vector<int64_t> sums;
  for (const auto& d : documents) {
    sums.insert(sums.end(), {d.sparse, d.sparse_last, d.visited, d.visited_last});
  }
  tensor.all_reduce_host(std::span<int64_t>(sums), parallel::ReduceOp::sum);
  auto next = sums.begin();
  for (auto& d : documents) {
    for (int64_t* count : {&d.sparse, &d.sparse_last, &d.visited, &d.visited_last}) {
      *count = *next++;
    }
  }
}

}  // namespace

HeadCounts count_heads(const model::RoutedHeads& routed, const data::PackedBatch& batch,
                       const model::AttentionExchange& exchange, const ops::HeadPattern& pattern,
                       int64_t group, parallel::Mesh& mesh) {
  ELASTRON_CHECK(!routed.gates.empty(), "no layers");
  const ByHead shape{int64_t(routed.gates.size()), batch.documents(), routed.gates.front().size(1)};
  const auto z = Tensor::stack(routed.gates).to_vector<uint8_t>();
  const auto visited = visited_tiles(routed, shape, exchange, mesh.context());
  const auto full = full_tiles(batch, pattern, group);

  HeadCounts counts;
  for (const int64_t tiles : full) counts.documents.push_back({.full = tiles});
  for (int64_t l = 0; l < shape.layers; ++l) {
    const bool last = l + 1 == shape.layers;
    for (int64_t h = 0; h < shape.heads; ++h) {
      double skipped = 0;
      for (int64_t d = 0; d < shape.documents; ++d) {
        const size_t at = shape.at(l, d, h);
        const int64_t sparse = z[at] == 0 ? 1 : 0;
        auto& document = counts.documents[size_t(d)];
        document.sparse += sparse;
        document.visited += visited[at];
        if (last) document.sparse_last += sparse;
        if (last) document.visited_last += visited[at];
        if (document.full > 0) skipped += 1.0 - double(visited[at]) / double(document.full);
      }
      counts.skipped.push_back(skipped);
    }
  }
  reduce_heads(counts.documents, mesh.tensor());
  return counts;
}

}  // namespace elastron::train
