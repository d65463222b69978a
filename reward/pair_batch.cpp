#include "reward/pair_batch.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace elastron::reward {

data::PackedBatch make_pair_batch(const std::vector<const PairDocument*>& pairs,
                                  const PairBatchOptions& options) {
  data::PackedBatch batch;
  batch.cu_seqlens = {0};
  // Tokens [begin, end) of `ids` as the next sequence; labels from token `from` on.
  const auto add = [&](const std::vector<int32_t>& ids, int64_t begin, int64_t end, int64_t from,
                       int32_t prefix) {
    for (int64_t i = begin; i < end; ++i) {
      batch.token_ids.push_back(ids[size_t(i)]);
      batch.positions.push_back(int32_t(i));
      const bool predicted = options.labels && i + 1 < end && i + 1 >= from;
      batch.targets.push_back(predicted ? ids[size_t(i + 1)] : data::kNoLabel);
    }
    batch.cu_seqlens.push_back(int32_t(batch.token_ids.size()));
    batch.document_of.push_back(int32_t(batch.range_ids.size()));
    batch.prefix_of.push_back(prefix);
    return int32_t(batch.cu_seqlens.size() - 2);
  };
  for (const PairDocument* one : pairs) {
    const PairDocument& pair = *one;
    const auto& sequences = pair.ids.sequences;
    ELASTRON_CHECK(sequences.size() >= 2, "a pair has two responses or more");
    // The prompt's last token predicts the first of every response: with labels it is theirs.
    const int64_t prompt = pair.ids.shared;
    const int64_t common = std::max<int64_t>(options.labels ? prompt - 1 : prompt, 0);
    const bool share = options.share && common > 0;
    const int32_t prefix = share ? add(sequences.front(), 0, common, common + 1, -1) : -1;
    data::PackedPair packed;
    for (size_t r = 0; r < sequences.size(); ++r) {
      const int64_t length = int64_t(sequences[r].size());
      ELASTRON_CHECK(length > prompt, "a response has tokens");
      const int32_t sequence = add(sequences[r], share ? common : 0, length,
                                   length - pair.ids.response_tokens[r], prefix);
      if (r == 0) {
        packed.chosen = sequence;
      } else {
        packed.rejected.push_back(sequence);
      }
    }
    packed.margin = pair.margin;
    batch.pairs.push_back(std::move(packed));
    // The routers read the prompt, or the first token where there is none.
    const int64_t user = std::max<int64_t>(common, 1);
    batch.range_ids.push_back(
        {0, 0, 0, user - 1, 0, user - 1, user, int64_t(sequences.front().size()) - 1});
    batch.task_ids.push_back(options.task_id);
    batch.kind_ids.push_back(pair.kind_id);
    batch.sample_ids.push_back(pair.sample_id);
    batch.answer_offsets.push_back(0);
    batch.answer_lengths.push_back(0);
    batch.pack_ends.push_back(int32_t(batch.range_ids.size()));
  }
  batch.place_in_step(0);
  ELASTRON_CHECK(batch.token_ids.size() <= size_t(std::numeric_limits<int32_t>::max()),
                 "cu_seqlens are 32-bit");
  return batch;
}

}  // namespace elastron::reward
