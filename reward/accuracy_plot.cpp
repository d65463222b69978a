#include "reward/accuracy_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "core/utf8.h"
#include "reward/results_table.h"
#include "reward/row_groups.h"

namespace elastron::reward {

namespace {

constexpr double kWidth = 820, kLeft = 70, kRight = 24, kPlotHeight = 320, kLegendTop = 54;
constexpr double kLegendRow = 20, kCountRow = 18, kBaselineColumn = 560;
constexpr int kClasses = int(std::size(kLengthClasses));
constexpr double kBand = (kWidth - kLeft - kRight) / kClasses;

// Okabe and Ito's colours, told apart by people who do not see red and green; the shapes differ
// too.
constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                    "#E69F00", "#56B4E9", "#000000"};
constexpr const char* kGrey = "#555555";
constexpr const char *kLongerDash = "9 5", *kShorterDash = "2 4";

// Text of an element: markup escaped, what XML does not allow replaced.
std::string escaped(std::string_view text) {
  std::string storage, out;
  for (const char c : replace_invalid_utf8(text, storage)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
  }
  return out;
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text,
                    std::string_view more = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                     anchor, more, escaped(text));
}

std::string line(double x1, double y1, double x2, double y2, std::string_view colour, double width,
                 std::string_view dash = "") {
  std::string out = fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
      "stroke-width=\"{}\"",
      x1, y1, x2, y2, colour, width);
  if (!dash.empty()) out += fmt::format(" stroke-dasharray=\"{}\"", dash);
  return out + "/>\n";
}

const char* colour_of(size_t series) { return kColours[series % std::size(kColours)]; }

std::string marker(double x, double y, size_t series) {
  const char* colour = colour_of(series);
  const auto polygon = [&](const std::vector<std::pair<double, double>>& corners) {
    std::string points;
    for (const auto& [dx, dy] : corners) points += fmt::format("{:.1f},{:.1f} ", x + dx, y + dy);
    points.pop_back();
    return fmt::format("<polygon points=\"{}\" fill=\"{}\"/>\n", points, colour);
  };
  switch (series % 4) {
    case 0:
      return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\" fill=\"{}\"/>\n", x, y,
                         colour);
    case 1: return polygon({{-4, -4}, {4, -4}, {4, 4}, {-4, 4}});
    case 2: return polygon({{0, -5.5}, {5, 4}, {-5, 4}});
    default: return polygon({{0, -6}, {5, 0}, {0, 6}, {-5, 0}});
  }
}

struct Series {
  std::string name;
  std::vector<RowGroup> classes;
};

