#include "train/workload/planned_pack.h"

#include <algorithm>
#include <numeric>

namespace elastron::train {

namespace {
constexpr int64_t kTokensToAnAnswer = 16;
}

void add_planned_sequence(int64_t tokens, data::LabelMode labels, data::PackedBatch& batch) {
  const size_t begin = batch.token_ids.size(), end = begin + size_t(tokens);
  batch.token_ids.resize(end, 0);
  batch.positions.resize(end);
  std::iota(batch.positions.begin() + std::ptrdiff_t(begin), batch.positions.end(), 0);
  batch.targets.resize(end, data::kNoLabel);
  // Spread evenly, so that all context ranks have as many.
  const size_t step = labels == data::LabelMode::all ? 1 : kTokensToAnAnswer;
  for (size_t i = begin; i + 1 < end; i += step) batch.targets[i] = 0;
  batch.cu_seqlens.push_back(int32_t(end));
}

void add_planned_document(int64_t tokens, data::PackedBatch& batch) {
  const int64_t user = std::max<int64_t>(tokens - tokens / kTokensToAnAnswer - 1, 1);
  batch.range_ids.push_back({0, 0, 0, user - 1, 0, user - 1, user, tokens - 1});
  batch.task_ids.push_back(0);
  batch.kind_ids.push_back(0);
  batch.sample_ids.push_back(0);
  batch.answer_offsets.push_back(0);
  batch.answer_lengths.push_back(0);
}

}  // namespace elastron::train
