#include "report/plot/bars.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "report/markup.h"
#include "report/plot/axes.h"

namespace elastron::report {

namespace {

constexpr double kTop = 8, kBelow = 40, kGroupGap = 12, kWidestNames = 160;
constexpr size_t kLongestName = 25;

double bar_height(size_t series) { return series <= 1 ? 16 : series <= 3 ? 12 : 9; }

struct Extent {
  double low = 0, high = 0;
  explicit Extent(const Bars& all) {
    const auto add = [&](const std::optional<double>& v) {
      if (!v || !std::isfinite(*v)) return;
      low = std::min(low, *v);
      high = std::max(high, *v);
    };
    for (const BarSeries& s : all.series) {
      for (const Bar& b : s.bars) {
        for (const auto& v : {b.value, b.low, b.high}) add(v);
      }
    }
    for (const Level& l : all.levels) add(l.value);
    add(all.up_to);
    if (low == high) high = 1;
  }
};

double names_width(const Bars& all) {
  double most = 0;
  for (const std::string& g : all.groups) {
    most = std::max(most, width_of(shortened(g, kLongestName)));
  }
  return std::min(most, kWidestNames) + 12;
}

Table numbers_of(const Bars& all) {
  Table table;
  const bool named = all.series.size() > 1;
  table.columns = {"name"};
  if (named) table.columns.push_back("series");
  table.columns.push_back(all.of);
  bool intervals = false;
  for (const BarSeries& s : all.series) {
    for (const Bar& b : s.bars) intervals = intervals || b.low;
  }
  if (intervals) {
    for (const char* end : {"95 % low", "95 % high"}) table.columns.push_back(end);
  }
  for (size_t g = 0; g < all.groups.size(); ++g) {
    for (const BarSeries& s : all.series) {
      std::vector<Cell> row = {all.groups[g]};
      if (named) row.push_back(s.name);
      row.push_back(s.bars[g].value);
      if (intervals) row.insert(row.end(), {s.bars[g].low, s.bars[g].high});
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

void draw_bar(Svg& svg, const Bar& bar, size_t series, double y, double height, const Axis& axis,
              const std::string& hint) {
  if (!bar.value || !std::isfinite(*bar.value)) {
    svg.text({axis.at(0) + 4, y + height / 2 + 4}, "missing", kQuiet, {.size = 10});
    return;
  }
  const double from = axis.at(std::min(0.0, *bar.value)), to = axis.at(std::max(0.0, *bar.value));
  svg.rectangle({from, y}, std::max(to - from, 1.0), height - 1.5, series_paint(series), hint);
  if (!bar.low || !bar.high) return;
  const double middle = y + (height - 1.5) / 2;
  svg.whisker({axis.at(*bar.low), middle}, {axis.at(*bar.high), middle}, kText);
}

}  // namespace

bool has_values(const Bars& all) {
  for (const BarSeries& s : all.series) {
    for (const Bar& b : s.bars) {
      if (b.value && std::isfinite(*b.value)) return true;
    }
  }
  return false;
}

Figure bars_figure(const Bars& all) {
  for (const BarSeries& s : all.series) {
    ELASTRON_CHECK(s.bars.size() == all.groups.size(), "a bar per group");
  }
  const Extent extent(all);
  std::vector<LegendEntry> legend;
  if (all.series.size() > 1) {
    for (size_t s = 0; s < all.series.size(); ++s) legend.push_back({all.series[s].name, s});
  }
  const double height = bar_height(all.series.size());
  const double group = std::max(height * double(all.series.size()), 14.0) + kGroupGap;
  double top = kTop + draw_legend(nullptr, legend, 0, false);
  top += all.levels.empty() ? 0 : 16;
  Axis axis(extent.low, extent.high, false, 6);
  const Frame frame{.left = names_width(all),
                    .right = kFigureWidth - 16,
                    .top = top,
                    .bottom = top + group * double(all.groups.size())};
  axis.place(frame.left, frame.right);

  Svg svg(kFigureWidth, frame.bottom + kBelow, all.title);
  draw_legend(&svg, legend, 0, false);
  for (const Tick& tick : axis.ticks()) {
    const double x = axis.at(tick.value);
    svg.line({x, frame.top}, {x, frame.bottom}, kGrid, 1);
    svg.text({x, frame.bottom + 16}, tick.label, kQuiet, {.anchor = Anchor::middle, .size = 12});
  }
  for (size_t g = 0; g < all.groups.size(); ++g) {
    const double y = frame.top + group * double(g) + kGroupGap / 2;
    svg.text({frame.left - 6, y + (group - kGroupGap) / 2 + 4},
             shortened(all.groups[g], kLongestName), kText, {.anchor = Anchor::end});
    for (size_t s = 0; s < all.series.size(); ++s) {
      const Bar& bar = all.series[s].bars[g];
      const std::string hint = all.groups[g] + (all.series.size() > 1 ? ", " : "") +
                               (all.series.size() > 1 ? all.series[s].name : "") + ": " +
                               rounded(bar.value.value_or(NAN));
      draw_bar(svg, bar, s, y + height * double(s), height, axis, hint);
    }
  }
  svg.line({axis.at(0), frame.top}, {axis.at(0), frame.bottom}, kAxis, 1);
  for (size_t l = 0; l < all.levels.size(); ++l) {
    const double x = axis.at(all.levels[l].value);
    svg.line({x, frame.top - 2}, {x, frame.bottom}, kText, 1.25, l == 0 ? "" : series_dash(l));
    svg.text({x, frame.top - 6}, all.levels[l].name, kQuiet,
             {.anchor = x > kFigureWidth - 60 ? Anchor::end : Anchor::middle, .size = 11});
  }
  svg.text({(frame.left + frame.right) / 2, frame.bottom + 32}, all.of, kQuiet,
           {.anchor = Anchor::middle, .size = 12});
  return {.title = all.title,
          .note = all.note,
          .svg = std::move(svg).finish(),
          .numbers = numbers_of(all),
          .numbers_note = ""};
}

}  // namespace elastron::report
