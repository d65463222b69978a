// Scores of both responses of preference rows by a reward model, and by an untrained head beside
// it, kept row by row, so that an evaluation that stopped goes on with the rows that are left.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/long_run.h"
#include "reward/judged_rows.h"
#include "train/evaluate/pair_scorer.h"
#include "train/evaluate/rows_to_score.h"

namespace elastron::train {

class RowScoring {
 public:
  // Collective over the mesh. Loads the models and opens rows.jsonl in the folder `out`, where rows
  // that are there already are not judged again; `identity`: the caller's part, completed here. All
  // references must outlive this. Throws on all ranks what Session and JudgedRowsFile throw, and
  // UsageError for a model without a head.
  RowScoring(RowsToScore& rows, parallel::Mesh& mesh, Device& device, const std::string& out,
             reward::EvaluationIdentity identity);

  // Collective. Scores the rows that are left. -> false where it was stopped on request before the
  // end.
  bool run(const LongRun& around);

  // Collective, after the end: all rows in canonical order on rank 0, elsewhere none.
  std::vector<reward::JudgedRow> finish();

 private:
  void open_models();
  reward::EvaluationIdentity identity(reward::EvaluationIdentity of_rows);
  // Usable rows of a group, and groups of which a row is missing.
  std::span<const reward::SizedRow* const> rows_of(int64_t group) const;
  std::vector<int64_t> missing_groups() const;
  std::vector<ScoredPair> score(std::span<const int64_t> groups, const std::function<void()>& beat);
  void append_skipped();
  void append(std::span<const int64_t> groups, const std::vector<ScoredPair>& scored);
  reward::JudgedRow judged(const reward::SizedRow& row, const ScoredPair& pair) const;

  RowsToScore& rows_;
  parallel::Mesh& mesh_;
  Device& device_;
  Config config_;
  std::unique_ptr<reward::JudgedRowsFile> file_;  // on rank 0
  std::optional<RewardModel> trained_, before_;
  std::unique_ptr<reward::RewardHead> untrained_;
  std::optional<PairScorer> pairs_, pairs_before_;
};

}  // namespace elastron::train
