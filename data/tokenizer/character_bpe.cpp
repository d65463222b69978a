#include "data/tokenizer/character_bpe.h"

#include <fmt/format.h>

#include <array>

#include "core/error.h"
#include "core/utf8.h"
#include "data/tokenizer/byte_level.h"

namespace elastron::data {

namespace {

constexpr std::string_view kBlank = "\u2581";

std::string with_visible_blanks(std::string_view text) {
  std::string visible;
  for (const char c : text) {
    if (c == ' ') {
      visible += kBlank;
    } else {
      visible += c;
    }
  }
  return visible;
}

std::string with_blanks(std::string_view token) {
  std::string text;
  for (size_t at = 0; at < token.size();) {
    const bool blank = token.substr(at).starts_with(kBlank);
    text += blank ? ' ' : token[at];
    at += blank ? kBlank.size() : 1;
  }
  return text;
}

// The byte of a token "<0xXX>", or -1: the reference takes six characters with hexadecimal digits,
// large or small, or a sign and one, within.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  const int high = token[3] == '+' ? 0 : digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

class CharacterBpeTokenizer final : public Tokenizer {
 public:
  CharacterBpeTokenizer(CharacterBpe parts, const std::array<int32_t, 256>& ids_of_bytes)
      : vocabulary_(std::move(parts.vocabulary)),
        model_tokens_(parts.model_tokens),
        added_(std::move(parts.added)),
        ids_of_bytes_(ids_of_bytes),
        merges_(parts.merges),
        blank_in_front_(parts.blank_in_front),
        strips_blank_(parts.strips_blank) {}

  using Tokenizer::encode;
  std::vector<int32_t> encode(std::string_view text,
                              std::span<const TextRange> plain) const override {
    std::vector<int32_t> ids;
    bool first = true;
    added_.split(text, plain, [&](const AddedTokenSplitter::Part& part) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        merges_.apply(characters(marked(part.text, first)), ids);
      }
      first = false;
    });
    return ids;
  }
  std::vector<int32_t> controls_in(std::string_view text) const override {
    return added_.controls_in(text);
  }
  bool is_control(int32_t id) const override { return added_.is_control(id); }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text, bytes;
    const auto flush = [&] {
      if (first_invalid_utf8(bytes)) {  // then each byte, not each part, is one
        for (size_t i = 0; i < bytes.size(); ++i) text += "\ufffd";
      } else {
        text += bytes;
      }
      bytes.clear();
    };
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::string token = with_blanks(vocabulary_.token(vocabulary_.checked(ids, i)));
      if (const int byte = byte_of(token); byte >= 0) {
        bytes += char(byte);
      } else {
        flush();
        text += token;
      }
    }
    flush();
    if (strips_blank_ && text.starts_with(' ')) text.erase(0, 1);
    return text;
  }
  int64_t vocab_size() const override { return vocabulary_.size(); }
  std::optional<int32_t> id(std::string_view token) const override { return vocabulary_.id(token); }

 private:
  std::string marked(std::string_view text, bool first) const {
    std::string visible = with_visible_blanks(text);
    const bool has_blank = visible.starts_with(kBlank);
    const bool wanted = blank_in_front_ == BlankInFront::of_all ||
                        (blank_in_front_ == BlankInFront::of_all_without && !has_blank) ||
                        (blank_in_front_ == BlankInFront::of_first_without && first && !has_blank);
    return wanted ? std::string(kBlank) + visible : visible;
  }
  std::vector<int32_t> characters(std::string_view text) const {
    std::vector<int32_t> tokens;
    tokens.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      size_t end = at + 1;
      while (end < text.size() && (uint8_t(text[end]) & 0xc0) == 0x80) ++end;
      const auto id = vocabulary_.id(text.substr(at, end - at));
      if (id && *id < model_tokens_) {
        tokens.push_back(*id);
        at = end;
      }
      for (; at < end; ++at) tokens.push_back(ids_of_bytes_[uint8_t(text[at])]);
    }
    return tokens;
  }

  Vocabulary vocabulary_;
  int32_t model_tokens_;
  AddedTokens added_;
  std::array<int32_t, 256> ids_of_bytes_;
  Merges merges_;
  BlankInFront blank_in_front_;
  bool strips_blank_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_character_bpe(CharacterBpe parts, const std::string& where) {
  std::array<int32_t, 256> ids{};
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string token = fmt::format("<0x{:02X}>", byte);
    const auto id = parts.vocabulary.id(token);
    ids[byte] = id && *id < parts.model_tokens ? *id : -1;
    if (ids[byte] < 0 && is_in_utf8(uint8_t(byte))) {
      throw InputError(
          "byte " + std::to_string(byte) + " has no token: 'model.vocab' lacks '" + token + "'",
          where, "give the tokenizer.json of a model with a byte fallback");
    }
  }
  return std::make_unique<CharacterBpeTokenizer>(std::move(parts), ids);
}

}  // namespace elastron::data
