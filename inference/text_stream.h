// The text of tokens that come one after the other, as far as it is sure: bytes of a character that
// is not whole wait for the rest, and so does what may be the beginning of a stop string.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace elastron::inference {

class TextStream {
 public:
  // The tokenizer must outlive it. The text ends before the first place where one of `stops` is;
  // empty ones are none. `skip_controls`: it is that of the other tokens.
  TextStream(const data::Tokenizer& tokenizer, std::vector<std::string> stops,
             bool skip_controls = false);

  // -> the text that is sure now. Together these are what the tokenizer makes of all ids, up to a
  // stop string. (A tokenizer with a byte fallback takes back characters before bytes that are none;
  // what was given stays.) Not after stopped().
  std::string add(int32_t id);
  // No token comes any more. -> the rest of the text.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::string behind_before() const;
  std::string pass();

  const data::Tokenizer& tokenizer_;
  std::vector<std::string> stops_;
  bool skip_controls_;
  std::vector<int32_t> ids_;  // whose text is wanted, and before them some that say how it joins
  size_t before_ = 0;
  std::string held_;  // text that is not given yet
  bool stopped_ = false;
};

}  // namespace elastron::inference
