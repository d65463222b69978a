// What the reference knows of characters and the libraries here do not, or not yet.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

namespace elastron::data {

// First to last, inclusive.
struct CharacterRange {
  uint32_t first, last;
};

// Of one character in UTF-8.
uint32_t code_point(std::string_view character);

// The character that PCRE2 sees in the place of this one: of as many bytes, and of the category that
// the reference (Unicode 16) has for it. Empty where PCRE2's own tables, of Unicode 14 or later, do.
std::string_view known_character(uint32_t character);

// Characters that are replaced so, or stand for others.
std::span<const CharacterRange> involved_characters();

// What the pre-tokenizer "Punctuation" splits at: ASCII's, and Unicode's of an older version.
std::span<const CharacterRange> punctuation_characters();

}  // namespace elastron::data
