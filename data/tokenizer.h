// Text to token ids and back, from a model folder's tokenizer.json (Hugging Face tokenizers format).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // No special tokens are added. `text` must be UTF-8.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  virtual int64_t vocab_size() const = 0;  // largest id + 1
  virtual std::optional<int32_t> id(std::string_view token) const = 0;
};

// Reads `<folder>/tokenizer.json`. Throws InputError naming the file and what is wrong or not
// supported. Supported: model WordLevel with pre_tokenizer WhitespaceSplit.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder);
// The same from text; `where` names it in messages.
std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view json, const std::string& where);

}  // namespace elastron::data
