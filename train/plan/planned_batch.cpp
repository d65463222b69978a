#include "train/plan/planned_batch.h"

#include <algorithm>
#include <numeric>

namespace elastron::train {

namespace {

constexpr int64_t kTokensToAnAnswer = 16;

int64_t sequences_of(const Config& config) {
  // A pair is two sequences; what its prompt saves is not known before.
  return config.train.objective == Objective::reward ? 2 : 1;
}

void add_sequence(int64_t tokens, bool all_labels, data::PackedBatch& batch) {
  const size_t begin = batch.token_ids.size(), end = begin + size_t(tokens);
  batch.token_ids.resize(end, 0);
  batch.positions.resize(end);
  std::iota(batch.positions.begin() + std::ptrdiff_t(begin), batch.positions.end(), 0);
  batch.targets.resize(end, data::kNoLabel);
  // Spread evenly, so that all context ranks have as many.
  for (size_t i = begin; i + 1 < end; i += all_labels ? 1 : kTokensToAnAnswer) batch.targets[i] = 0;
  batch.cu_seqlens.push_back(int32_t(end));
}

void add_document(int64_t tokens, data::PackedBatch& batch) {
  const int64_t user = std::max<int64_t>(tokens - tokens / kTokensToAnAnswer - 1, 1);
  batch.range_ids.push_back({0, 0, 0, user - 1, 0, user - 1, user, tokens - 1});
  batch.task_ids.push_back(0);
  batch.kind_ids.push_back(0);
  batch.sample_ids.push_back(0);
  batch.answer_offsets.push_back(0);
  batch.answer_lengths.push_back(0);
}

}  // namespace

int64_t micro_batch_tokens(const Config& config) {
  return sequences_of(config) * config.train.micro_batch * config.data.max_tokens;
}

data::PackedBatch planned_batch(const Config& config, int64_t document_tokens) {
  const int64_t pack = config.data.max_tokens;
  const bool all = config.data.label_mode == data::LabelMode::all;
  const bool pairs = config.train.objective == Objective::reward;
  const int64_t each = document_tokens > 0 && !pairs ? std::min(document_tokens, pack) : pack;
  data::PackedBatch batch;
  batch.cu_seqlens = {0};
  for (int64_t p = 0; p < config.train.micro_batch; ++p) {
    if (pairs) {
      const auto first = int32_t(batch.sequences());
      batch.pairs.push_back({.chosen = first, .rejected = {first + 1}});
      for (int i = 0; i < 2; ++i) {
        add_sequence(pack, all, batch);
        batch.document_of.push_back(int32_t(p));
        batch.prefix_of.push_back(-1);
      }
      add_document(pack, batch);
    }
    for (int64_t begin = 0; !pairs && begin < pack; begin += each) {
      const int64_t tokens = std::min(each, pack - begin);
      add_sequence(tokens, all, batch);
      add_document(tokens, batch);
    }
    batch.pack_ends.push_back(int32_t(batch.documents()));
  }
  batch.place_in_step(0);
  return batch;
}

}  // namespace elastron::train
