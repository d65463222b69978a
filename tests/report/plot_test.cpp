// Marks of axes, curves of many points, colours, and what the figures' numbers and pictures say.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "report/plot/axes.h"
#include "report/plot/bars.h"
#include "report/plot/curves.h"
#include "report/plot/heat_map.h"
#include "report/plot/paint.h"
#include "report/plot/reduce.h"
#include "report/plot/ticks.h"
#include "tests/report/markup_fault.h"

namespace elastron::report {
namespace {

std::string labels(const std::vector<Tick>& ticks) {
  std::string all;
  for (const Tick& t : ticks) all += (all.empty() ? "" : " ") + t.label;
  return all;
}

TEST(Ticks, AreRoundNumbersWithinTheRange) {
  EXPECT_EQ(labels(linear_ticks(0, 1, 6)), "0 0.2 0.4 0.6 0.8 1.0");
  EXPECT_EQ(labels(linear_ticks(0, 100, 6)), "0 20 40 60 80 100");
  EXPECT_EQ(labels(linear_ticks(-1, 1, 5)), "-1.0 -0.5 0 0.5 1.0");
  EXPECT_EQ(labels(linear_ticks(0, 3e-5, 4)), "0 1e-5 2e-5 3e-5");
  EXPECT_EQ(labels(linear_ticks(0, 30000, 4)), "0 10k 20k 30k");
  EXPECT_EQ(labels(linear_ticks(1000, 1004, 5)), "1000 1001 1002 1003 1004");
  EXPECT_EQ(labels(linear_ticks(0, 1500, 4)), "0 500 1.0k 1.5k");
}

// Over many ranges: at most as many as asked for, in order, within, and none of them twice.
TEST(Ticks, HoldForAnyRange) {
  for (double low = -1e6; low < 1e7; low = low < -1e-6 ? low / 7 : low > 0 ? low * 11 : 1e-9) {
    for (const double width : {1e-7, 3e-3, 0.7, 1.0, 9.99, 123.0, 8e5}) {
      if (std::abs(low) > 1e6 * width) continue;  // marks would differ in the last digits only
      const Range range = linear_range(low, low + width, 6);
      EXPECT_LE(range.low, low + 1e-6 * width);
      EXPECT_GE(range.high, low + width * (1 - 1e-6));
      const auto ticks = linear_ticks(range.low, range.high, 6);
      ASSERT_GE(ticks.size(), 2U) << low << " " << width;
      // Both ends have one.
      EXPECT_NEAR(ticks.front().value, range.low, 1e-6 * width);
      EXPECT_NEAR(ticks.back().value, range.high, 1e-6 * width);
      EXPECT_LE(ticks.size(), 6U) << low << " " << width;
      std::set<std::string> names;
      for (const Tick& t : ticks) names.insert(t.label);
      EXPECT_EQ(names.size(), ticks.size()) << labels(ticks);
    }
  }
}

TEST(Ticks, LogarithmicOnesArePowersOfTen) {
  EXPECT_EQ(labels(log_ticks(1e-5, 1, 6)), "1e-5 1e-4 0.001 0.01 0.1 1");
  EXPECT_EQ(labels(log_ticks(128, 512, 6)), "200 500");
  EXPECT_EQ(labels(log_ticks(3000, 4000, 5)), "3.0k 3.5k 4.0k");
  EXPECT_LE(log_ticks(1e-30, 1e30, 6).size(), 7U);
}

TEST(Ticks, OneValueHasRoomAroundIt) {
  EXPECT_LT(linear_range(3, 3, 6).low, 3);
  EXPECT_GT(linear_range(3, 3, 6).high, 3);
  EXPECT_LT(linear_range(0, 0, 6).low, 0);
}

TEST(Reduction, KeepsEveryColumnsEndsAndPeaks) {
  // 100 points per column, one of them far above.
  std::vector<Point> points;
  for (int i = 0; i < 5000; ++i) {
    points.push_back({i / 100.0, i == 1234 ? 1e6 : i == 4321 ? -1e6 : double(i % 17)});
  }
  const auto few = reduced(points);
  EXPECT_LE(few.size(), 4U * 50U);
  EXPECT_EQ(few.front().x, points.front().x);
  EXPECT_EQ(few.back().x, points.back().x);
  EXPECT_EQ(std::ranges::max(few, {}, &Point::y).y, 1e6);
  EXPECT_EQ(std::ranges::min(few, {}, &Point::y).y, -1e6);
  EXPECT_TRUE(std::ranges::is_sorted(few, {}, &Point::x));
  for (int column = 0; column < 50; ++column) {
    const auto in = [&](const Point& p) { return int(p.x) == column; };
    double high = -1e9, high_few = -1e9;
    for (const Point& p : points) high = in(p) ? std::max(high, p.y) : high;
    for (const Point& p : few) high_few = in(p) ? std::max(high_few, p.y) : high_few;
    EXPECT_EQ(high, high_few) << column;
  }
}

TEST(Reduction, MeansAreOfColumns) {
  const auto means = column_means({{0.1, 1}, {0.9, 3}, {2.5, 7}});
  ASSERT_EQ(means.size(), 2U);
  EXPECT_EQ(means[0].x, 0.5);
  EXPECT_EQ(means[0].y, 2);
  EXPECT_EQ(means[1].x, 2.5);
  EXPECT_EQ(means[1].y, 7);
}

TEST(Reduction, FewPointsStay) {
  const std::vector<Point> points = {{0, 1}, {5, 2}, {9, 0}};
  EXPECT_EQ(reduced(points).size(), 3U);
  EXPECT_TRUE(reduced({}).empty());
  EXPECT_EQ(thinned(5, 10), (std::vector<size_t>{0, 1, 2, 3, 4}));
  const auto some = thinned(100001, 2000);
  EXPECT_LE(some.size(), 2000U);
  EXPECT_GE(some.size(), 1900U);
  EXPECT_EQ(some.back(), 100000U);
}

// WCAG 2: text 4.5, lines that carry meaning 3; on the page and on a figure's ground, in light and
// dark.
TEST(Colours, ContrastIsEnough) {
  EXPECT_NEAR(contrast_ratio(rgb_of("#000000"), rgb_of("#ffffff")), 21, 1e-9);
  EXPECT_NEAR(contrast_ratio(rgb_of("#777777"), rgb_of("#ffffff")), 4.48, 0.005);
  for (const auto value : {&Paint::light, &Paint::dark}) {
    for (const Paint* ground : {&kBackground, &kPanel}) {
      const Rgb behind = rgb_of(ground->*value);
      for (const Paint* text : {&kText, &kQuiet, &kLink}) {
        EXPECT_GE(contrast_ratio(rgb_of(text->*value), behind), 4.5) << text->name << ground->name;
      }
      EXPECT_GE(contrast_ratio(rgb_of(kAxis.*value), behind), 3) << ground->name;
      for (size_t s = 0; s < kSeriesPaints; ++s) {
        EXPECT_GE(contrast_ratio(rgb_of(series_paint(s).*value), behind), 3)
            << series_paint(s).name << ground->name;
      }
    }
  }
}

// CIE L* of a colour, from its definition.
double lightness(const Rgb& c) {
  const auto linear = [](double v) {
    return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
  };
  const double y = 0.2126 * linear(c.red) + 0.7152 * linear(c.green) + 0.0722 * linear(c.blue);
  return y > 216.0 / 24389 ? 116 * std::cbrt(y) - 16 : y * 24389 / 27;
}

TEST(Colours, TheHeatScaleIsEven) {
  for (int i = 0; i <= 100; ++i) {
    const Rgb colour = rgb_of(hex_of(heat_colour(i / 100.0)));
    // Three points of 100 are what the screen's colours and whole bytes leave.
    EXPECT_NEAR(lightness(colour), 18 + 0.76 * i, 3) << i;
    EXPECT_GE(contrast_ratio(rgb_of(text_on(colour)), colour), 4.5) << i;
  }
  EXPECT_EQ(hex_of(heat_colour(7)), hex_of(heat_colour(1)));
  EXPECT_EQ(hex_of(heat_colour(std::nan(""))), "#808080");
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(CurvesFigure, NumbersAreThoseThatWereGiven) {
  const double third = 1.0 / 3;
  const Curves curves{.title = "loss",
                      .of = "step",
                      .curves = {{.name = "a", .x = {1, 2, 4}, .y = {third, 0.1, 3}},
                                 {.name = "b", .x = {2, 3}, .y = {7, std::nan("")}}}};
  const Figure figure = curves_figure(curves);
  EXPECT_EQ(csv_of(figure.numbers),
            "step,a,b\r\n1,0.3333333333333333,\r\n2,0.1,7\r\n3,,\r\n4,3,\r\n");
  EXPECT_EQ(test::markup_fault(figure.svg), "") << figure.svg;
}

TEST(CurvesFigure, GapsBreakTheLine) {
  const double none = std::nan("");
  const Figure figure =
      curves_figure({.title = "t",
                     .of = "step",
                     .curves = {{.name = "", .x = {1, 2, 3, 4, 5}, .y = {1, 2, none, 3, 4}}}});
  EXPECT_EQ(count(figure.svg, "<path"), 2U);
}

TEST(CurvesFigure, ManyPointsAreFewElements) {
  Curve curve{.name = "x"};
  for (int i = 0; i < 100000; ++i) {
    curve.x.push_back(i);
    curve.y.push_back(std::sin(i * 0.37) + i * 1e-5);
  }
  const Figure figure = curves_figure({.title = "t", .of = "step", .curves = {curve}});
  EXPECT_LT(figure.svg.size(), 40000U);
  EXPECT_LE(figure.numbers.rows.size(), 2000U);
  EXPECT_EQ(*figure.numbers.rows.back()[0].number, 99999);
  EXPECT_NE(figure.numbers_note, "");
  EXPECT_NE(figure.note.find("means of neighbours"), std::string::npos);
  EXPECT_EQ(count(figure.svg, "<path"), 2U);
}

TEST(CurvesFigure, WideRangesAreLogarithmic) {
  const Curves wide{.title = "t", .of = "step", .curves = {{.x = {1, 2}, .y = {1e-5, 1}}}};
  EXPECT_NE(curves_figure(wide).note.find("logarithmic"), std::string::npos);
  const Curves zero{.title = "t", .of = "step", .curves = {{.x = {1, 2}, .y = {0, 1}}}};
  EXPECT_EQ(curves_figure(zero).note.find("logarithmic"), std::string::npos);
  EXPECT_FALSE(has_values({.title = "t", .of = "step", .curves = {{.x = {1}, .y = {NAN}}}}));
}

// Of shares the axis is the same whatever the values, and an interval beyond them ends at its end.
TEST(CurvesFigure, SharesStandBetweenZeroAndOne) {
  const Curves wide{
      .title = "t",
      .of = "x",
      .curves = {{.name = "a", .x = {0, 1}, .y = {1, 0.4}, .low = {0.9, 1e-4}, .high = {1.5, 0.8}}},
      .shares = true};
  Curves cut = wide;
  cut.curves[0].high[0] = 1;
  const Figure figure = curves_figure(wide);
  EXPECT_EQ(figure.svg, curves_figure(cut).svg);
  EXPECT_EQ(figure.note.find("logarithmic"), std::string::npos);
  EXPECT_EQ(figure.svg.find(">1.5<"), std::string::npos);
  EXPECT_NE(
      curves_figure({.title = "t", .of = "x", .curves = wide.curves}).note.find("logarithmic"),
      std::string::npos);
}

TEST(CurvesFigure, FewLengthsAreMarkedThemselves) {
  const Curves curves{.title = "t",
                      .of = "tokens",
                      .curves = {{.x = {4096, 8192, 131072}, .y = {3, 2, 2}}},
                      .logarithmic_x = true};
  const std::string svg = curves_figure(curves).svg;
  for (const char* mark : {">4096<", ">8192<", ">131072<"}) EXPECT_EQ(count(svg, mark), 1U) << mark;
}

TEST(BarsFigure, HasABarAndAnIntervalForEachValue) {
  const Bars bars{.title = "scores",
                  .of = "score",
                  .groups = {"one", "two"},
                  .series = {{.name = "full", .bars = {{50, 40, 60}, {}}},
                             {.name = "router", .bars = {{25, 20, 30}, {75, 70, 80}}}},
                  .up_to = 100};
  const Figure figure = bars_figure(bars);
  EXPECT_EQ(test::markup_fault(figure.svg), "") << figure.svg;
  // Three bars with a hint, each with a line and its two ends; what is missing is said.
  EXPECT_EQ(count(figure.svg, "</title></rect>"), 3U);
  EXPECT_EQ(count(figure.svg, "class=\"l-text\""), 9U);
  EXPECT_EQ(count(figure.svg, ">missing<"), 1U);
  EXPECT_EQ(csv_of(figure.numbers),
            "name,series,score,95 % low,95 % high\r\none,full,50,40,60\r\none,router,25,20,30\r\n"
            "two,full,,,\r\ntwo,router,75,70,80\r\n");
}

TEST(HeatMapFigure, HasACellForEachNumber) {
  const HeatMap map{.title = "gates",
                    .of = "gate",
                    .rows = "layer",
                    .columns = "kv head",
                    .values = {{0, 0.5, 1}, {1, 1, std::nan("")}}};
  const Figure figure = heat_map_figure(map);
  EXPECT_EQ(test::markup_fault(figure.svg), "") << figure.svg;
  EXPECT_EQ(count(figure.svg, "<title>layer "), 6U);
  EXPECT_NE(figure.svg.find("<title>layer 0, kv head 1: 0.5</title>"), std::string::npos);
  EXPECT_EQ(csv_of(figure.numbers),
            "layer,kv head 0,kv head 1,kv head 2\r\n0,0,0.5,1\r\n1,1,1,\r\n");
}

TEST(HeatMapFigure, HasNamesInPlaceOfNumbers) {
  const HeatMap map{.title = "cosines",
                    .of = "cosine",
                    .rows = "kind",
                    .columns = "kind",
                    .values = {{1, 0.5}, {0.5, 1}},
                    .names = {"needle <a>", "continuation of a text"}};
  const Figure figure = heat_map_figure(map);
  EXPECT_EQ(test::markup_fault(figure.svg), "") << figure.svg;
  EXPECT_NE(figure.svg.find("<title>kind needle &lt;a&gt;, kind continuation of a text: 0.5<"),
            std::string::npos)
      << figure.svg;
  EXPECT_EQ(count(figure.svg, ">contin…a text<"), 2U) << figure.svg;
  EXPECT_EQ(csv_of(figure.numbers),
            "kind,kind needle <a>,kind continuation of a text\r\nneedle <a>,1,0.5\r\n"
            "continuation of a text,0.5,1\r\n");
}

}  // namespace
}  // namespace elastron::report
