#include "data/tokenizer/byte_level.h"

namespace elastron::data {

namespace {

constexpr int kMoved = 68;                   // bytes written as U+0100 and up
constexpr int kCharacters = 0x100 + kMoved;  // all code points of the alphabet are below

bool is_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

struct Alphabet {
  std::array<int, 256> character_of{};     // byte -> code point
  std::array<int, kCharacters> byte_of{};  // code point -> byte, -1: none
  Alphabet() {
    byte_of.fill(-1);
    for (int byte = 0, moved = 0; byte < 256; ++byte) {
      character_of[size_t(byte)] = is_itself(byte) ? byte : 0x100 + moved++;
      byte_of[size_t(character_of[size_t(byte)])] = byte;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

const std::array<std::string, 256>& byte_characters() {
  static const auto characters = [] {
    std::array<std::string, 256> all;
    for (size_t byte = 0; byte < 256; ++byte) {
      const int c = alphabet().character_of[byte];
      if (c < 0x80) {
        all[byte] = {char(c)};
      } else {
        all[byte] = {char(0xc0 | (c >> 6)), char(0x80 | (c & 0x3f))};
      }
    }
    return all;
  }();
  return characters;
}

bool is_in_utf8(uint8_t byte) { return byte != 0xc0 && byte != 0xc1 && byte < 0xf5; }

std::optional<std::string> token_bytes(std::string_view token) {
  const Alphabet& letters = alphabet();
  std::string bytes;
  for (size_t at = 0; at < token.size(); ++at) {
    int c = uint8_t(token[at]);
    if (c >= 0x80) {
      // The alphabet has no character of three or more bytes.
      if (c < 0xc2 || c > 0xdf || at + 1 == token.size()) return {};
      c = ((c & 0x1f) << 6) | (uint8_t(token[++at]) & 0x3f);
    }
    if (c >= kCharacters || letters.byte_of[size_t(c)] < 0) return {};
    bytes += char(letters.byte_of[size_t(c)]);
  }
  return bytes;
}

}  // namespace elastron::data
