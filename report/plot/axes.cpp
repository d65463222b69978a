#include "report/plot/axes.h"

#include <algorithm>
#include <cmath>

#include "report/markup.h"

namespace elastron::report {

namespace {

constexpr double kRow = 18, kSample = 26, kGap = 14, kMargin = 8;
constexpr size_t kLongestName = 42;

}  // namespace

Axis::Axis(double low, double high, bool logarithmic, int most_ticks) : logarithmic_(logarithmic) {
  if (!logarithmic) {
    const Range range = linear_range(low, high, most_ticks);
    low_ = range.low;
    high_ = range.high;
    ticks_ = linear_ticks(low_, high_, most_ticks);
    return;
  }
  // A little room, as values at the ends would stand on the frame.
  low_ = low == high ? low / 2 : low;
  high_ = low == high ? high * 2 : high;
  ticks_ = log_ticks(low_, high_, most_ticks);
}

void Axis::mark(const std::vector<double>& values) {
  ticks_.clear();
  for (const double value : values) ticks_.push_back({value, exact(value)});
}

void Axis::place(double from, double to) {
  from_ = from;
  to_ = to;
}

double Axis::at(double value) const {
  const double share = logarithmic_ ? std::log(value / low_) / std::log(high_ / low_)
                                    : (value - low_) / (high_ - low_);
  return from_ + share * (to_ - from_);
}

bool Axis::has(double value) const { return std::isfinite(value) && (!logarithmic_ || value > 0); }

bool wants_logarithm(double low, double high) { return low > 0 && high / low >= 1000; }

double draw_legend(Svg* svg, const std::vector<LegendEntry>& entries, double top, bool lines) {
  if (entries.empty()) return 0;
  double x = kMargin, y = top + kRow / 2;
  for (const LegendEntry& entry : entries) {
    const std::string name = shortened(entry.name, kLongestName);
    const double width = kSample + 6 + width_of(name);
    if (x > kMargin && x + width > kFigureWidth - kMargin) {
      x = kMargin;
      y += kRow;
    }
    if (svg != nullptr) {
      const Paint& paint = series_paint(entry.series);
      if (lines) {
        svg->line({x, y}, {x + kSample, y}, paint, 2, series_dash(entry.series));
        svg->marker({x + kSample / 2, y}, entry.series, 3.5);
      } else {
        svg->rectangle({x + 8, y - 5}, 16, 10, paint);
      }
      svg->text({x + kSample + 6, y + 4}, name, kText);
    }
    x += width + kGap;
  }
  return y + kRow / 2 + 4 - top;
}

double label_width(const Axis& vertical) {
  double most = 0;
  for (const Tick& tick : vertical.ticks()) most = std::max(most, width_of(tick.label, 12));
  return most + 14;
}

void draw_frame(Svg& svg, const Frame& f, const Axis& horizontal, const Axis& vertical,
                const std::string& horizontal_name) {
  for (const Tick& tick : vertical.ticks()) {
    const double y = vertical.at(tick.value);
    svg.line({f.left, y}, {f.right, y}, kGrid, 1);
    svg.text({f.left - 6, y + 4}, tick.label, kQuiet, {.anchor = Anchor::end, .size = 12});
  }
  double free_from = 0;
  for (const Tick& tick : horizontal.ticks()) {
    const double x = horizontal.at(tick.value), half = width_of(tick.label, 12) / 2;
    svg.line({x, f.bottom}, {x, f.bottom + 4}, kAxis, 1);
    const double middle = std::min(x, kFigureWidth - half);
    if (middle - half < free_from) continue;
    svg.text({middle, f.bottom + 16}, tick.label, kQuiet, {.anchor = Anchor::middle, .size = 12});
    free_from = middle + half + 6;
  }
  svg.line({f.left, f.bottom}, {f.right, f.bottom}, kAxis, 1);
  svg.line({f.left, f.top}, {f.left, f.bottom}, kAxis, 1);
  svg.text({(f.left + f.right) / 2, f.bottom + 32}, horizontal_name, kQuiet,
           {.anchor = Anchor::middle, .size = 12});
}

}  // namespace elastron::report
