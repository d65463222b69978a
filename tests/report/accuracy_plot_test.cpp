// The picture is well-formed XML whatever the files are called, and shows what is there.
#include "report/plot/accuracy_plot.h"

#include <gtest/gtest.h>

#include "tests/report/markup_fault.h"

namespace elastron::report {
namespace {

using reward::BenchmarkReport;
using reward::JudgedRow;
using reward::PairScores;
using test::markup_fault;

JudgedRow scored(const std::string& file, int64_t index, const std::string& length, bool right,
                 int64_t tokens) {
  JudgedRow r;
  r.file = file;
  r.index = index;
  r.setting = "S-Drop";
  r.length = length;
  r.scores = right ? PairScores{1, 0} : PairScores{0, 1};
  r.tokens_chosen = tokens;
  r.tokens_rejected = 10;
  return r;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(AccuracyPlot, IsWellFormedWhateverTheFilesAreCalled) {
  const std::string name = "a<b>&\"c'\x01\xff é";
  const std::string svg = accuracy_plot(BenchmarkReport({name}, {scored(name, 0, "8k", true, 12)}));
  EXPECT_EQ(markup_fault(svg), "") << svg;
  EXPECT_NE(svg.find(">a&lt;b&gt;&amp;&quot;c'?\xef\xbf\xbd é</text>"), std::string::npos) << svg;
  EXPECT_EQ(svg.find("script"), std::string::npos);
  EXPECT_EQ(svg.find("href"), std::string::npos);
}

TEST(AccuracyPlot, HasAMarkerAndACountForEachCellWithPairs) {
  // Circles for the first file, squares for the second; the 16k cell of the second is empty.
  const BenchmarkReport report(
      {"one", "two"}, {scored("one", 0, "8k", true, 12), scored("one", 1, "8k", true, 12),
                       scored("one", 2, "16k", false, 8), scored("two", 0, "8k", true, 12)});
  const std::string svg = accuracy_plot(report);
  EXPECT_EQ(markup_fault(svg), "");
  // One each in the plot's cells, the legend and beside the counts.
  EXPECT_EQ(count(svg, "<circle"), 2U + 2U);
  EXPECT_EQ(count(svg, "<polygon"), 1U + 2U);
  EXPECT_EQ(count(svg, ">2</text>"), 1U);
  EXPECT_EQ(count(svg, ">1</text>"), 2U);
  EXPECT_EQ(count(svg, ">-</text>"), 3U + 4U);
  EXPECT_EQ(count(svg, ">longer wins, all files<"), 1U);
  // A dashed segment for each class with pairs, and one in the legend, for either length rule.
  EXPECT_EQ(count(svg, "stroke-dasharray"), 2U * (2U + 1U));
  for (const char* text : {">chance<", ">one<", ">two<", ">128k<", ">accuracy (strict)<"}) {
    EXPECT_EQ(count(svg, text), 1U) << text;
  }
}

TEST(AccuracyPlot, WithoutLengthsOrRows) {
  const std::string without =
      accuracy_plot(BenchmarkReport({"one"}, {scored("one", 0, "8k", true, 0)}));
  EXPECT_EQ(markup_fault(without), "");
  EXPECT_EQ(count(without, "stroke-dasharray"), 0U);
  EXPECT_EQ(markup_fault(accuracy_plot(BenchmarkReport({"one"}, {}))), "");
  EXPECT_EQ(markup_fault(accuracy_plot(BenchmarkReport({}, {}))), "");
}

}  // namespace
}  // namespace elastron::report
