#include "data/tokenizer/word_level.h"

#include "core/utf8.h"

namespace elastron::data {

namespace {

class WordLevelTokenizer final : public Tokenizer {
 public:
  WordLevelTokenizer(Vocabulary vocabulary, AddedTokens added, int32_t unknown, WordSplit split)
      : vocabulary_(std::move(vocabulary)),
        added_(std::move(added)),
        unknown_(unknown),
        split_(split) {}

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    std::string replaced;
    for (const auto& outer : added_.as_written.split(replace_invalid_utf8(text, replaced))) {
      if (outer.id >= 0) {
        ids.push_back(outer.id);
        continue;
      }
      for (const auto& part : added_.normalized.split(outer.text)) {
        if (part.id >= 0) {
          ids.push_back(part.id);
          continue;
        }
        const auto pieces =
            split_ == WordSplit::words ? split_words(part.text) : split_whitespace(part.text);
        for (const std::string_view piece : pieces) ids.push_back(id(piece).value_or(unknown_));
      }
    }
    return ids;
  }
  // Words with a space between, as the reference joins tokens when there is no decoder.
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) text += ' ';
      text += vocabulary_.token(vocabulary_.checked(ids, i));
    }
    return text;
  }
  int64_t vocab_size() const override { return vocabulary_.size(); }
  std::optional<int32_t> id(std::string_view token) const override { return vocabulary_.id(token); }

 private:
  Vocabulary vocabulary_;
  AddedTokens added_;
  int32_t unknown_;
  WordSplit split_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_word_level(Vocabulary vocabulary, AddedTokens added,
                                           int32_t unknown, WordSplit split) {
  return std::make_unique<WordLevelTokenizer>(std::move(vocabulary), std::move(added), unknown,
                                              split);
}

}  // namespace elastron::data
