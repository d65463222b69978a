// A batch of sequences that are documents, without content.
#pragma once
#include <cstdint>
#include <vector>

#include "data/packed_batch.h"

namespace elastron::test {

inline data::PackedBatch batch_of_lengths(const std::vector<int32_t>& lengths) {
  data::PackedBatch batch;
  batch.cu_seqlens = {0};
  for (const int32_t n : lengths) {
    batch.cu_seqlens.push_back(batch.cu_seqlens.back() + n);
    batch.range_ids.push_back({});
  }
  batch.token_ids.resize(size_t(batch.cu_seqlens.back()));
  batch.targets.resize(batch.token_ids.size(), data::kNoLabel);
  batch.positions.resize(batch.token_ids.size());
  return batch;
}

}  // namespace elastron::test
