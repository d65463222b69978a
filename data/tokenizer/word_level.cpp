#include "data/tokenizer/word_level.h"

#include "core/error.h"
#include "data/tokenizer/split.h"

namespace elastron::data {

namespace {

std::vector<AddedToken> added_tokens(const Vocabulary& vocabulary,
                                     const std::vector<int32_t>& ids) {
  std::vector<AddedToken> tokens;
  for (const int32_t id : ids) tokens.push_back({vocabulary.token(id), id});
  return tokens;
}

class WordLevelTokenizer final : public Tokenizer {
 public:
  WordLevelTokenizer(Vocabulary vocabulary, const std::vector<int32_t>& added, int32_t unknown,
                     WordSplit split)
      : vocabulary_(std::move(vocabulary)),
        added_(added_tokens(vocabulary_, added)),
        unknown_(unknown),
        split_(split) {}

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const auto& part : added_.split(text)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      const auto pieces =
          split_ == WordSplit::words ? split_words(part.text) : split_whitespace(part.text);
      for (const std::string_view piece : pieces) ids.push_back(id(piece).value_or(unknown_));
    }
    return ids;
  }
  // Words with a space between, as the reference joins tokens when there is no decoder.
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] >= vocab_size()) {
        throw InputError("token id " + std::to_string(ids[i]), "position " + std::to_string(i),
                         "ids of this tokenizer are 0 to " + std::to_string(vocab_size() - 1));
      }
      if (i > 0) text += ' ';
      text += vocabulary_.token(ids[i]);
    }
    return text;
  }
  int64_t vocab_size() const override { return vocabulary_.size(); }
  std::optional<int32_t> id(std::string_view token) const override { return vocabulary_.id(token); }

 private:
  Vocabulary vocabulary_;
  AddedTokenSplitter added_;
  int32_t unknown_;
  WordSplit split_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_word_level(Vocabulary vocabulary, const std::vector<int32_t>& added,
                                           int32_t unknown, WordSplit split) {
  return std::make_unique<WordLevelTokenizer>(std::move(vocabulary), added, unknown, split);
}

}  // namespace elastron::data
