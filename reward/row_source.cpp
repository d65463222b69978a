#include "reward/row_source.h"

#include "core/error.h"

namespace elastron::reward {

data::PackedBatch RowSource::batch(std::span<const int64_t> packs) const {
  std::vector<PairDocument> pairs;
  for (const int64_t index : packs) {
    const PreferenceRow& row = *rows_.at(size_t(index));
    pairs.push_back(
        {.ids = reader_.fit(row, limit_, policy_), .margin = row.margin, .sample_id = index});
    ELASTRON_CHECK(!pairs.back().ids.dropped(), row.where + " was dropped");
  }
  std::vector<const PairDocument*> pointers;
  for (const PairDocument& pair : pairs) pointers.push_back(&pair);
  return make_pair_batch(pointers, options_);
}

std::string RowSource::fingerprint() const {
  Checksum sum;
  for (const PreferenceRow* row : rows_) add_to(sum, *row);
  return sum.digest();
}

}  // namespace elastron::reward
