#include "data/packed_batch.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "data/document.h"

namespace elastron::data {

const std::array<std::string, kTaskCount> kTaskNames = {"Single QA", "MultiHop QA", "Summarization",
                                                        "Code", "In-Context Learning"};

int64_t PackedBatch::labels() const {
  return std::ranges::count_if(targets, [](int32_t t) { return t != kNoLabel; });
}

void PackedBatch::pad(int64_t rows) {
  ELASTRON_CHECK(rows >= tokens(), "fewer rows than tokens");
  token_ids.resize(size_t(rows), 0);
  targets.resize(size_t(rows), kNoLabel);
  positions.resize(size_t(rows), 0);
}

std::vector<int32_t> PackedBatch::first_sequences() const {
  std::vector<int32_t> first(size_t(documents()), -1);
  for (int64_t s = sequences(); s-- > 0;) first[size_t(document(s))] = int32_t(s);
  return first;
}

std::map<int64_t, int32_t> PackedBatch::last_rows() const {
  std::map<int64_t, int32_t> rows;
  for (int64_t s = 0; s < sequences(); ++s) {
    if (length(s) == 0 || (!ends.empty() && !ends[size_t(s)])) continue;
    rows[whole_sequence(s)] = cu_seqlens[size_t(s) + 1] - 1;
  }
  return rows;
}

int64_t PackedBatch::tokens_apart() const {
  if (prefix_of.empty()) return tokens();
  std::vector<bool> is_prompt(size_t(sequences()), false);
  for (const int32_t prefix : prefix_of) {
    if (prefix >= 0) is_prompt[size_t(prefix)] = true;
  }
  int64_t all = 0;
  for (int64_t s = 0; s < sequences(); ++s) {
    if (!is_prompt[size_t(s)]) all += offset(s) + length(s);
  }
  return all;
}

void PackedBatch::place_in_step(int64_t before) {
  ELASTRON_CHECK(before >= 0 && before + documents() <= int64_t(1) << 32,
                 "at most 2^32 documents per step");
  sample_keys.resize(size_t(documents()));
  std::iota(sample_keys.begin(), sample_keys.end(), uint32_t(before));
}

PackedBatch make_packed_batch(const std::vector<const Document*>& documents) {
  int64_t tokens = 0;
  for (const Document* document : documents) tokens += document->length();
  ELASTRON_CHECK(tokens <= std::numeric_limits<int32_t>::max(), "cu_seqlens are 32-bit");
  PackedBatch batch;
  batch.token_ids.reserve(size_t(tokens));
  batch.targets.reserve(size_t(tokens));
  batch.positions.reserve(size_t(tokens));
  batch.cu_seqlens = {0};
  for (const Document* one : documents) {
    const Document& document = *one;
    const int64_t n = document.length();
    batch.token_ids.insert(batch.token_ids.end(), document.ids.begin(), document.ids.end());
    for (int64_t i = 0; i < n; ++i) {
      batch.positions.push_back(int32_t(i));
      const bool predicted = i + 1 < n && document.predicted(i + 1);
      batch.targets.push_back(predicted ? document.ids[size_t(i + 1)] : kNoLabel);
    }
    batch.cu_seqlens.push_back(int32_t(batch.token_ids.size()));
    batch.range_ids.push_back(document.range_ids());
    batch.task_ids.push_back(document.task_id);
    batch.kind_ids.push_back(document.kind_id);
    batch.answer_offsets.push_back(document.answer_offset);
    batch.answer_lengths.push_back(document.answer_length);
    batch.sample_ids.push_back(document.sample_id);
  }
  batch.pack_ends = {int32_t(documents.size())};
  batch.place_in_step(0);
  return batch;
}

}  // namespace elastron::data
