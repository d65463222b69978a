#include "core/json.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "tests/support/cpu_time.h"

namespace elastron {
namespace {

std::string error_of(std::string_view text, JsonLimits limits = {}) {
  try {
    parse_json_strict(text, "x.json", limits);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Json, ReadsWhatTheLibraryReads) {
  for (const char* text :
       {"null", "true", " 1 ", "-0.5e-3", "\"\\u00fc\\ud83d\\ude00\"", "[]", "{}",
        "[1, [2, {\"a\": [3, {}]}], \"x\"]", "{\"a\": {\"b\": 1}, \"c\": {\"b\": 2}}",
        "18446744073709551615", "-9223372036854775808", "\xEF\xBB\xBF{}"}) {
    EXPECT_EQ(parse_json_strict(text, "x"), nlohmann::json::parse(text)) << text;
  }
}

TEST(Json, RefusesWithPlace) {
  const struct {
    std::string text, message;
  } table[] = {
      {"", "unexpected end (x.json, line 1 byte 1)"},
      {"{\"a\": 1", "unexpected end"},
      {"{\"a\": 1,\n \"b\": 2,\n \"a\": 3}", "duplicate key \"a\" (x.json, line 3 byte 4)"},
      {"{\"a\": {\"b\": 1, \"b\": 2}}", "duplicate key \"b\""},
      {"{\"\\u0061\": 1, \"a\": 2}", "duplicate key \"a\""},
      {"{} {}", "not valid JSON (x.json, line 1 byte 4)"},
      {"[1, 2,]", "not valid JSON"},
      {"{'a': 1}", "not valid JSON (x.json, line 1 byte 2)"},
      {"[01]", "not valid JSON"},
      {"[NaN]", "NaN is no number of JSON (x.json, line 1 byte 2)"},
      {"[1e999]", "number too large"},
      {"[-1e999]", "number too large"},
      {"// x\n{}", "not valid JSON"},
      {"\"\x80\"", "not valid JSON"},
      {"\"\xED\xA0\x80\"", "not valid JSON"},
      {"\"\\ud800\"", "half a surrogate pair"},
      {"\"a\nb\"", "not valid JSON"},
      {std::string("{}\0{", 4), "NUL byte (x.json, line 1 byte 3)"},
  };
  for (const auto& row : table) {
    const std::string error = error_of(row.text);
    EXPECT_NE(error.find(row.message), std::string::npos) << row.text << "\ngot: " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

TEST(Json, DepthLimit) {
  const auto nested = [](int n) {
    return std::string(size_t(n), '[') + std::string(size_t(n), ']');
  };
  EXPECT_EQ(error_of(nested(3), {.max_depth = 3}), "");
  EXPECT_NE(
      error_of(nested(4), {.max_depth = 3}).find("nested deeper than 3 (x.json, line 1 byte 4"),
      std::string::npos);
  EXPECT_NE(error_of("{\"a\":{\"a\":{\"a\":{}}}}", {.max_depth = 3}), "");
}

// A header made to exhaust memory must be refused from its first bytes.
TEST(Json, HostileDepthIsCheap) {
  const std::string text(50'000'000, '[');
  const double begin = test::cpu_seconds();
  EXPECT_NE(error_of(text), "");
  EXPECT_LT(test::cpu_seconds() - begin, 0.5);
}

TEST(Json, SizeLimit) {
  EXPECT_EQ(error_of("[1]", {.max_bytes = 3}), "");
  EXPECT_NE(error_of("[12]", {.max_bytes = 3}).find("JSON of 4 bytes (x.json): at most 3"),
            std::string::npos);
}

// Same verdict and value as the library on mutated text, except where we are stricter.
TEST(Json, MutatedText) {
  const std::string original =
      R"({"__metadata__": {"format": "pt"}, "w.0": {"dtype": "F32", "shape": [2, 3],
      "data_offsets": [0, 24]}, "x": [true, false, null, -1.5e3, "\u00fc\n"]})";
  static constexpr std::string_view noise = "\"\\{}[],:0-9.eE+tfn \n\x01\x80";
  int accepted = 0;
  for (uint32_t i = 0; i < 20000; ++i) {
    RandomStream random(3, RandomPurpose::test, i);
    std::string text = original;
    for (uint32_t n = 1 + random.next_below(3); n > 0; --n) {
      const size_t at = random.next_below(uint32_t(text.size()));
      const char c = noise[random.next_below(uint32_t(noise.size()))];
      switch (random.next_below(3)) {
        case 0: text[at] = c; break;
        case 1: text.insert(at, 1, c); break;
        case 2: text.erase(at, 1 + random.next_below(8)); break;
      }
    }
    const nlohmann::json theirs = nlohmann::json::parse(text, nullptr, false);
    try {
      const nlohmann::json ours = parse_json_strict(text, "x");
      ASSERT_EQ(ours, theirs) << text;
      ++accepted;
    } catch (const InputError& error) {
      const std::string what = error.what();
      const bool stricter = what.find("duplicate key") != what.npos;
      ASSERT_TRUE(theirs.is_discarded() || stricter) << what << "\n" << text;
    }
  }
  EXPECT_GT(accepted, 500);
}

}  // namespace
}  // namespace elastron
