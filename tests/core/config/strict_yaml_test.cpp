#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/config/node.h"
#include "core/error.h"

namespace elastron::config {
namespace {

std::string problems_of(const std::string& text) {
  Problems problems;
  parse_yaml(text, "x.yaml", problems);
  try {
    problems.raise();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

struct Refused {
  std::string text, message;
};

TEST(StrictYaml, RefusesWithLine) {
  const std::vector<Refused> table = {
      {"a: 1\na: 2\n", "duplicate key 'a' (x.yaml:2): remove one of them"},
      {"s:\n  a: 1\n  b: 2\n  'a': 3\n", "duplicate key 'a' (x.yaml:4)"},
      {"a: &name 1\n", "an anchor (&name) (x.yaml:1)"},
      {"a: 1\nb: *name\n", "(x.yaml:2)"},
      {"a: &n [1]\nb: *n\n", "an alias (*name) (x.yaml:2)"},
      {"a: &n [*n]\n", "an alias"},
      {"a: !!int 3\n", "a tag (!type) (x.yaml:1)"},
      {"a: !mine {b: 1}\n", "a tag"},
      {"<<: {a: 1}\n", "a merge key (<<) (x.yaml:1)"},
      {"a: 1\n---\nb: 2\n", "more than one YAML document"},
      {"- 1\n- 2\n", "not a list of keys (x.yaml:1)"},
      {"just text\n", "not a list of keys"},
      {"[1]: 2\n", "a list or map as a key"},
      {"? {a: 1}\n: 2\n", "a list or map as a key"},
      {"~: 1\n", "a key is missing"},
      {"a: [1, 2\n", "not valid YAML"},
      {"a: 1\n b: 2\n", "not valid YAML"},
      {"a: \"open\n", "a quote that is not closed (x.yaml:1)"},
      {"ü: 'it''s'\nb: 'open''\n", "a quote that is not closed (x.yaml:2)"},
      {"a: \"x\\\"\n", "a quote that is not closed"},
      {"a: ! x\n", "a tag (!type) (x.yaml:1)"},
      {"{a: 1} {b: 2}", "more than one YAML document"},
      {"a: [1] 2\n", "not valid YAML"},
      {"a: 1\n... junk\n", "more than one YAML document"},
      {"a: \x80\n", "not UTF-8 (x.yaml:1)"},
      {"a: 1\nb: \xED\xA0\x80\n", "not UTF-8 (x.yaml:2)"},
      {std::string("a: 1\nb: \0 2\n", 12), "a control character (x.yaml:2)"},
      {"a: 1\n\x04 b: 2\n", "a control character (x.yaml:2)"},
      {std::string(kMaxYamlBytes + 1, ' '), "more than 1 MiB"},
  };
  for (const Refused& r : table) {
    EXPECT_NE(problems_of(r.text).find(r.message), std::string::npos)
        << "for: " << r.text.substr(0, 60) << "\ngot: " << problems_of(r.text);
  }
}

TEST(StrictYaml, DepthLimit) {
  const auto nested = [](int depth) {
    return "a: " + std::string(size_t(depth - 1), '[') + std::string(size_t(depth - 1), ']');
  };
  EXPECT_EQ(problems_of(nested(kMaxYamlDepth)), "");
  EXPECT_NE(problems_of(nested(kMaxYamlDepth + 1)).find("nested deeper than 32"),
            std::string::npos);
  // Unclosed, so that the parser may stumble over something else first.
  EXPECT_NE(problems_of("a: " + std::string(500000, '[')), "");
  std::string blocks = "a:\n ";
  for (int i = 0; i < 100000; ++i) blocks += "- ";
  EXPECT_NE(problems_of(blocks + "x\n").find("nested deeper"), std::string::npos);
}

TEST(StrictYaml, AcceptsOrdinaryFiles) {
  Problems problems;
  const Node node =
      parse_yaml("# comment\n---\na: 1\nb: 'two'\nc:\n  - x\n  - {y: z}\nd:\n\"e f\": \"\\x41\"\n",
                 "x.yaml", problems);
  EXPECT_TRUE(problems.empty());
  ASSERT_EQ(node.entries.size(), 5u);
  EXPECT_EQ(node.entries[0].second.text, "1");
  EXPECT_FALSE(node.entries[0].second.quoted);
  EXPECT_TRUE(node.entries[1].second.quoted);
  EXPECT_EQ(node.entries[2].second.items.size(), 2u);
  EXPECT_EQ(node.entries[2].second.items[0].line, 6);
  EXPECT_EQ(node.entries[3].second.kind, Node::Kind::null);
  EXPECT_EQ(node.entries[3].second.line, 8);
  EXPECT_EQ(node.entries[4].first, "e f");
  EXPECT_EQ(node.entries[4].second.text, "A");
}

TEST(StrictYaml, EmptyIsAnEmptyMap) {
  for (const char* text : {"", "\n", "\xEF\xBB\xBF", "# only a comment\n", "---\n"}) {
    Problems problems;
    EXPECT_TRUE(parse_yaml(text, "x", problems).entries.empty());
    EXPECT_TRUE(problems.empty()) << text;
  }
}

TEST(StrictYaml, ByteOrderMarkAndLineEndings) {
  Problems problems;
  const Node node = parse_yaml("\xEF\xBB\xBFü: 'é'\r\nb: \"ü\"\r\n", "x", problems);
  EXPECT_TRUE(problems.empty());
  ASSERT_EQ(node.entries.size(), 2u);
  EXPECT_EQ(node.entries[0].first, "ü");
  EXPECT_EQ(node.entries[1].second.text, "ü");
  EXPECT_EQ(node.entries[1].second.line, 2);
}

TEST(StrictYaml, TextSurvives) {
  const std::vector<std::string> texts = {"",
                                          " ",
                                          "a",
                                          "null",
                                          "~",
                                          "Null",
                                          "true",
                                          "none",
                                          "auto",
                                          "-",
                                          "---",
                                          "...",
                                          "- a",
                                          "a: b",
                                          "a #b",
                                          "#",
                                          "'",
                                          "\"",
                                          "\\",
                                          "\\x41",
                                          "\n",
                                          "\t",
                                          "a\nb",
                                          "tab\there",
                                          "010",
                                          "1e3",
                                          ".5",
                                          "\x01\x04\x1f\x7f",
                                          "\xC2\x85",
                                          "\xE2\x80\xA8",
                                          "\xEF\xBB\xBF",
                                          "grüße",
                                          "\xF0\x9F\x98\x80",
                                          "[a]",
                                          "{a: b}",
                                          "&a",
                                          "*a",
                                          "!a",
                                          "%a",
                                          "@a",
                                          "`a",
                                          "|",
                                          ">",
                                          "?",
                                          ":",
                                          ",",
                                          "/a/b-c_d.e+f",
                                          std::string(5000, 'x'),
                                          std::string(2000, ' ')};
  for (const std::string& text : texts) {
    Problems problems;
    const Node node = parse_yaml("k: " + yaml_text(text) + "\n", "x", problems);
    ASSERT_TRUE(problems.empty()) << text;
    ASSERT_EQ(node.entries.size(), 1u) << text;
    EXPECT_EQ(node.entries[0].second.kind, Node::Kind::scalar) << text;
    EXPECT_EQ(node.entries[0].second.text, text);
  }
}

TEST(StrictYaml, OverrideValues) {
  const auto text_of = [](const std::string& value) {
    Problems problems;
    const Node node = parse_yaml_value(value, "--set", problems);
    return problems.empty() ? node.text : "refused";
  };
  EXPECT_EQ(text_of("5"), "5");
  EXPECT_EQ(text_of(" runs/x "), "runs/x");
  EXPECT_EQ(text_of("\"run #3\""), "run #3");
  EXPECT_EQ(text_of("run #3"), "refused");
  EXPECT_EQ(text_of("a\nb"), "refused");
  EXPECT_EQ(text_of("[1, 2"), "refused");
}

}  // namespace
}  // namespace elastron::config
