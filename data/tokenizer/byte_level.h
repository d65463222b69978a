// The alphabet of byte-level tokenizers: tokenizer.json writes each byte as one printable character
// (GPT-2: printable Latin-1 as itself, the other 68 bytes as U+0100 and up).
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace elastron::data {

// The character of each byte, in UTF-8.
const std::array<std::string, 256>& byte_characters();

// Whether UTF-8 has this byte anywhere.
bool is_in_utf8(uint8_t byte);

// The bytes a token stands for, or nothing when it has a character outside the alphabet.
std::optional<std::string> token_bytes(std::string_view token);

}  // namespace elastron::data
