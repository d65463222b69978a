#include "data/known_templates.h"

#include <algorithm>
#include <iterator>

#include "core/file/checksum.h"

namespace elastron::data {

namespace {

using enum ChatTemplateSetting;

// Those with a renderer give its text on all conversations of tests/fixtures/chat;
// tests/oracle/check_chat_templates.py compares, and prints the hash of one that is to be added.
constexpr KnownTemplate kTemplates[] = {
    {"0fab82ce8f4d5175c9e0155c80737cf2", "Qwen3's", qwen3},
    {"4457e3d12b367a860283f874ff58d644", "Qwen3's of April 2025", qwen3},
    {"9ddcd6cd71f96dd76ca7779b7730196a", "Llama-3.1's and Llama-3.3's", llama3},
    {"1d00a25afd7f3cd8c006d3afa5e25a9a", "Llama-3.1's without built-in tools", llama3},
    {"cc9ddd5a40bc1c0c8fb5d937b1e8f5d0", "Qwen3-2507 Instruct's", none},
    {"e392aa06018503fd2469c9508f79506e", "Qwen2.5's", none},
    {"e83000dd638f8c39d63c0ab8ac046a45", "Qwen2.5-VL's", none},
    {"02106194b02d7f3ba6c9c2c4e7ca9522", "Qwen3-VL's", none},
    {"427b80bb3dda26b10ed0a1d8b9d7e0be", "Qwen3.5's", none},
    {"b20ce3c106c0a721ea7113e61d9a8bcf", "Qwen3.5's without thinking", none},
    {"09facc0e4aa943189799ad6e2dea0594", "Llama-3's", none},
    {"573e1bcc8c56f178c3d57e38f5ff0756", "Llama-3.2's, which asks the clock for the day", none},
    {"a47abe7ce632ea1b81aa0a9f3b5fe3a7", "TRL's for training Qwen3", none},
    {"650a224c70ea8e2795236ee761b6c691", "TRL's for training Qwen3-2507 Instruct", none},
    {"bf4790988fe77f85e44712543961e79d", "TRL's for training Qwen2.5", none},
    {"532eb21cf48abd2694713d122b6c7113", "TRL's for training Llama-3", none},
};

}  // namespace

std::string template_hash(std::string_view text) {
  std::string read;
  read.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    read += text[i] == '\r' ? '\n' : text[i];
  }
  if (read.ends_with('\n')) read.pop_back();
  return checksum(read);
}

const KnownTemplate* known_template(std::string_view text) {
  const auto found = std::ranges::find(kTemplates, template_hash(text), &KnownTemplate::hash);
  return found == std::end(kTemplates) ? nullptr : found;
}

}  // namespace elastron::data
