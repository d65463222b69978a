#include "core/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace elastron {
namespace {

// What the definition says: the shortest encoding of each code point, and nothing else.
std::string encode(uint32_t c) {
  const auto byte = [](uint32_t b) { return char(uint8_t(b)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xC0 | c >> 6), byte(0x80 | (c & 63))};
  if (c < 0x10000) {
    return {byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
  }
  return {byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)),
          byte(0x80 | (c & 63))};
}

TEST(Utf8, EveryCodePoint) {
  for (uint32_t c = 0; c < 0x200000; ++c) {
    const bool scalar = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
    ASSERT_EQ(first_invalid_utf8(encode(c)).has_value(), !scalar) << std::hex << c;
    if (scalar) {
      ASSERT_EQ(in_utf8(c), encode(c)) << std::hex << c;
    }
  }
}

TEST(Utf8, OffsetOfTheFirstFault) {
  EXPECT_EQ(first_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(first_invalid_utf8("grüße \xF0\x9F\x98\x80"), std::nullopt);
  EXPECT_EQ(first_invalid_utf8("ab\x80"), 2u);
  EXPECT_EQ(first_invalid_utf8("ü\xFF"), 2u);
  EXPECT_EQ(first_invalid_utf8("\xC0\x80"), 0u);          // overlong NUL
  EXPECT_EQ(first_invalid_utf8("\xE0\x9F\xBF"), 0u);      // overlong
  EXPECT_EQ(first_invalid_utf8("\xF0\x8F\xBF\xBF"), 0u);  // overlong
  EXPECT_EQ(first_invalid_utf8("a\xE2\x82"), 1u);         // cut short
  EXPECT_EQ(first_invalid_utf8("\xE2(\x80"), 0u);
}

// What Python 3 gives for bytes.decode("utf-8", errors="replace").
TEST(Utf8, ReplacesMaximalPartsOfIllFormedSequences) {
  std::string storage;
  const auto replaced = [&](std::string_view text) {
    return std::string(replace_invalid_utf8(text, storage));
  };
  const std::string_view good = "gr\u00fc\u00dfe";
  EXPECT_EQ(replace_invalid_utf8(good, storage).data(), good.data());
  EXPECT_EQ(replaced("a\x80z"), "a\ufffdz");
  EXPECT_EQ(replaced("\xe2\x82"), "\ufffd");
  EXPECT_EQ(replaced("\xf0\x9f\x98x"), "\ufffdx");
  EXPECT_EQ(replaced("\xf0\x9f\x98\xf0\x9f\x98\x80"), "\ufffd\U0001f600");
  EXPECT_EQ(replaced("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");  // a surrogate
  EXPECT_EQ(replaced("\xc0\xaf\xf5\x80"), "\ufffd\ufffd\ufffd\ufffd");
  EXPECT_EQ(replaced("\xf4\x90\x80\x80"), "\ufffd\ufffd\ufffd\ufffd");  // above U+10FFFF
}

}  // namespace
}  // namespace elastron
