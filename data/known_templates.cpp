#include "data/known_templates.h"

#include <algorithm>
#include <iterator>

#include "core/file/checksum.h"

namespace elastron::data {

namespace {

using enum ChatTemplateSetting;

// tests/oracle/check_chat_templates.py compares the rendering of a text with the program's, and
// prints its hash.
constexpr KnownTemplate kTemplates[] = {
    {"0fab82ce8f4d5175c9e0155c80737cf2", "Qwen3's", qwen3},
    {"4457e3d12b367a860283f874ff58d644", "Qwen3's of April 2025", qwen3},
    {"cc9ddd5a40bc1c0c8fb5d937b1e8f5d0", "Qwen3-2507 Instruct's", qwen3_instruct},
    {"cb53a145cfc5e326bdee364f122d2352", "Qwen3-2507 Thinking's", qwen3_thinking},
    {"e392aa06018503fd2469c9508f79506e", "Qwen2.5's", qwen2_5},
    {"9ddcd6cd71f96dd76ca7779b7730196a", "Llama-3.1's and Llama-3.3's", llama3},
    {"1d00a25afd7f3cd8c006d3afa5e25a9a", "Llama-3.1's without built-in tools", llama3},
    {"573e1bcc8c56f178c3d57e38f5ff0756", "Llama-3.2's", llama3},
    {"09facc0e4aa943189799ad6e2dea0594", "Llama-3's", llama3_0},
    {"df3ebcd92fa9a63fc6614466504d495b", "Mistral-7B-Instruct-v0.3's", mistral_v3},
    {"638e5c8b05f6278ccae647ce0048756b", "Mistral-Nemo-Instruct-2407's", mistral_nemo},
    {"b59c4fde1d06da0055b25ceb4910aa64", "the DeepSeek-R1 distills'", deepseek_r1},
    {"ba826724af56e537759e4eeeb1ec9b77", "the DeepSeek-R1 distills' of January 2025",
     deepseek_r1_2501},
    {"a47abe7ce632ea1b81aa0a9f3b5fe3a7", "TRL's for training Qwen3", qwen3_training},
    {"09f130b679e44769eba1cc9964ccd1cc", "TRL's for training Qwen3, 1.1 to 1.8",
     qwen3_training_0_26},
    {"8f7084bceb0dc8f8708c2ce124e162ec", "TRL's for training Qwen3, 0.26 to 1.0",
     qwen3_training_0_26},
    {"650a224c70ea8e2795236ee761b6c691", "TRL's for training Qwen3-2507 Instruct", qwen3_instruct},
    {"bf4790988fe77f85e44712543961e79d", "TRL's for training Qwen2.5", qwen2_5},
    {"532eb21cf48abd2694713d122b6c7113", "TRL's for training Llama-3", llama3_0},
    {"e719fd51df3f25d85a5ba5a51f426c11", "TRL's for training Mistral", mistral_v3},
    {"32b828e5c4fd76656ab7f362eb165b94", "TRL's for training DeepSeek-R1 distills",
     deepseek_r1_training},
    {"e83000dd638f8c39d63c0ab8ac046a45", "Qwen2.5-VL's", none},
    {"02106194b02d7f3ba6c9c2c4e7ca9522", "Qwen3-VL's", none},
    {"427b80bb3dda26b10ed0a1d8b9d7e0be", "Qwen3.5's", none},
    {"b20ce3c106c0a721ea7113e61d9a8bcf", "Qwen3.5's without thinking", none},
    {"572380022568fa7b579b2c2e5ecdae85", "Qwen3.6's", none},
    {"59e852f715f77598df8ea8c96e21d4e6", "Mistral-Small-3.2's", none},
    {"958668b6e11b0a58866eca17d07a60f0", "Ministral-3 Reasoning's", none},
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
