// Text to token ids and back, from a model folder's tokenizer.json (Hugging Face tokenizers
// format).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_range.h"

namespace elastron::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // The template's special tokens (post_processor) are not added; added tokens that stand in the
  // text are recognised, as by the reference with add_special_tokens=False. What is not UTF-8 in
  // `text` counts as U+FFFD, as Python decodes with errors="replace". Thread-safe. Throws
  // InputError for text that the tokenizer cannot handle (a split pattern that takes for ever).
  std::vector<int32_t> encode(std::string_view text) const { return encode(text, {}); }
  // The same, except that control tokens (added tokens that tokenizer.json calls special) are text
  // like any other where they reach into one of `plain`, as by the reference with
  // split_special_tokens=True. The ranges ascend and do not overlap.
  virtual std::vector<int32_t> encode(std::string_view text,
                                      std::span<const TextRange> plain) const = 0;
  // The control tokens that encode(text) finds, in order.
  virtual std::vector<int32_t> controls_in(std::string_view text) const = 0;
  virtual bool is_control(int32_t id) const = 0;
  // Special tokens are kept. Always UTF-8: bytes that are not become U+FFFD. An id outside
  // [0, vocab_size) is an InputError.
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  virtual int64_t vocab_size() const = 0;  // largest id + 1; no id below is free
  virtual std::optional<int32_t> id(std::string_view token) const = 0;
};

// Reads `<folder>/tokenizer.json`, at most 64 MiB. Throws InputError naming the file and what is
// wrong or not supported. Supported (docs/tokenizers.md): byte-level BPE as Qwen, Llama-3, Mistral
// Nemo and GPT have it; BPE of characters with a byte fallback; WordLevel with the pre-tokenizer
// Whitespace or WhitespaceSplit; added tokens that match literally.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder);
// The same from text; `where` names it in messages.
std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view json, const std::string& where);

}  // namespace elastron::data
