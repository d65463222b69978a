// Counts of what the heads did in a forward pass, by document: gates and visited tiles.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "model/attention_exchange.h"
#include "model/decoder.h"
#include "ops/gathered_read.h"
#include "parallel/mesh.h"
#include "router/sparsity.h"

namespace elastron::train {

// Numbers [layers, documents, kv heads of this rank of the tensor group].
struct HeadNumbers {
  int64_t layers = 0, documents = 0, heads = 0;
  std::vector<uint8_t> gates;    // 1: full
  std::vector<int64_t> visited;  // tiles, over all of a document's sequences that this rank has

  size_t at(int64_t layer, int64_t document, int64_t head) const {
    return size_t((layer * documents + document) * heads + head);
  }
};

// They and what else is wanted of a forward pass on their way to the host, in one read.
class HeadReading {
 public:
  HeadReading() = default;
  // `batch`: the whole one; `exchange`: the one that the forward pass had. Nothing is kept of any.
  HeadReading(const model::RoutedHeads& routed, const data::PackedBatch& batch,
              const model::AttentionExchange& exchange, std::span<const Tensor> others = {});

  // Both wait, the first time.
  HeadNumbers numbers();
  std::vector<double> other(size_t i) { return read_.doubles(2 * size_t(layers_) + i); }
  // The same of int32.
  std::span<const int32_t> whole_numbers(size_t i) {
    return read_.part<int32_t>(2 * size_t(layers_) + i);
  }

 private:
  int64_t layers_ = 0, documents_ = 0, heads_ = 0;
  int64_t first_head_ = 0, attended_heads_ = 0;  // that this rank has attention for
  std::vector<int32_t> document_of_;             // of each sequence
  ops::GatheredRead read_;
};

// Of each document; `full` [documents]: tiles of one kv head under full attention.
std::vector<router::DocumentHeads> document_heads(const HeadNumbers& numbers,
                                                  std::span<const int64_t> full);
// Those tiles; `group`: query heads of a kv head.
std::vector<int64_t> full_tiles(const data::PackedBatch& batch, const ops::HeadPattern& pattern,
                                int64_t group);

// Over all ranks of the tensor and context groups.
struct HeadCounts {
  std::vector<router::DocumentHeads> documents;
  // [layers, local kv heads]: share of tiles that the head skipped, summed over the documents.
  std::vector<double> skipped;
  HeadNumbers numbers;  // what they were counted of: `visited` over the context group
};

// Collective over both groups. Reads the device once and waits for it.
HeadCounts count_heads(const model::RoutedHeads& heads, const data::PackedBatch& batch,
                       const model::AttentionExchange& exchange, const ops::HeadPattern& pattern,
                       int64_t group, parallel::Mesh& mesh);

}  // namespace elastron::train
