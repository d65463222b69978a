// Control tokens (<|im_end|> and the like) that are spelled out in text which is not ours: taken
// for what they spell, a text could end its own turn and begin another's.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"

namespace elastron::data {

// They become one of these (data.control_tokens); automatic: keep in training data, text in judged
// traces.
enum class ControlTokens : uint8_t { automatic, keep, text, error };

// Looks at one record's texts. Throws InputError naming the token and `where` where one is and the
// setting is `error`.
std::vector<int32_t> find_controls(const std::vector<std::string_view>& texts,
                                   const Tokenizer& tokenizer, ControlTokens setting,
                                   const std::string& where);

// Sums up many records.
struct ControlCount {
  int64_t tokens = 0, records = 0;
  std::string first;  // "'<|im_end|>' (file:3)"

  void add(const std::vector<int32_t>& found, const Tokenizer& tokenizer, const std::string& where);
  // The same where only their number is known.
  void add(int64_t found, const std::string& where);
  // One line for people; empty where there are none. `record`: "record", "row".
  std::string text(ControlTokens setting, std::string_view record) const;
};

}  // namespace elastron::data
