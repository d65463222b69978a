#include "report/plot/accuracy_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "report/plot/svg.h"
#include "reward/results_table.h"
#include "reward/row_groups.h"

namespace elastron::report {

namespace {

using reward::RowGroup;
using reward::RowList;

constexpr double kWidth = 820, kLeft = 70, kRight = 24, kPlotHeight = 320, kLegendTop = 54;
constexpr double kLegendRow = 20, kCountRow = 18, kBaselineColumn = 560;
constexpr int kClasses = int(std::size(reward::kLengthClasses));
constexpr double kBand = (kWidth - kLeft - kRight) / kClasses;
constexpr double kLetters = 13;
constexpr const char *kLongerDash = "9 5", *kShorterDash = "2 4";

struct AccuracySeries {
  std::string name;
  std::vector<RowGroup> classes;
};

// Where things stand.
struct Places {
  double top = 0;
  size_t series = 0;

  double bottom() const { return top + kPlotHeight; }
  double y(double share) const { return bottom() - share * kPlotHeight; }
  static double middle(int c) { return kLeft + (c + 0.5) * kBand; }
  // Series stand side by side, so that their intervals do not cover each other.
  double x(int c, size_t s) const {
    const double step = std::min(16.0, 0.7 * kBand / double(std::max<size_t>(series, 1)));
    return middle(c) + (double(s) - 0.5 * (double(series) - 1)) * step;
  }
};

void add_axes(Svg& svg, const Places& places) {
  for (int tick = 0; tick <= 10; tick += 2) {
    const double y = places.y(tick / 10.0);
    svg.line({kLeft, y}, {kWidth - kRight, y}, tick == 0 ? kAxis : kGrid, 1);
    svg.text({kLeft - 8, y + 4}, fmt::format("{:.1f}", tick / 10.0), kText,
             {.anchor = Anchor::end, .size = kLetters});
  }
  svg.line({kLeft, places.top}, {kLeft, places.bottom()}, kAxis, 1);
  svg.text({18, places.top + kPlotHeight / 2}, "accuracy (strict)", kText,
           {.anchor = Anchor::middle, .size = kLetters, .upright = true});
  for (int c = 0; c < kClasses; ++c) {
    const double x = Places::middle(c);
    svg.line({x, places.bottom()}, {x, places.bottom() + 5}, kAxis, 1);
    svg.text({x, places.bottom() + 20}, reward::kLengthClasses[c], kText,
             {.anchor = Anchor::middle, .size = kLetters, .bold = true});
  }
}

void add_series(Svg& svg, const Places& places, const AccuracySeries& series, size_t number) {
  const Paint& paint = series_paint(number);
  for (int c = 0; c < kClasses; ++c) {
    const RowGroup& group = series.classes[size_t(c)];
    if (group.judge.pairs == 0) continue;
    const Point here = {places.x(c, number), places.y(group.judge.strict())};
    if (c + 1 < kClasses && series.classes[size_t(c) + 1].judge.pairs > 0) {
      const RowGroup& next = series.classes[size_t(c) + 1];
      svg.line(here, {places.x(c + 1, number), places.y(next.judge.strict())}, paint, 1.5);
    }
    const reward::Interval interval = group.interval();
    svg.whisker({here.x, places.y(interval.low)}, {here.x, places.y(interval.high)}, paint);
    svg.marker(here, number, 4.5);
  }
}

// A length rule, level over the width of each class whose lengths are known.
void add_length_rule(Svg& svg, const Places& places, const std::vector<RowGroup>& classes,
                     bool longer) {
  for (int c = 0; c < kClasses; ++c) {
    const auto& bias = classes[size_t(c)].length;
    if (!bias) continue;
    const double y = places.y(longer ? bias->longer_wins : bias->shorter_wins());
    svg.line({Places::middle(c) - 0.46 * kBand, y}, {Places::middle(c) + 0.46 * kBand, y}, kQuiet,
             1.5, longer ? kLongerDash : kShorterDash);
  }
}

void add_legend(Svg& svg, const std::vector<AccuracySeries>& series, bool lengths) {
  double y = kLegendTop;
  for (size_t s = 0; s < series.size(); ++s, y += kLegendRow) {
    svg.line({kLeft, y}, {kLeft + 28, y}, series_paint(s), 1.5);
    svg.marker({kLeft + 14, y}, s, 4.5);
    svg.text({kLeft + 36, y + 4}, series[s].name, kText, {.size = kLetters});
  }
  y = kLegendTop;
  const auto baseline = [&](std::string_view name, std::string_view dash) {
    svg.line({kBaselineColumn, y}, {kBaselineColumn + 28, y}, kQuiet, 1.5, dash);
    svg.text({kBaselineColumn + 36, y + 4}, name, kText, {.size = kLetters});
    y += kLegendRow;
  };
  baseline("chance", "");
  if (!lengths) return;
  baseline("longer wins, all files", kLongerDash);
  baseline("shorter wins, all files", kShorterDash);
}

void add_pair_counts(Svg& svg, const Places& places, const std::vector<AccuracySeries>& series) {
  double y = places.bottom() + 42;
  if (!series.empty()) {
    svg.text({kLeft - 34, y}, "pairs", kText, {.anchor = Anchor::end, .size = kLetters});
  }
  for (size_t s = 0; s < series.size(); ++s, y += kCountRow) {
    svg.marker({kLeft - 18, y - 4}, s, 4.5);
    for (int c = 0; c < kClasses; ++c) {
      const int64_t pairs = series[s].classes[size_t(c)].judge.pairs;
      svg.text({Places::middle(c), y}, pairs > 0 ? std::to_string(pairs) : "-", kText,
               {.anchor = Anchor::middle, .size = kLetters});
    }
  }
}

std::vector<RowGroup> by_length(const RowList& rows) {
  std::vector<RowGroup> groups;
  for (const char* length : reward::kLengthClasses) {
    groups.push_back(group_of(of_length(rows, length)));
  }
  return groups;
}

}  // namespace

std::string accuracy_plot(const reward::BenchmarkReport& report) {
  const RowList rows = reward::all_of(report.rows());
  std::vector<AccuracySeries> series;
  for (const std::string& file : report.files()) {
    series.push_back({file, by_length(of_file(rows, file))});
  }
  const std::vector<RowGroup> all = by_length(rows);
  const bool lengths = std::any_of(all.begin(), all.end(), [](const auto& g) { return g.length; });

  const double legend_rows = double(std::max<size_t>(series.size(), lengths ? 3 : 1));
  const Places places{.top = kLegendTop + legend_rows * kLegendRow + 8, .series = series.size()};
  const double caption = places.bottom() + 42 + double(series.size()) * kCountRow + 12;

  Svg svg(kWidth, caption + 18, "Accuracy by length class");
  svg.rectangle({0, 0}, kWidth, caption + 18, kBackground);
  svg.text({kLeft, 26}, "Accuracy by length class, with 95 % intervals", kText,
           {.size = 16, .bold = true});
  add_legend(svg, series, lengths);
  add_axes(svg, places);
  svg.line({kLeft, places.y(0.5)}, {kWidth - kRight, places.y(0.5)}, kQuiet, 1.5);
  for (const bool longer : {true, false}) add_length_rule(svg, places, all, longer);
  for (size_t s = 0; s < series.size(); ++s) add_series(svg, places, series[s], s);
  add_pair_counts(svg, places, series);
  svg.text({kLeft + kBand * kClasses / 2, caption},
           "length class (tokens of the question and both responses)", kText,
           {.anchor = Anchor::middle, .size = kLetters});
  return std::move(svg).finish();
}

}  // namespace elastron::report
