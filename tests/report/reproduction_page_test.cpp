// A reproduction as a page and as a file of Markdown.
#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "report/markdown.h"
#include "report/report.h"
#include "tests/report/markup_fault.h"
#include "tests/report/reproduction_folder.h"

namespace elastron::report {
namespace {

using test::fill;
using test::ReproductionFolder;

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

ReportOptions options_of(const std::string& path) {
  return {.paths = {path}, .made_by = "a test", .refresh_seconds = {}};
}

TEST(ReproductionPage, ClaimsFirstThenFiguresThenJobs) {
  ReproductionFolder folder;
  fill(folder);
  const Report report = report_page(options_of(folder.path()));
  const std::string& html = report.text;
  EXPECT_EQ(test::markup_fault(html.substr(html.find('\n') + 1), " meta link "), "");
  size_t before = 0;
  for (const char* heading :
       {">Reproduction: results</h2>", ">Claims</h3>", ">Figure 1 and Table 1: ", ">Figure 2: ",
        ">Figure 13: ", ">What it costs</h3>", ">Every job</h3>", ">How to run it again</h3>"}) {
    const size_t at = html.find(heading);
    EXPECT_NE(at, html.npos) << heading;
    EXPECT_GT(at, before) << heading;
    before = at;
  }
  EXPECT_NE(html.find("<dt>Commit</dt><dd>abc1234</dd>"), html.npos);
  EXPECT_NE(html.find("2 x &lt;CPU&gt; | of a test"), html.npos);
  EXPECT_EQ(count(html, "<figure>"), 42U);
  EXPECT_TRUE(report.files.empty());
  EXPECT_EQ(count(html, "<td>C5</td>"), 1U);
  ASSERT_FALSE(report.claims.empty());
  for (const std::string& claim : report.claims) EXPECT_TRUE(claim.starts_with("claim C")) << claim;
}

TEST(ReproductionPage, OfNothingYet) {
  const ReproductionFolder folder;
  const std::string html = report_page(options_of(folder.path())).text;
  EXPECT_EQ(test::markup_fault(html.substr(html.find('\n') + 1), " meta link "), "");
  EXPECT_NE(html.find("Not there yet: static"), html.npos);
}

// Rows of a table have as many cells as its heading; what is escaped is none of a cell's end.
void expect_tables(const std::string& markdown) {
  size_t columns = 0, tables = 0;
  for (size_t at = 0; at < markdown.size();) {
    const size_t end = markdown.find('\n', at);
    const std::string line = markdown.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with("|")) {
      columns = 0;
      continue;
    }
    const size_t cells = count(line, "|") - count(line, "\\|");
    if (columns == 0) {
      ++tables;
      columns = cells;
    }
    EXPECT_EQ(cells, columns) << line;
  }
  EXPECT_GT(tables, 40U);
}

TEST(ReproductionMarkdown, HasFiguresAsFilesThatStandAlone) {
  ReproductionFolder folder;
  fill(folder);
  const Report report = report_markdown(options_of(folder.path()), "my results");
  const std::string& text = report.text;
  EXPECT_TRUE(text.starts_with("# Reproduction: results\n"));
  expect_tables(text);
  EXPECT_EQ(report.files.size(), 42U);
  std::set<std::string> names;
  for (const auto& [file, svg] : report.files) {
    EXPECT_TRUE(names.insert(file).second) << file;
    EXPECT_TRUE(file.starts_with("my results/") && file.ends_with(".svg")) << file;
    const std::string link = "](my%20results/" + file.substr(11) + ")";
    EXPECT_EQ(count(text, link), 1U) << link;
    EXPECT_EQ(test::markup_fault(svg), "") << file;
    EXPECT_TRUE(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-8 -8 416 "));
    // The ground is the first thing that is drawn.
    EXPECT_NE(svg.find("</title>\n<rect x=\"-8\" y=\"-8\" width=\"416\""), svg.npos) << file;
    EXPECT_EQ(count(svg, " width=\"624\" height="), 1U) << file;
  }
  EXPECT_EQ(count(text, "!["), 42U);
  EXPECT_NE(text.find("| Commit | abc1234 |\n"), text.npos);
  EXPECT_NE(text.find("| Machine | 2 x &lt;CPU\\> \\| of a test |\n"), text.npos);
  EXPECT_NE(
      text.find("| C5 | Fig. 7 | the MSR of sensitive kinds rises with t\\_sen | holds | 0.25 "
                "| 0.25 | 0.25 | 2 |"),
      text.npos);
  EXPECT_NE(text.find("```\nlaunch/reproduce.sh quick --out results\n```\n"), text.npos);
  EXPECT_EQ(text.find(folder.path()), text.npos);
  EXPECT_EQ(report.claims, report_page(options_of(folder.path())).claims);
}

TEST(ReproductionMarkdown, IsOfOneReproductionAlone) {
  ReproductionFolder a, b;
  EXPECT_THROW((void)report_markdown({.paths = {a.path(), b.path()}, .made_by = ""}, "x"),
               UsageError);
  const std::string run = std::string(ELASTRON_TEST_FIXTURES) + "/report/runs/first";
  EXPECT_THROW((void)report_markdown(options_of(run), "x"), UsageError);
}

TEST(Markdown, TextsStayTexts) {
  EXPECT_EQ(markdown_text("a|b *c* `d` <e>\n[f](g) h_i"),
            "a\\|b \\*c\\* \\`d\\` &lt;e\\> \\[f\\](g) h\\_i");
  EXPECT_EQ(markdown_code("a ``` b"), "````\na ``` b\n````\n");
  EXPECT_EQ(markdown_of({.columns = {"a", "n"}, .rows = {{"x", 1.0 / 3}, {"y|", {}}}}),
            "| a | n |\n| --- | ---: |\n| x | 0.3333 |\n| y\\| |  |\n");
}

}  // namespace
}  // namespace elastron::report
