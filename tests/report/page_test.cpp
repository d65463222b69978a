// Pages and tables: well-formed, escaped, complete without a script and without a network.
#include "report/page.h"

#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "core/error.h"
#include "report/markup.h"
#include "tests/report/markup_fault.h"

namespace elastron::report {
namespace {

using test::markup_fault;

constexpr std::string_view kVoid = " meta link ";

std::string without_doctype(const std::string& html) { return html.substr(html.find('\n') + 1); }

const std::string kBad = "<script>alert(1)</script>\"' & \x01\xff é";

Table small_table() { return {.columns = {"name", "v,w"}, .rows = {{"a\"b", 0.1}, {kBad, NAN}}}; }

TEST(MarkupFault, FindsFaults) {
  EXPECT_EQ(markup_fault("<a b=\"1 > 0\"><c/>x &amp; y</a>\n"), "");
  for (const char* bad : {"<a>", "<a></b>", "<a b=1/>", "<a>x & y</a>", "<a/><b/>", "x", "", "<a",
                          "<a>\x01</a>", "<a>></a>"}) {
    EXPECT_NE(markup_fault(bad), "") << bad;
  }
}

TEST(Markup, TextsAreEscaped) {
  EXPECT_EQ(escaped(kBad), "&lt;script&gt;alert(1)&lt;/script&gt;&quot;' &amp; ?\xef\xbf\xbd é");
  EXPECT_EQ(percent_encoded("a,b\r\n\"#%é"), "a,b%0D%0A%22%23%25%C3%A9");
  EXPECT_EQ(shell_word("runs/a b's"), "'runs/a b'\\''s'");
  EXPECT_EQ(shell_word("runs/a"), "runs/a");
  EXPECT_EQ(shortened("abcdefghij", 5), "ab…ij");
  EXPECT_EQ(shortened("éééééééééé", 5), "éé…éé");
}

TEST(Markup, Numbers) {
  EXPECT_EQ(exact(1.0 / 3), "0.3333333333333333");
  EXPECT_EQ(exact(NAN), "");
  EXPECT_EQ(rounded(1.0 / 3), "0.3333");
  EXPECT_EQ(rounded(12345.6), "12346");
  EXPECT_EQ(rounded(2.5e-7), "2.5e-07");
  EXPECT_EQ(rounded(0), "0");
  EXPECT_TRUE(natural_less("8k", "16k"));
  EXPECT_TRUE(natural_less("a2b", "a10"));
  EXPECT_FALSE(natural_less("16k", "8k"));
  EXPECT_FALSE(natural_less("8k", "8k"));
}

TEST(Tables, CsvIsTheNumbers) {
  EXPECT_EQ(csv_of({.columns = {"name", "v,w"}, .rows = {{"a\"b", 0.1}, {"line\nbreak", NAN}}}),
            "name,\"v,w\"\r\n\"a\"\"b\",0.1\r\n\"line\nbreak\",\r\n");
  const std::string link = csv_link(small_table(), "Loss (nats) of <a>");
  EXPECT_NE(link.find("download=\"Loss--nats--of--a-.csv\""), std::string::npos) << link;
  EXPECT_NE(link.find("data:text/csv;charset=utf-8,name,%22v,w%22%0D%0A%22a%22%22b%22,0.1%0D%0A"),
            std::string::npos)
      << link;
  EXPECT_EQ(markup_fault(link), "");
}

TEST(Tables, RoundedNumbersKeepTheExactOnesForSorting) {
  const Table table{.columns = {"x"}, .rows = {{1.0 / 3}, {2.0}}};
  const std::string few = html_of(table, "c"), all = html_of(table, "c", Digits::all);
  EXPECT_NE(few.find("<td class=\"n\" data-v=\"0.3333333333333333\">0.3333</td>"),
            std::string::npos);
  EXPECT_NE(few.find("<td class=\"n\">2</td>"), std::string::npos);
  EXPECT_NE(all.find("<td class=\"n\">0.3333333333333333</td>"), std::string::npos);
}

Page whole_page() {
  Page page("T " + kBad);
  page.heading(2, "H " + kBad);
  page.paragraph(kBad);
  page.facts({{kBad, kBad}});
  page.table(small_table(), kBad);
  page.figures({{.title = kBad,
                 .note = kBad,
                 .svg = "<svg></svg>",
                 .numbers = small_table(),
                 .numbers_note = kBad}});
  page.code(kBad);
  page.code(kBad, kBad);
  return page;
}

TEST(Pages, AreWellFormedWhateverTheTextsAre) {
  const std::string html = whole_page().html({});
  ASSERT_TRUE(html.starts_with("<!DOCTYPE html>\n"));
  EXPECT_EQ(markup_fault(without_doctype(html), kVoid), "");
  EXPECT_EQ(html.find("<script>alert"), std::string::npos);
  EXPECT_EQ(html.find("http-equiv=\"refresh\""), std::string::npos);
  EXPECT_NE(whole_page().html(7).find("<meta http-equiv=\"refresh\" content=\"7\">"),
            std::string::npos);
}

// No address but the page's own parts, and names that are none of addresses.
TEST(Pages, LoadNothing) {
  const std::string html = whole_page().html({});
  const std::regex address(R"re((href|src|url|action|@import|import)\s*[=(]\s*"?([^"\s>)]*))re");
  for (auto it = std::sregex_iterator(html.begin(), html.end(), address);
       it != std::sregex_iterator(); ++it) {
    const std::string to = (*it)[2];
    EXPECT_TRUE(to.starts_with("#") || to.starts_with("data:")) << (*it)[0].str();
  }
  EXPECT_EQ(html.find("https:"), std::string::npos);
  EXPECT_NE(html.find("default-src 'none'"), std::string::npos);
  EXPECT_NE(html.find("prefers-color-scheme:dark"), std::string::npos);
  EXPECT_NE(html.find("@media print"), std::string::npos);
  EXPECT_NE(html.find("width=device-width"), std::string::npos);
}

TEST(Pages, HeadingsAreInOrder) {
  Page page("t");
  EXPECT_THROW(page.heading(3, "x"), LogicError);
  page.heading(2, "x");
  page.heading(3, "x");
  EXPECT_THROW(page.heading(5, "x"), LogicError);
}

}  // namespace
}  // namespace elastron::report
