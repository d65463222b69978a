// An evaluation reports this of its judged rows: results.csv, summary.json and a table for the
// terminal. (docs/method.md, Results table and Evaluation figures)
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "reward/judged_rows.h"

namespace elastron::reward {

// Right is a chosen score above the rejected one, or a verdict for the chosen response by the
// strict rule. Skipped rows are in none of the shares, as in the published evaluator, but counted.
// All intervals are Wilson's at 95 %. The same rows give the same bytes in any order.
class BenchmarkReport {
 public:
  // Files in the order of their columns. Throws LogicError for a row of another file, of an unknown
  // length class, and for scores and verdicts together.
  BenchmarkReport(std::vector<std::string> files, std::vector<JudgedRow> rows);

  const std::vector<std::string>& files() const { return files_; }
  const std::vector<JudgedRow>& rows() const { return rows_; }
  bool generative() const { return generative_; }

  // By the strict rule byte for byte the published evaluator's; without judged rows all -1.0.
  std::string results_csv(VerdictRule rule = VerdictRule::strict) const;
  // judge, rows, skip_reasons, total, macro_mean, baselines; where lengths are known
  // against_longer_wins (McNemar) and length_bias; of scores margins, bradley_terry_loss, rewards,
  // calibration, pooled_auc; lengths and files > settings > lengths, each a group like total. A
  // share of no rows is null; what cannot be known is left out.
  nlohmann::ordered_json summary() const;
  // At most 100 columns, a newline at the end. reward/report_text.cpp
  std::string text() const;

 private:
  std::vector<std::string> files_;
  std::vector<JudgedRow> rows_;
  bool generative_ = false;
};

}  // namespace elastron::reward
