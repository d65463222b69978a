#include "benchmark/scores/letter_case.h"

#include <utf8proc.h>

#include <algorithm>
#include <span>

namespace elastron::benchmark {

namespace {

// First to last, inclusive.
struct Range {
  char32_t first, last;
};

// What the categories do not say, as tests/oracle/letter_case_tables.py prints it.
constexpr Range kOtherCased[] = {{0xaa, 0xaa},      {0xba, 0xba},       {0x2160, 0x217f},
                                 {0x24b6, 0x24e9},  {0x1f130, 0x1f149}, {0x1f150, 0x1f169},
                                 {0x1f170, 0x1f189}};
constexpr Range kOtherIgnorable[] = {
    {0x27, 0x27},     {0x2e, 0x2e},     {0x3a, 0x3a},     {0xb7, 0xb7},
    {0x387, 0x387},   {0x55f, 0x55f},   {0x5f4, 0x5f4},   {0x2018, 0x2019},
    {0x2024, 0x2024}, {0x2027, 0x2027}, {0xfe13, 0xfe13}, {0xfe52, 0xfe52},
    {0xfe55, 0xfe55}, {0xff07, 0xff07}, {0xff0e, 0xff0e}, {0xff1a, 0xff1a}};

bool is_in(std::span<const Range> ranges, char32_t c) {
  return std::ranges::any_of(ranges, [&](const Range& r) { return r.first <= c && c <= r.last; });
}

}  // namespace

bool is_cased(char32_t character) {
  switch (utf8proc_category(utf8proc_int32_t(character))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT: return true;
    default: return is_in(kOtherCased, character);
  }
}

bool is_case_ignorable(char32_t character) {
  switch (utf8proc_category(utf8proc_int32_t(character))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return is_in(kOtherIgnorable, character);
  }
}

}  // namespace elastron::benchmark