// Where things stand.
struct Frame {
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

std::string axes(const Frame& frame) {
  std::string out;
  for (int tick = 0; tick <= 10; tick += 2) {
    const double y = frame.y(tick / 10.0);
    out += line(kLeft, y, kWidth - kRight, y, tick == 0 ? kGrey : "#dddddd", 1);
    out += text_at(kLeft - 8, y + 4, "end", fmt::format("{:.1f}", tick / 10.0));
  }
  out += line(kLeft, frame.top, kLeft, frame.bottom(), kGrey, 1);
  const double middle = frame.top + kPlotHeight / 2;
  out += text_at(18, middle, "middle", "accuracy (strict)",
                 fmt::format(" transform=\"rotate(-90 18 {:.1f})\"", middle));
  for (int c = 0; c < kClasses; ++c) {
    const double x = Frame::middle(c);
    out += line(x, frame.bottom(), x, frame.bottom() + 5, kGrey, 1);
    out += text_at(x, frame.bottom() + 20, "middle", kLengthClasses[c], " font-weight=\"bold\"");
  }
  return out;
}

std::string series_of(const Frame& frame, const Series& series, size_t number) {
  std::string out;
  for (int c = 0; c < kClasses; ++c) {
    const RowGroup& group = series.classes[size_t(c)];
    if (group.judge.pairs == 0) continue;
    const double x = frame.x(c, number), y = frame.y(group.judge.strict());
    if (c + 1 < kClasses && series.classes[size_t(c) + 1].judge.pairs > 0) {
      out += line(x, y, frame.x(c + 1, number),
                  frame.y(series.classes[size_t(c) + 1].judge.strict()), colour_of(number), 1.5);
    }
    const Interval interval = group.interval();
    const double low = frame.y(interval.low), high = frame.y(interval.high);
    out += line(x, low, x, high, colour_of(number), 1.5);
    out += line(x - 4, low, x + 4, low, colour_of(number), 1.5);
    out += line(x - 4, high, x + 4, high, colour_of(number), 1.5);
    out += marker(x, y, number);
  }
  return out;
}

// A length rule, level over the width of each class whose lengths are known.
std::string length_rule(const Frame& frame, const std::vector<RowGroup>& classes, bool longer) {
  std::string out;
  for (int c = 0; c < kClasses; ++c) {
    const auto& bias = classes[size_t(c)].length;
    if (!bias) continue;
    const double y = frame.y(longer ? bias->longer_wins : bias->shorter_wins());
    out += line(Frame::middle(c) - 0.46 * kBand, y, Frame::middle(c) + 0.46 * kBand, y, kGrey, 1.5,
                longer ? kLongerDash : kShorterDash);
  }
  return out;
}

std::string legend(const std::vector<Series>& series, bool lengths) {
  std::string out;
  double y = kLegendTop;
  for (size_t s = 0; s < series.size(); ++s, y += kLegendRow) {
    out += line(kLeft, y, kLeft + 28, y, colour_of(s), 1.5) + marker(kLeft + 14, y, s);
    out += text_at(kLeft + 36, y + 4, "start", series[s].name);
  }
  y = kLegendTop;
  const auto baseline = [&](std::string_view name, const char* colour, std::string_view dash) {
    out += line(kBaselineColumn, y, kBaselineColumn + 28, y, colour, 1.5, dash);
    out += text_at(kBaselineColumn + 36, y + 4, "start", name);
    y += kLegendRow;
  };
  baseline("chance", kGrey, "");
  if (lengths) {
    baseline("longer wins, all files", kGrey, kLongerDash);
    baseline("shorter wins, all files", kGrey, kShorterDash);
  }
  return out;
}

std::string pair_counts(const Frame& frame, const std::vector<Series>& series) {
  std::string out;
  double y = frame.bottom() + 42;
  if (!series.empty()) out += text_at(kLeft - 34, y, "end", "pairs");
  for (size_t s = 0; s < series.size(); ++s, y += kCountRow) {
    out += marker(kLeft - 18, y - 4, s);
    for (int c = 0; c < kClasses; ++c) {
      const int64_t pairs = series[s].classes[size_t(c)].judge.pairs;
      out += text_at(Frame::middle(c), y, "middle", pairs > 0 ? std::to_string(pairs) : "-");
    }
  }
  return out;
}

std::vector<RowGroup> by_length(const RowList& rows) {
  std::vector<RowGroup> groups;
  for (const char* length : kLengthClasses) groups.push_back(group_of(of_length(rows, length)));
  return groups;
}

}  // namespace

std::string accuracy_plot(const BenchmarkReport& report) {
  const RowList rows = all_of(report.rows());
  std::vector<Series> series;
  for (const std::string& file : report.files()) {
    series.push_back({file, by_length(of_file(rows, file))});
  }
  const std::vector<RowGroup> all = by_length(rows);
  const bool lengths = std::any_of(all.begin(), all.end(), [](const auto& g) { return g.length; });

  const double legend_rows = double(std::max<size_t>(series.size(), lengths ? 3 : 1));
  const Frame frame{.top = kLegendTop + legend_rows * kLegendRow + 8, .series = series.size()};
  const double caption = frame.bottom() + 42 + double(series.size()) * kCountRow + 12;
  const double height = caption + 18;

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222222\">\n"
      "<title>Accuracy by length class</title>\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n",
      kWidth, height);
  svg += text_at(kLeft, 26, "start", "Accuracy by length class, with 95 % intervals",
                 " font-size=\"16\" font-weight=\"bold\"");
  svg += legend(series, lengths) + axes(frame);
  svg += line(kLeft, frame.y(0.5), kWidth - kRight, frame.y(0.5), kGrey, 1.5);
  if (lengths) svg += length_rule(frame, all, true) + length_rule(frame, all, false);
  for (size_t s = 0; s < series.size(); ++s) svg += series_of(frame, series[s], s);
  svg += pair_counts(frame, series);
  svg += text_at(kLeft + kBand * kClasses / 2, caption, "middle",
                 "length class (tokens of the question and both responses)");
  return svg + "</svg>\n";
}

}  // namespace elastron::reward
