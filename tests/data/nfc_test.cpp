// NFC against utf8proc's, which does whole strings another way and by newer tables.
#include "data/tokenizer/nfc.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <vector>

#include "core/philox.h"

namespace elastron::data {
namespace {

std::string utf8(int32_t c) {
  utf8proc_uint8_t bytes[4];
  return {reinterpret_cast<const char*>(bytes), size_t(utf8proc_encode_char(c, bytes))};
}

std::string expected(const std::string& text) {
  utf8proc_uint8_t* composed =
      utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str()));
  std::string result = reinterpret_cast<const char*>(composed);
  std::free(composed);
  return result;
}

std::string nfc(const std::string& text) {
  std::string storage = "left from before";
  return std::string(to_nfc(text, storage));
}

TEST(Nfc, EveryCodePoint) {
  for (int32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const std::string text = "a" + utf8(c) + "e";
    ASSERT_EQ(nfc(text), expected(text)) << std::hex << c;
  }
}

TEST(Nfc, RandomSequences) {
  // Characters of Unicode 9 that compose, decompose, reorder or do nothing.
  const std::vector<int32_t> pool = {
      'a',    'e',    'q',    ' ',    0xe9,   0x1e63,  0x1e69,  0x212b,  0x300,   0x301,  0x302,
      0x307,  0x308,  0x323,  0x327,  0x331,  0x338,   0x344,   0x345,   0x5b0,   0x64b,  0x93c,
      0x915,  0x958,  0x9c7,  0x9be,  0xf40,  0xf71,   0xf72,   0xf73,   0xf74,   0xf75,  0xf80,
      0xf81,  0x1100, 0x1112, 0x1161, 0x1175, 0x11a8,  0xac00,  0xac01,  0x3099,  0x304b, 0x4e2d,
      0xf900, '<',    '=',    0x1ea5, 0x2adc, 0x1d15e, 0x2f800, 0x110a5, 0x110ba, 0x1f600};
  RandomStream random(5, RandomPurpose::test);
  for (int i = 0; i < 200000; ++i) {
    std::string text;
    for (uint32_t length = 1 + random.next_below(9); length > 0; --length) {
      text += utf8(pool[random.next_below(uint32_t(pool.size()))]);
    }
    ASSERT_EQ(nfc(text), expected(text)) << text;
  }
}

// The reference's tables end with Unicode 9: later marks do not reorder, U+11935 and U+11930 do not
// compose (into U+11938, Unicode 13).
TEST(Nfc, LeavesWhatIsNewer) {
  for (const char* text :
       {"q\u1df6\u0334", "q\u08d3\u0300", "\U00011935\U00011930", "\U00011938"}) {
    EXPECT_EQ(nfc(text), text);
  }
  EXPECT_EQ(nfc("q\u1df6e\u0301"), "q\u1df6\u00e9");
}

TEST(Nfc, CopiesOnlyWhatChanges) {
  std::string storage;
  const std::string_view same = "gr\u00fc\u00dfe \ud55c\uae00";
  EXPECT_EQ(to_nfc(same, storage).data(), same.data());
}

}  // namespace
}  // namespace elastron::data
