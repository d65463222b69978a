// Rows that are judged one by one, as batches: tokenised when they are asked for, so that ranks
// hold the token ids of their own share only.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/plural.h"
#include "data/source.h"
#include "reward/pair_batch.h"
#include "reward/pair_reader.h"

namespace elastron::reward {

class RowSource final : public data::BatchSource {
 public:
  // Pack i is rows[i]. Rows and reader must outlive the source. Sequences are fitted to `limit`
  // tokens; a row that is dropped must not be asked for.
  RowSource(std::vector<const PreferenceRow*> rows, const PairReader& reader, int64_t limit,
            Overlong policy, const PairBatchOptions& options)
      : rows_(std::move(rows)), reader_(reader), limit_(limit), policy_(policy), options_(options) {
    kinds_ = {"row"};
  }

  int64_t packs() const override { return int64_t(rows_.size()); }
  data::PackedBatch batch(std::span<const int64_t> packs) const override;
  std::string fingerprint() const override;
  int64_t longest() const override { return limit_; }
  std::string summary() const override { return plural(int64_t(rows_.size()), "row"); }

 private:
  std::vector<const PreferenceRow*> rows_;
  const PairReader& reader_;
  int64_t limit_;
  Overlong policy_;
  PairBatchOptions options_;
};

}  // namespace elastron::reward
