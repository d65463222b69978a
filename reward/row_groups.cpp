#include "reward/row_groups.h"

#include <algorithm>
#include <functional>
#include <set>

namespace elastron::reward {

namespace {

RowList filtered(const RowList& rows, const auto& wanted) {
  RowList some;
  for (const JudgedRow* row : rows) {
    if (wanted(*row)) some.push_back(row);
  }
  return some;
}

}  // namespace

RowList all_of(const std::vector<JudgedRow>& rows) {
  RowList all;
  for (const JudgedRow& row : rows) all.push_back(&row);
  return all;
}

RowList of_file(const RowList& rows, const std::string& file) {
  return filtered(rows, [&](const JudgedRow& row) { return row.file == file; });
}

RowList of_setting(const RowList& rows, const std::string& setting) {
  return filtered(rows, [&](const JudgedRow& row) { return row.setting == setting; });
}

RowList of_length(const RowList& rows, const std::string& length) {
  return filtered(rows, [&](const JudgedRow& row) { return row.length == length; });
}

std::vector<std::string> settings_of(const RowList& rows) {
  std::set<std::string, std::greater<>> names;
  for (const JudgedRow* row : rows) names.insert(row->setting);
  return {names.begin(), names.end()};
}

bool is_right(const JudgedRow& row, VerdictRule rule) {
  if (row.judgement) return row.judgement->right(rule);
  return row.scores && row.scores->chosen > row.scores->rejected;
}

std::vector<JudgedPair> pairs_of(const RowList& rows, VerdictRule rule) {
  std::vector<JudgedPair> pairs;
  for (const JudgedRow* row : rows) {
    if (row->skipped()) continue;
    const bool right = is_right(*row, rule);
    const PairScores scores =
        row->scores ? *row->scores : PairScores{right ? 1.0 : 0.0, right ? 0.0 : 1.0};
    pairs.push_back({.chosen = scores.chosen,
                     .rejected = scores.rejected,
                     .tokens_chosen = row->tokens_chosen,
                     .tokens_rejected = row->tokens_rejected});
  }
  return pairs;
}

RowGroup group_of(const RowList& rows) {
  RowGroup group;
  bool lengths = true, generative = false;
  std::vector<JudgedPair> untrained;
  for (const JudgedRow* row : rows) {
    group.truncated += row->truncated ? 1 : 0;
    group.skipped += row->skipped() ? 1 : 0;
    if (row->skipped()) continue;
    lengths = lengths && row->tokens_chosen > 0 && row->tokens_rejected > 0;
    generative = generative || row->judgement.has_value();
    if (row->untrained) {
      untrained.push_back({.chosen = row->untrained->chosen, .rejected = row->untrained->rejected});
    }
  }
  const std::vector<JudgedPair> pairs = pairs_of(rows);
  group.judge = accuracy(pairs);
  if (pairs.empty()) return group;
  if (generative) group.lenient = accuracy(pairs_of(rows, VerdictRule::lenient));
  if (untrained.size() == pairs.size()) group.untrained = accuracy(untrained);
  if (lengths) group.length = length_bias(pairs);
  return group;
}

VerdictCounts verdict_counts(const RowList& rows, VerdictRule rule) {
  VerdictCounts counts;
  for (const JudgedRow* row : rows) {
    if (!row->judgement) continue;
    const auto said = verdict(row->judgement->output, rule);
    ++(!said ? counts.none : *said == Verdict::a ? counts.a : counts.b);
  }
  return counts;
}

SwapCounts swap_counts(const RowList& rows, VerdictRule rule) {
  SwapCounts counts;
  for (const JudgedRow* row : rows) {
    if (!row->judgement || !row->judgement->swapped_output) continue;
    const auto first = verdict(row->judgement->output, rule);
    const auto second = verdict(*row->judgement->swapped_output, rule);
    ++counts.pairs;
    if (!first || !second) continue;
    ++counts.both_have_verdicts;
    counts.same_winner += *first != *second ? 1 : 0;  // the letters change places
  }
  return counts;
}

std::map<std::string, int64_t> skip_reasons(const RowList& rows) {
  std::map<std::string, int64_t> reasons;
  for (const JudgedRow* row : rows) {
    if (row->skipped()) ++reasons[row->skip_reason];
  }
  return reasons;
}

}  // namespace elastron::reward
