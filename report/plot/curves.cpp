#include "report/plot/curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/error.h"
#include "report/plot/axes.h"
#include "report/plot/reduce.h"

namespace elastron::report {

namespace {

constexpr double kPlotHeight = 190, kTop = 8, kBelow = 40, kPale = 0.35;
constexpr size_t kMostMarkers = 40, kMostRows = 2000, kMostMarked = 8;

struct Extent {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double v) {
    if (!std::isfinite(v)) return;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  bool any() const { return low <= high; }
};

struct Extents {
  Extent x, y;
  explicit Extents(const Curves& all) {
    for (const Curve& c : all.curves) {
      for (size_t i = 0; i < c.x.size(); ++i) {
        if (!std::isfinite(c.y[i])) continue;
        x.add(c.x[i]);
        y.add(c.y[i]);
        if (!c.low.empty()) y.add(c.low[i]);
        if (!c.high.empty()) y.add(c.high[i]);
      }
    }
  }
};

// The curve in parts without gaps.
std::vector<std::vector<Point>> parts_of(const Curve& c, const Axis& horizontal,
                                         const Axis& vertical) {
  std::vector<std::vector<Point>> parts(1);
  for (size_t i = 0; i < c.x.size(); ++i) {
    if (horizontal.has(c.x[i]) && vertical.has(c.y[i])) {
      parts.back().push_back({horizontal.at(c.x[i]), vertical.at(c.y[i])});
    } else if (!parts.back().empty()) {
      parts.emplace_back();
    }
  }
  if (parts.back().empty()) parts.pop_back();
  return parts;
}

// Whether columns have so many points that the line would be a surface.
bool is_dense(const std::vector<Point>& part) {
  return part.size() > 200 && double(part.size()) > 3 * (part.back().x - part.front().x);
}

void draw(Svg& svg, const Curve& c, size_t number, const Axis& horizontal, const Axis& vertical,
          bool shares) {
  const size_t series = c.like.value_or(number);
  const Paint& paint = series_paint(series);
  const auto parts = parts_of(c, horizontal, vertical);
  for (const auto& part : parts) {
    if (is_dense(part) && !c.like) {
      svg.path(reduced(part), paint, 1, "", kPale);
      svg.path(column_means(part), paint, 1.75, series_dash(series));
      continue;
    }
    svg.path(reduced(part), paint, c.like ? 1 : 1.75, c.like ? "3 3" : series_dash(series));
    // A point between two gaps has no line.
    const bool alone = part.size() == 1;
    if (c.like || (c.x.size() > kMostMarkers && !alone)) continue;
    for (const Point& p : part) svg.marker(p, series, 2.6);
  }
  for (size_t i = 0; i < c.low.size(); ++i) {
    if (!vertical.has(c.low[i]) || !vertical.has(c.high[i])) continue;
    const double x = horizontal.at(c.x[i]);
    const auto end = [&](double v) { return vertical.at(shares ? std::clamp(v, 0.0, 1.0) : v); };
    svg.whisker({x, end(c.low[i])}, {x, end(c.high[i])}, paint);
  }
}

std::string column_name(const Curves& all, const Curve& c) {
  return all.curves.size() == 1 && c.name.empty() ? all.title : c.name;
}

// Where any curve has a value, rising.
std::vector<double> places_of(const Curves& all) {
  std::set<double> xs;
  for (const Curve& c : all.curves) xs.insert(c.x.begin(), c.x.end());
  return {xs.begin(), xs.end()};
}

// A row per x that any curve has.
Table numbers_of(const Curves& all, std::string& note) {
  Table table;
  table.columns = {all.of};
  for (const Curve& c : all.curves) {
    if (c.x.empty()) continue;
    table.columns.push_back(column_name(all, c));
    if (c.low.empty()) continue;
    for (const char* end : {" low", " high"}) table.columns.push_back(column_name(all, c) + end);
  }
  const std::vector<double> xs = places_of(all);
  const std::vector<size_t> kept = thinned(xs.size(), kMostRows);
  if (kept.size() < xs.size()) {
    note = fmt::format("{} of {} rows, evenly, with the last one; the files have all.", kept.size(),
                       xs.size());
  }
  std::map<double, size_t> row_of;
  for (const size_t i : kept) {
    row_of[xs[i]] = table.rows.size();
    table.rows.emplace_back(table.columns.size());
    table.rows.back()[0] = xs[i];
  }
  size_t column = 1;
  for (const Curve& c : all.curves) {
    if (c.x.empty()) continue;
    const auto put = [&](const std::vector<double>& values) {
      if (values.empty()) return;
      for (size_t i = 0; i < c.x.size(); ++i) {
        const auto row = row_of.find(c.x[i]);
        if (row != row_of.end()) table.rows[row->second][column] = values[i];
      }
      ++column;
    };
    put(c.y);
    put(c.low);
    put(c.high);
  }
  return table;
}

void add_sentence(std::string& note, const std::string& words) {
  while (note.ends_with('.')) note.pop_back();
  note += (note.empty() ? "" : "; ") + words;
}

}  // namespace

bool has_values(const Curves& curves) { return Extents(curves).y.any(); }

Figure curves_figure(const Curves& all) {
  const Extents extents(all);
  ELASTRON_CHECK(extents.y.any(), "a figure without a value");
  const bool logarithmic = !all.shares && wants_logarithm(extents.y.low, extents.y.high);
  Axis vertical =
      all.shares ? Axis(0, 1, false, 6) : Axis(extents.y.low, extents.y.high, logarithmic, 6);
  Axis horizontal(extents.x.low, extents.x.high, all.logarithmic_x && extents.x.low > 0, 6);
  // Few lengths are marked themselves.
  const std::vector<double> xs = places_of(all);
  if (all.logarithmic_x && xs.size() <= kMostMarked) horizontal.mark(xs);

  std::vector<LegendEntry> legend;
  for (size_t i = 0; i < all.curves.size(); ++i) {
    const bool named =
        !all.curves[i].like && !all.curves[i].name.empty() && !all.curves[i].x.empty();
    if (named) legend.push_back({all.curves[i].name, i});
  }
  const double top = kTop + draw_legend(nullptr, legend, 0, true);
  const Frame frame{.left = label_width(vertical),
                    .right = kFigureWidth - 14,
                    .top = top,
                    .bottom = top + kPlotHeight};
  horizontal.place(frame.left, frame.right);
  vertical.place(frame.bottom, frame.top);

  Svg svg(kFigureWidth, frame.bottom + kBelow, all.title);
  draw_legend(&svg, legend, 0, true);
  draw_frame(svg, frame, horizontal, vertical, all.of);
  for (size_t i = 0; i < all.curves.size(); ++i)
    draw(svg, all.curves[i], i, horizontal, vertical, all.shares);
  Figure figure{.title = all.title, .note = all.note, .svg = std::move(svg).finish()};
  const bool dense = std::ranges::any_of(all.curves, [&](const Curve& c) {
    return std::ranges::any_of(parts_of(c, horizontal, vertical), is_dense);
  });
  if (logarithmic) add_sentence(figure.note, "the scale is logarithmic");
  if (dense) add_sentence(figure.note, "pale: all values, the line: means of neighbours");
  figure.numbers = numbers_of(all, figure.numbers_note);
  return figure;
}

}  // namespace elastron::report
