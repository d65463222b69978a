#include "data/tokenizer/word_level.h"

#include "data/tokenizer/split.h"

namespace elastron::data {

namespace {

class WordLevelTokenizer final : public Tokenizer {
 public:
  WordLevelTokenizer(Vocabulary vocabulary, AddedTokens added, int32_t unknown, WordSplit split)
      : vocabulary_(std::move(vocabulary)),
        added_(std::move(added)),
        unknown_(unknown),
        split_(split) {}

  using Tokenizer::encode;
  std::vector<int32_t> encode(std::string_view text,
                              std::span<const TextRange> plain) const override {
    std::vector<int32_t> ids;
    added_.split(text, plain, [&](const AddedTokenSplitter::Part& part) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        return;
      }
      const auto pieces =
          split_ == WordSplit::words ? split_words(part.text) : split_whitespace(part.text);
      for (const std::string_view piece : pieces) ids.push_back(plain_id(piece, !plain.empty()));
    });
    return ids;
  }
  std::vector<int32_t> controls_in(std::string_view text) const override {
    return added_.controls_in(text);
  }
  bool is_control(int32_t id) const override { return added_.is_control(id); }
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
  // A piece that is spelled like a control token and was not found as one is an unknown word.
  int32_t plain_id(std::string_view piece, bool some_plain) const {
    const auto found = id(piece);
    return found && !(some_plain && is_control(*found)) ? *found : unknown_;
  }

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
