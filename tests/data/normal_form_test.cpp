// NFC and NFKC against utf8proc's, which does whole strings another way and by newer tables.
#include "data/tokenizer/normal_form.h"

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

std::string expected(const std::string& text, NormalForm form = NormalForm::nfc) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.c_str());
  utf8proc_uint8_t* composed = form == NormalForm::nfc ? utf8proc_NFC(bytes) : utf8proc_NFKC(bytes);
  std::string result = reinterpret_cast<const char*>(composed);
  std::free(composed);
  return result;
}

std::string in_form(NormalForm form, const std::string& text) {
  std::string storage = "left from before";
  return std::string(normalize(form, text, storage));
}
std::string nfc(const std::string& text) { return in_form(NormalForm::nfc, text); }

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
  EXPECT_EQ(normalize(NormalForm::nfc, same, storage).data(), same.data());
  EXPECT_EQ(normalize(NormalForm::nfkc, same, storage).data(), same.data());
  const std::string_view other = "e\u0301";
  EXPECT_EQ(normalize(NormalForm::none, other, storage).data(), other.data());
}

// Characters whose compatible decomposition is newer than the reference's tables.
bool is_newer_compatible(int32_t c) {
  return c == 0x32ff || (c >= 0xa7f1 && c <= 0xa7f4) || c == 0xab69 ||
         (c >= 0x10781 && c <= 0x107ba) || (c >= 0x1ccd6 && c <= 0x1ccf9) ||
         (c >= 0x1e030 && c <= 0x1e06d) || c == 0x1f16c || (c >= 0x1fbf0 && c <= 0x1fbf9);
}

TEST(Nfkc, EveryCodePoint) {
  for (int32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const std::string text = "a" + utf8(c) + "e";
    ASSERT_EQ(in_form(NormalForm::nfkc, text),
              is_newer_compatible(c) ? text : expected(text, NormalForm::nfkc))
        << std::hex << c;
  }
}

TEST(Nfkc, RandomSequences) {
  const std::vector<int32_t> pool = {
      'a',    'e',    ' ',    0xa0,   0xa8,   0xb2,   0xb4,   0xbd,   0xe9,   0x132,   0x17f,
      0x301,  0x308,  0x323,  0x327,  0x345,  0x37a,  0x3d2,  0x2002, 0x2057, 0x2126,  0x2460,
      0x3000, 0x3099, 0x304b, 0x3131, 0x314f, 0x1100, 0x1161, 0x11a8, 0xac00, 0x3164,  0xffa0,
      0xff76, 0xff9e, 0xff9f, 0xffc2, 0xffa1, 0xfb01, 0xfb2a, 0xfdfa, 0xfe70, 0x1d400, 0x1f100};
  RandomStream random(6, RandomPurpose::test);
  for (int i = 0; i < 200000; ++i) {
    std::string text;
    for (uint32_t length = 1 + random.next_below(9); length > 0; --length) {
      text += utf8(pool[random.next_below(uint32_t(pool.size()))]);
    }
    ASSERT_EQ(in_form(NormalForm::nfkc, text), expected(text, NormalForm::nfkc)) << text;
  }
}

}  // namespace
}  // namespace elastron::data
