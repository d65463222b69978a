#include "data/tokenizer/byte_level_bpe.h"

#include <array>
#include <span>

#include "core/config/problems.h"
#include "core/error.h"
#include "core/utf8.h"
#include "data/tokenizer/byte_level.h"
#include "data/tokenizer/token_table.h"

namespace elastron::data {

namespace {

// Each id decodes to the bytes of its characters or, with one outside the alphabet, to its text.
TokenBytes decoded(const Vocabulary& vocabulary) {
  TokenBytes bytes;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string& token = vocabulary.token(id);
    bytes.append(token_bytes(token).value_or(token));
  }
  return bytes;
}

std::array<int32_t, 256> byte_ids(const ByteLevelBpe& parts, const std::string& where) {
  std::array<int32_t, 256> ids{};
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string& character = byte_characters()[byte];
    const auto id = parts.vocabulary.id(character);
    if ((!id || *id >= parts.model_tokens) && !is_in_utf8(uint8_t(byte))) {
      ids[byte] = -1;  // what is encoded is UTF-8
      continue;
    }
    if (!id || *id >= parts.model_tokens) {
      throw InputError("byte " + std::to_string(byte) + " has no token: 'model.vocab' lacks " +
                           config::in_quotes(character),
                       where, "give the tokenizer.json of a byte-level model");
    }
    ids[byte] = *id;
  }
  return ids;
}

class ByteLevelBpeTokenizer final : public Tokenizer {
 public:
  ByteLevelBpeTokenizer(ByteLevelBpe parts, const std::array<int32_t, 256>& ids_of_bytes)
      : vocabulary_(std::move(parts.vocabulary)),
        added_(std::move(parts.added)),
        splits_(std::move(parts.splits)),
        bytes_(decoded(vocabulary_)),
        ids_of_bytes_(ids_of_bytes),
        merges_(parts.merges),
        whole_(bytes_, size_t(parts.model_tokens)) {
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < parts.model_tokens; ++id) {
      // A control token is never made of text: where it is meant it was found before.
      if (!token_bytes(vocabulary_.token(id)) || added_.is_control(id)) continue;
      if (!parts.ignore_merges) {
        ids.clear();
        merge(bytes_[id], ids);
        if (ids.size() != 1 || ids[0] != id) continue;
      }
      whole_.insert(id);
    }
  }

  using Tokenizer::encode;
  std::vector<int32_t> encode(std::string_view text,
                              std::span<const TextRange> plain) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 4 + 4);
    added_.split(text, plain, [&](const AddedTokenSplitter::Part& part) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        encode_from_step(0, part.text, ids);
      }
    });
    return ids;
  }
  std::vector<int32_t> controls_in(std::string_view text) const override {
    return added_.controls_in(text);
  }
  bool is_control(int32_t id) const override { return added_.is_control(id); }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string bytes, replaced;
    for (size_t i = 0; i < ids.size(); ++i) bytes += bytes_[vocabulary_.checked(ids, i)];
    return std::string(replace_invalid_utf8(bytes, replaced));
  }
  int64_t vocab_size() const override { return vocabulary_.size(); }
  std::optional<int32_t> id(std::string_view token) const override { return vocabulary_.id(token); }

 private:
  void encode_from_step(size_t step, std::string_view text, std::vector<int32_t>& ids) const {
    if (text.empty()) return;
    if (step == splits_.size()) return encode_word(text, ids);
    split_in_pieces(splits_[step], text,
                    [&](std::string_view piece) { encode_from_step(step + 1, piece, ids); });
  }
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const {
    if (const int32_t id = whole_.find(word); id != TokenIndex::kNone) {
      ids.push_back(id);
    } else {
      merge(word, ids);
    }
  }
  void merge(std::string_view word, std::vector<int32_t>& ids) const {
    std::array<int32_t, 64> few;  // almost all words
    std::vector<int32_t> many(word.size() > few.size() ? word.size() : 0);
    const std::span<int32_t> tokens(many.empty() ? few.data() : many.data(), word.size());
    for (size_t i = 0; i < word.size(); ++i) tokens[i] = ids_of_bytes_[uint8_t(word[i])];
    merges_.apply(tokens, ids);
  }

  Vocabulary vocabulary_;
  AddedTokens added_;
  std::vector<SplitStep> splits_;
  TokenBytes bytes_;
  std::array<int32_t, 256> ids_of_bytes_;
  Merges merges_;
  TokenIndex whole_;  // pieces that become one token: most words do
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_level_bpe(ByteLevelBpe parts, const std::string& where) {
  const auto ids = byte_ids(parts, where);
  return std::make_unique<ByteLevelBpeTokenizer>(std::move(parts), ids);
}

}  // namespace elastron::data
