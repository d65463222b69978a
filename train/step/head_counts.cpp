#include "train/step/head_counts.h"

namespace elastron::train {

HeadReading::HeadReading(const model::RoutedHeads& routed, const data::PackedBatch& batch,
                         const model::AttentionExchange& exchange, std::span<const Tensor> others)
    : layers_(int64_t(routed.gates.size())), documents_(batch.documents()) {
  ELASTRON_CHECK(!routed.gates.empty(), "no layers");
  heads_ = routed.gates.front().size(1);
  attended_heads_ = routed.visited.front().size(1);
  first_head_ = exchange.first_kv_head(heads_);
  document_of_ = exchange.documents();
  std::vector<Tensor> parts = routed.gates;
  parts.insert(parts.end(), routed.visited.begin(), routed.visited.end());
  parts.insert(parts.end(), others.begin(), others.end());
  read_ = ops::GatheredRead(parts);
}

HeadNumbers HeadReading::numbers() {
  HeadNumbers n{.layers = layers_, .documents = documents_, .heads = heads_, .gates = {}};
  n.visited.assign(size_t(layers_ * documents_ * heads_), 0);
  for (int64_t l = 0; l < layers_; ++l) {
    const auto gates = read_.part<uint8_t>(size_t(l));
    n.gates.insert(n.gates.end(), gates.begin(), gates.end());
    const auto tiles = read_.part<int64_t>(size_t(layers_ + l));
    size_t next = 0;
    for (const int32_t document : document_of_) {
      for (int64_t h = 0; h < attended_heads_; ++h) {
        n.visited[n.at(l, document, first_head_ + h)] += tiles[next++];
      }
    }
  }
  return n;
}

std::vector<router::DocumentHeads> document_heads(const HeadNumbers& numbers,
                                                  std::span<const int64_t> full) {
  std::vector<router::DocumentHeads> documents;
  for (const int64_t tiles : full) documents.push_back({.full = tiles});
  for (int64_t l = 0; l < numbers.layers; ++l) {
    const bool last = l + 1 == numbers.layers;
    for (int64_t d = 0; d < numbers.documents; ++d) {
      auto& document = documents[size_t(d)];
      for (int64_t h = 0; h < numbers.heads; ++h) {
        const size_t at = numbers.at(l, d, h);
        const int64_t sparse = numbers.gates[at] == 0 ? 1 : 0;
        document.sparse += sparse;
        document.visited += numbers.visited[at];
        if (last) document.sparse_last += sparse;
        if (last) document.visited_last += numbers.visited[at];
      }
    }
  }
  return documents;
}

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

namespace {

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
  HeadNumbers numbers = HeadReading(routed, batch, exchange).numbers();
  mesh.context().all_reduce_host(std::span<int64_t>(numbers.visited), parallel::ReduceOp::sum);
  const auto full = full_tiles(batch, pattern, group);

  HeadCounts counts{.documents = document_heads(numbers, full), .skipped = {}, .numbers = {}};
  for (int64_t l = 0; l < numbers.layers; ++l) {
    for (int64_t h = 0; h < numbers.heads; ++h) {
      double skipped = 0;
      for (int64_t d = 0; d < numbers.documents; ++d) {
        if (full[size_t(d)] == 0) continue;
        skipped += 1.0 - double(numbers.visited[numbers.at(l, d, h)]) / double(full[size_t(d)]);
      }
      counts.skipped.push_back(skipped);
    }
  }
  reduce_heads(counts.documents, mesh.tensor());
  counts.numbers = std::move(numbers);
  return counts;
}

}  // namespace elastron::train
