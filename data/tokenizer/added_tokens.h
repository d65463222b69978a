// Tokens that are found in the text before it is split.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/text_range.h"
#include "data/tokenizer/normal_form.h"

namespace elastron::data {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool control = false;  // "special" in tokenizer.json: not part of what people write
};

// Cuts text at added tokens: the leftmost match first, the longest of those that start there.
class AddedTokenSplitter {
 public:
  // A part of the text; id is that of an added token, or -1 for text between them.
  struct Part {
    std::string_view text;
    int32_t id = -1;
    bool control = false;
  };

  // Where several have the same content the first counts.
  explicit AddedTokenSplitter(std::vector<AddedToken> tokens);
  // Control tokens that reach into one of `plain` are not found. The ranges ascend and do not
  // overlap.
  std::vector<Part> split(std::string_view text, std::span<const TextRange> plain = {}) const;

 private:
  // The longest token at `text[at]` that may be found there, or null.
  const AddedToken* longest_at(std::string_view text, size_t at,
                               std::span<const TextRange> plain) const;

  std::vector<AddedToken> tokens_;  // by content
  // The tokens that begin with a byte: [first, last) of tokens_.
  std::array<std::pair<uint32_t, uint32_t>, 256> by_first_byte_{};
};

// The two rounds of the reference: tokens that do not ask to be normalized are found in the text as
// it is, and the others in what the normalizer makes of the text between those.
class AddedTokens {
 public:
  // `form`: the normalizer.
  AddedTokens(std::vector<AddedToken> as_written, std::vector<AddedToken> normalized,
              NormalForm form);

  // The parts of `text` in order, normalized. What is not UTF-8 counts as U+FFFD. A part's view
  // holds during its call only.
  void split(std::string_view text, std::span<const TextRange> plain,
             const std::function<void(const AddedTokenSplitter::Part&)>& on_part) const;
  // Ids of the control tokens that are found in `text`, in order.
  std::vector<int32_t> controls_in(std::string_view text) const;
  bool is_control(int32_t id) const;

 private:
  AddedTokenSplitter as_written_, normalized_;
  std::vector<int32_t> controls_;     // ascending
  bool normalized_controls_ = false;  // some of them ask to be normalized
  NormalForm form_;
};

}  // namespace elastron::data
