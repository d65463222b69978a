// The table for the terminal.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "core/plural.h"
#include "reward/benchmark_report.h"
#include "reward/results_table.h"
#include "reward/row_groups.h"

namespace elastron::reward {

namespace {

constexpr int kNameWidth = 34;  // the longest name of the benchmark's files has 33 letters

std::string number(std::optional<double> value) {
  return value ? fmt::format("{:.3f}", *value) : "-";
}

std::string line_of(const std::string& name, const RowList& rows, bool generative) {
  const RowGroup group = group_of(rows);
  std::string line = fmt::format("{:<{}}{:>6}", name, kNameWidth, group.judge.pairs);
  if (group.judge.pairs == 0) return line + fmt::format("{:>9}\n", "-");
  const Interval interval = group.interval();
  line +=
      fmt::format("{:>9.3f}  {:.3f} .. {:.3f}", group.judge.strict(), interval.low, interval.high);
  line += fmt::format("{:>10.3f}", generative ? group.lenient->strict() : group.judge.tie_aware());
  std::optional<double> longer, shorter, untrained;
  if (group.length) {
    longer = group.length->longer_wins;
    shorter = group.length->shorter_wins();
  }
  if (group.untrained) untrained = group.untrained->tie_aware();
  line += fmt::format("{:>7}{:>8}", number(longer), number(shorter));
  if (!generative) line += fmt::format("{:>10}", number(untrained));
  return line + "\n";
}

std::string heading(bool generative) {
  std::string line = fmt::format("{:<{}}{:>6}{:>9}  {:<14}{:>10}{:>7}{:>8}", "", kNameWidth,
                                 "pairs", generative ? "strict" : "accuracy", "95% interval",
                                 generative ? "lenient" : "with ties", "longer", "shorter");
  if (!generative) line += fmt::format("{:>10}", "untrained");
  return line + "\n";
}

std::string counts(const RowList& rows, const RowGroup& total, bool generative) {
  std::string text =
      fmt::format("{}, {} judged, {} of them cut to the limit", plural(int64_t(rows.size()), "row"),
                  total.judge.pairs, total.truncated);
  if (!generative) text += ", " + plural(total.judge.ties, "tie");
  text += fmt::format("; {} skipped\n", total.skipped);
  for (const auto& [reason, count] : skip_reasons(rows)) {
    text += fmt::format("  skipped: {} ({})\n", reason, count);
  }
  return text;
}

std::string verdicts(const RowList& rows) {
  std::string text;
  for (const auto& [name, rule] :
       {std::pair("strict", VerdictRule::strict), std::pair("lenient", VerdictRule::lenient)}) {
    const VerdictCounts said = verdict_counts(rows, rule);
    text +=
        fmt::format("Verdicts, {}: {} [[A]], {} [[B]], {} none", name, said.a, said.b, said.none);
    const SwapCounts swaps = swap_counts(rows, rule);
    if (swaps.pairs > 0) {
      text += fmt::format("; same winner in both orders: {} of {}", swaps.same_winner,
                          plural(swaps.pairs, "pair"));
    }
    text += "\n";
  }
  return text;
}

std::string baselines(const RowGroup& total, const std::vector<JudgedPair>& pairs) {
  std::string text = "Baselines: chance 0.500";
  if (total.length) {
    text += fmt::format(", longer wins {:.3f}, shorter wins {:.3f}", total.length->longer_wins,
                        total.length->shorter_wins());
  }
  if (total.untrained) text += fmt::format(", untrained head {:.3f}", total.untrained->tie_aware());
  text += "\n";
  if (!total.length) return text;
  const PairedTest test = against_longer_wins(pairs);
  text += fmt::format(
      "Against longer wins: {} only the judge gets right, {} only the rule; McNemar p "
      "{:.3g}\n",
      plural(test.only_judge, "pair"), test.only_longer, test.p());
  const Accuracy& shorter = total.length->chosen_is_shorter;
  if (shorter.pairs > 0) {
    text += fmt::format("Where the chosen response is the shorter one: {:.3f} of {}\n",
                        shorter.strict(), plural(shorter.pairs, "pair"));
  }
  return text;
}

std::string scores(const RowGroup& total, const std::vector<JudgedPair>& pairs) {
  const Calibration c = calibration(pairs);
  std::vector<double> margins;
  for (const JudgedPair& p : pairs) margins.push_back(p.margin());
  std::string text = fmt::format(
      "Margins: mean {:.4f}, median {:.4f}; Bradley-Terry loss {:.4f}; pooled AUC {:.4f}\n",
      moments(margins).mean, median(margins), c.bradley_terry, pooled_auc(pairs));
  text += fmt::format("Calibration: ECE {:.4f}, Brier {:.4f}, temperature {}", c.ece, c.brier,
                      c.temperature > 0 ? fmt::format("{:.4f}", c.temperature) : "none fits");
  if (total.length) {
    text += fmt::format("; margin and length: r {:.3f}", total.length->correlation);
  }
  return text + "\n";
}

}  // namespace

std::string BenchmarkReport::text() const {
  const RowList rows = all_of(rows_);
  const RowGroup total = group_of(rows);
  const std::vector<JudgedPair> pairs = pairs_of(rows);
  std::string text = heading(generative_);
  for (const std::string& name : files_) {
    const RowList of_this = of_file(rows, name);
    text += line_of(name, of_this, generative_);
    const std::vector<std::string> settings = settings_of(of_this);
    if (settings == std::vector{name}) continue;  // the standard form has no settings
    for (const std::string& setting : settings) {
      text += line_of("  " + setting, of_setting(of_this, setting), generative_);
    }
  }
  for (const char* length : kLengthClasses) {
    const RowList some = of_length(rows, length);
    if (!some.empty()) text += line_of(std::string("all, ") + length, some, generative_);
  }
  text += line_of("all", rows, generative_);
  text += counts(rows, total, generative_);
  if (generative_) text += verdicts(rows);
  text += baselines(total, pairs);
  if (!generative_ && !pairs.empty()) text += scores(total, pairs);
  return text;
}

}  // namespace elastron::reward
