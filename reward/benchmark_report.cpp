#include "reward/benchmark_report.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/error.h"
#include "reward/results_table.h"
#include "reward/row_groups.h"

namespace elastron::reward {

namespace {

using Json = nlohmann::ordered_json;

Json interval_of(double right, int64_t pairs) {
  const Interval i = wilson_interval(right, double(pairs));
  return {i.low, i.high};
}

Json share(double part, int64_t pairs) {
  return pairs == 0 ? Json(nullptr) : Json(part / double(pairs));
}

Json of_accuracy(const Accuracy& a) {
  const double with_ties = double(a.right) + 0.5 * double(a.ties);
  return {{"pairs", a.pairs},
          {"right", a.right},
          {"accuracy", share(double(a.right), a.pairs)},
          {"interval", interval_of(double(a.right), a.pairs)},
          {"ties", a.ties},
          {"tie_aware_accuracy", share(with_ties, a.pairs)},
          {"tie_aware_interval", interval_of(with_ties, a.pairs)}};
}

Json of_verdicts(const Accuracy& a) {
  return {{"pairs", a.pairs},
          {"right", a.right},
          {"accuracy", share(double(a.right), a.pairs)},
          {"interval", interval_of(double(a.right), a.pairs)}};
}

Json of_counts(const VerdictCounts& counts) {
  return {{"A", counts.a}, {"B", counts.b}, {"none", counts.none}};
}

Json of_swaps(const SwapCounts& counts) {
  return {{"pairs", counts.pairs},
          {"both_have_verdicts", counts.both_have_verdicts},
          {"same_winner", counts.same_winner},
          {"consistency", share(double(counts.same_winner), counts.pairs)},
          {"interval", interval_of(double(counts.same_winner), counts.pairs)}};
}

Json of_group(const RowList& rows, bool generative) {
  const RowGroup group = group_of(rows);
  Json object = generative ? of_verdicts(group.judge) : of_accuracy(group.judge);
  if (generative) {
    if (group.lenient) object["lenient"] = of_verdicts(*group.lenient);
    object["verdicts_strict"] = of_counts(verdict_counts(rows, VerdictRule::strict));
    object["verdicts_lenient"] = of_counts(verdict_counts(rows, VerdictRule::lenient));
    const SwapCounts swaps = swap_counts(rows, VerdictRule::strict);
    if (swaps.pairs > 0) {
      object["swap_strict"] = of_swaps(swaps);
      object["swap_lenient"] = of_swaps(swap_counts(rows, VerdictRule::lenient));
    }
  }
  if (group.length) {
    object["longer_wins"] = group.length->longer_wins;
    object["shorter_wins"] = group.length->shorter_wins();
  }
  if (group.untrained) object["untrained_head"] = group.untrained->tie_aware();
  object["skipped"] = group.skipped;
  object["truncated"] = group.truncated;
  return object;
}

Json by_length(const RowList& rows, bool generative) {
  Json lengths = Json::object();
  for (const char* length : kLengthClasses) {
    const RowList some = of_length(rows, length);
    if (!some.empty()) lengths[length] = of_group(some, generative);
  }
  return lengths;
}

Json of_moments(const std::vector<double>& values) {
  const Moments m = moments(values);
  return {{"mean", m.mean}, {"std", m.deviation}};
}

Json of_rewards(const std::vector<JudgedPair>& pairs) {
  std::vector<double> chosen, rejected;
  for (const JudgedPair& p : pairs) {
    chosen.push_back(p.chosen);
    rejected.push_back(p.rejected);
  }
  std::vector<double> all = chosen;
  all.insert(all.end(), rejected.begin(), rejected.end());
  const auto [low, high] = std::minmax_element(all.begin(), all.end());
  return {{"chosen", of_moments(chosen)},
          {"rejected", of_moments(rejected)},
          {"all", of_moments(all)},
          {"histogram", {{"low", *low}, {"high", *high}, {"counts", histogram(all)}}}};
}

Json of_margins(const std::vector<JudgedPair>& pairs) {
  std::vector<double> margins;
  for (const JudgedPair& p : pairs) margins.push_back(p.margin());
  return {{"mean", moments(margins).mean}, {"median", median(margins)}};
}

// Figures that need scores.
void add_scores(Json& object, const std::vector<JudgedPair>& pairs) {
  const Calibration c = calibration(pairs);
  object["margins"] = of_margins(pairs);
  object["bradley_terry_loss"] = c.bradley_terry;
  object["rewards"] = of_rewards(pairs);
  object["calibration"] = {
      {"ece", c.ece},
      {"brier", c.brier},
      {"temperature", c.temperature > 0 ? Json(c.temperature) : Json(nullptr)}};
  object["pooled_auc"] = pooled_auc(pairs);
}

Json of_length_bias(const LengthBias& bias, bool generative) {
  Json object = Json::object();
  if (!generative) object["correlation"] = bias.correlation;
  object["chosen_is_shorter"] =
      generative ? of_verdicts(bias.chosen_is_shorter) : of_accuracy(bias.chosen_is_shorter);
  return object;
}

// A pair of equal lengths is worth a half to either length rule.
Json of_length_rule(double accuracy, int64_t pairs) {
  return {{"accuracy", accuracy}, {"interval", interval_of(accuracy * double(pairs), pairs)}};
}

Json of_paired_test(const PairedTest& test) {
  return {{"pairs", test.pairs},
          {"left_out_equal_length", test.equal_length},
          {"only_judge_right", test.only_judge},
          {"only_longer_wins_right", test.only_longer},
          {"p_two_sided", test.p()}};
}

// The mean over settings, each worth the same however many pairs it has.
Json macro_mean(const RowList& rows, const std::vector<std::string>& files, bool generative) {
  int64_t settings = 0;
  double strict = 0, other = 0;
  for (const std::string& file : files) {
    const RowList of_this = of_file(rows, file);
    for (const std::string& setting : settings_of(of_this)) {
      const RowGroup group = group_of(of_setting(of_this, setting));
      if (group.judge.pairs == 0) continue;
      ++settings;
      strict += group.judge.strict();
      other += group.lenient ? group.lenient->strict() : group.judge.tie_aware();
    }
  }
  return {{"settings", settings},
          {"accuracy", share(strict, settings)},
          {generative ? "lenient_accuracy" : "tie_aware_accuracy", share(other, settings)}};
}

Json baselines(const RowGroup& total) {
  Json object = {{"chance", 0.5}};
  if (total.length) {
    object["longer_wins"] = of_length_rule(total.length->longer_wins, total.judge.pairs);
    object["shorter_wins"] = of_length_rule(total.length->shorter_wins(), total.judge.pairs);
  }
  if (total.untrained) object["untrained_head"] = of_accuracy(*total.untrained);
  return object;
}

}  // namespace

BenchmarkReport::BenchmarkReport(std::vector<std::string> files, std::vector<JudgedRow> rows)
    : files_(std::move(files)), rows_(std::move(rows)) {
  sort_judged_rows(rows_, files_);
  bool scores = false;
  for (const JudgedRow& row : rows_) {
    scores = scores || row.scores;
    generative_ = generative_ || row.judgement;
    ELASTRON_CHECK(row.skipped() || std::find(std::begin(kLengthClasses), std::end(kLengthClasses),
                                              row.length) != std::end(kLengthClasses),
                   "unknown length class " + row.length);
  }
  ELASTRON_CHECK(!scores || !generative_, "scores and verdicts in one report");
}

std::string BenchmarkReport::results_csv(VerdictRule rule) const {
  ResultsTable table(files_);
  for (const JudgedRow& row : rows_) {
    if (!row.skipped()) table.add(row.file, row.setting, row.length, is_right(row, rule));
  }
  return table.csv();
}

Json BenchmarkReport::summary() const {
  const RowList rows = all_of(rows_);
  const RowGroup total = group_of(rows);
  const std::vector<JudgedPair> pairs = pairs_of(rows);
  Json object = {{"judge", generative_ ? "verdicts" : "scores"},
                 {"rows", rows_.size()},
                 {"skip_reasons", skip_reasons(rows)},
                 {"total", of_group(rows, generative_)},
                 {"macro_mean", macro_mean(rows, files_, generative_)},
                 {"baselines", baselines(total)}};
  if (total.length) {
    object["against_longer_wins"] = of_paired_test(against_longer_wins(pairs));
    object["length_bias"] = of_length_bias(*total.length, generative_);
  }
  if (!generative_ && !pairs.empty()) add_scores(object, pairs);
  object["lengths"] = by_length(rows, generative_);
  object["files"] = Json::object();
  for (const std::string& name : files_) {
    const RowList of_this = of_file(rows, name);
    Json file = of_group(of_this, generative_);
    file["lengths"] = by_length(of_this, generative_);
    file["settings"] = Json::object();
    for (const std::string& setting : settings_of(of_this)) {
      const RowList of_one = of_setting(of_this, setting);
      Json one = of_group(of_one, generative_);
      one["lengths"] = by_length(of_one, generative_);
      file["settings"][setting] = std::move(one);
    }
    object["files"][name] = std::move(file);
  }
  return object;
}

}  // namespace elastron::reward
