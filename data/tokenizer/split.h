// How text is cut before a model sees it.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace elastron::data {

// Whether `character`, one code point in UTF-8, is Unicode White_Space.
bool is_white_space(std::string_view character);

// Pieces between Unicode White_Space ("WhitespaceSplit"). Views into `text`, which must be UTF-8.
std::vector<std::string_view> split_whitespace(std::string_view text);

// Matches of \w+|[^\w\s]+ ("Whitespace"), with \w as UTS 18 and the reference's regex library have
// it: Alphabetic, Mark, Decimal_Number, Connector_Punctuation, Join_Control.
std::vector<std::string_view> split_words(std::string_view text);

// A token that is found in the text before it is split.
struct AddedToken {
  std::string content;
  int32_t id = 0;
};

// Cuts text at added tokens: the leftmost match first, the longest of those that start there.
class AddedTokenSplitter {
 public:
  // A part of the text; id is that of an added token, or -1 for text between them.
  struct Part {
    std::string_view text;
    int32_t id = -1;
  };

  // Of several with the same content the first counts.
  explicit AddedTokenSplitter(std::vector<AddedToken> tokens);
  std::vector<Part> split(std::string_view text) const;

 private:
  // The longest token that `text` begins with, or null.
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // by content
  // The tokens that begin with a byte: [first, last) of tokens_.
  std::array<std::pair<uint32_t, uint32_t>, 256> by_first_byte_{};
};

// The two rounds of the reference: tokens that do not ask to be normalized are found in the text as
// it is, and the others in what the normalizer makes of the text between those.
struct AddedTokens {
  AddedTokenSplitter as_written, normalized;
};

}  // namespace elastron::data
