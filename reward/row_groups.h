// Judged rows by file, setting and length class, and what a judge is worth on such a group beside
// judges that know nothing. (docs/method.md, Evaluation figures)
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reward/figures.h"
#include "reward/judged_rows.h"

namespace elastron::reward {

// Counts of what the answers in the drawn order say.
struct VerdictCounts {
  int64_t a = 0, b = 0, none = 0;
};

// Counts of pairs that were also shown in the other order. `same_winner`: the same response wins in
// both; one without a verdict does not.
struct SwapCounts {
  int64_t pairs = 0, both_have_verdicts = 0, same_winner = 0;
};

struct RowGroup {
  int64_t skipped = 0, truncated = 0;
  Accuracy judge;                     // of a generative judge by the strict rule: without ties
  std::optional<Accuracy> lenient;    // of a generative judge
  std::optional<Accuracy> untrained;  // where all rows have its scores
  // Where the lengths of all pairs are known.
  std::optional<LengthBias> length;

  Interval interval() const { return wilson_interval(double(judge.right), double(judge.pairs)); }
};

using RowList = std::vector<const JudgedRow*>;  // not owned

RowList all_of(const std::vector<JudgedRow>& rows);
RowList of_file(const RowList& rows, const std::string& file);
RowList of_setting(const RowList& rows, const std::string& setting);
RowList of_length(const RowList& rows, const std::string& length);
// The settings that occur, in the order of their columns in results.csv.
std::vector<std::string> settings_of(const RowList& rows);

bool is_right(const JudgedRow& row, VerdictRule rule);
// The pairs that were judged. Verdicts count as scores: 1 for the winner, 0 for the other; without
// a verdict the rejected response wins.
std::vector<JudgedPair> pairs_of(const RowList& rows, VerdictRule rule = VerdictRule::strict);

RowGroup group_of(const RowList& rows);
VerdictCounts verdict_counts(const RowList& rows, VerdictRule rule);
SwapCounts swap_counts(const RowList& rows, VerdictRule rule);
// How many rows were skipped for which reason.
std::map<std::string, int64_t> skip_reasons(const RowList& rows);

}  // namespace elastron::reward
