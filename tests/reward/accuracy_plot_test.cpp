// The picture is well-formed XML whatever the files are called, and shows what is there.
#include "reward/accuracy_plot.h"

#include <gtest/gtest.h>

#include <string_view>

namespace elastron::reward {
namespace {

// What is wrong with a text as XML: tags that do not nest, attributes without quotes, markup in
// text. "" for nothing. Knows no comments and no declarations, which the plot has none of.
std::string xml_fault(std::string_view text) {
  std::vector<std::string> open;
  bool had_root = false;
  while (!text.empty()) {
    if (text[0] != '<') {
      const std::string_view run = text.substr(0, text.find('<'));
      if (open.empty() && run.find_first_not_of('\n') != run.npos) return "text outside the root";
      for (size_t at = run.find('&'); at != run.npos; at = run.find('&', at + 1)) {
        const std::string_view entity = run.substr(at, run.find(';', at) - at + 1);
        if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;") return "a bare &";
      }
      if (run.find('>') != run.npos) return "a bare >";
      for (const char c : run) {
        if (c != '\n' && static_cast<unsigned char>(c) < 0x20) return "a control character";
      }
      text.remove_prefix(run.size());
      continue;
    }
    const size_t end = text.find('>');
    if (end == text.npos) return "a tag without an end";
    std::string_view tag = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    if (tag.starts_with("/")) {
      if (open.empty() || open.back() != tag.substr(1)) return "closes " + std::string(tag);
      open.pop_back();
      continue;
    }
    if (open.empty() && had_root) return "two roots";
    had_root = true;
    const bool closed = tag.ends_with("/");
    if (closed) tag.remove_suffix(1);
    const std::string_view name = tag.substr(0, tag.find(' '));
    if (name.empty() || name.find_first_not_of("abcdefghijklmnopqrstuvwxyz") != name.npos) {
      return "a tag called " + std::string(name);
    }
    for (tag.remove_prefix(name.size()); !tag.empty();) {
      const size_t quote = tag.find("=\""), last = tag.find('"', quote + 2);
      if (tag[0] != ' ' || quote == tag.npos || last == tag.npos) return "attributes of a tag";
      if (tag.substr(0, last).find('<') != tag.npos) return "a bare < in an attribute";
      tag.remove_prefix(last + 1);
    }
    if (!closed) open.emplace_back(name);
  }
  if (!open.empty()) return "open: " + open.back();
  return had_root ? "" : "no root";
}

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

TEST(AccuracyPlot, TheCheckFindsFaults) {
  EXPECT_EQ(xml_fault("<a b=\"1\"><c/>x &amp; y</a>\n"), "");
  for (const char* bad : {"<a>", "<a></b>", "<a b=1/>", "<a>x & y</a>", "<a/><b/>", "x", "", "<a",
                          "<a>\x01</a>", "<a>></a>"}) {
    EXPECT_NE(xml_fault(bad), "") << bad;
  }
}

TEST(AccuracyPlot, IsWellFormedWhateverTheFilesAreCalled) {
  const std::string name = "a<b>&\"c'\x01\xff é";
  const std::string svg = accuracy_plot(BenchmarkReport({name}, {scored(name, 0, "8k", true, 12)}));
  EXPECT_EQ(xml_fault(svg), "") << svg;
  EXPECT_NE(svg.find(">a&lt;b&gt;&amp;\"c'?\xef\xbf\xbd é</text>"), std::string::npos) << svg;
  EXPECT_EQ(svg.find("script"), std::string::npos);
  EXPECT_EQ(svg.find("href"), std::string::npos);
}

TEST(AccuracyPlot, HasAMarkerAndACountForEachCellWithPairs) {
  // Circles for the first file, squares for the second; the 16k cell of the second is empty.
  const BenchmarkReport report(
      {"one", "two"}, {scored("one", 0, "8k", true, 12), scored("one", 1, "8k", true, 12),
                       scored("one", 2, "16k", false, 8), scored("two", 0, "8k", true, 12)});
  const std::string svg = accuracy_plot(report);
  EXPECT_EQ(xml_fault(svg), "");
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
  EXPECT_EQ(xml_fault(without), "");
  EXPECT_EQ(count(without, "stroke-dasharray"), 0U);
  EXPECT_EQ(xml_fault(accuracy_plot(BenchmarkReport({"one"}, {}))), "");
  EXPECT_EQ(xml_fault(accuracy_plot(BenchmarkReport({}, {}))), "");
}

}  // namespace
}  // namespace elastron::reward
