// Bodies of /v1/completions, /v1/chat/completions and /generate as requests of the engine.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/chat_template.h"
#include "data/tokenizer.h"
#include "inference/request.h"

namespace elastron::serving {

// What is served; all of it outlives the server.
struct ServedModel {
  std::string name;
  const data::Tokenizer* tokenizer;
  const data::ChatTemplate* chat;  // kind() none: conversations are refused
  int64_t vocab_size;              // ids below it are the model's
  int64_t max_position;            // tokens of the longest sequence, prompt and text together
  std::vector<int32_t> leading;    // what its tokenizer puts before a text
};

enum class ApiKind : uint8_t { completion, chat, generate };

struct ApiRequest {
  ApiKind kind = ApiKind::completion;
  // Each is continued n times: choice i * n + j is the j-th of prompt i.
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::string> prompt_texts;  // for `echo`
  int64_t n = 1;
  bool stream = false, usage_chunk = false, echo = false, gates = false;
  bool chat_logprobs = false;
  // The beginning that all prompts have and share with other requests: tokens of it (Request::prefix_tokens).
  int64_t prefix_tokens = 0;
  // One per choice, with its prompt.
  std::vector<inference::Request> choices;
};

inline constexpr int64_t kMostChoices = 128, kMostTopLogprobs = 20;

// Throw ApiError: 400, or 404 for another model. What OpenAI's interface has and this server has not is
// refused unless it has its neutral value; what it does not have is refused, but for the sampling rules
// top_k, min_p, ignore_eos, min_tokens, stop_token_ids, skip_special_tokens and add_special_tokens, and
// `elastron`: {"gates": true}, and in it `prefix`, a text or ids that come before every prompt, or of a
// conversation `prefix_messages`, its first so many: what the request shares with others.
ApiRequest parse_completion(const nlohmann::json& body, const ServedModel& model);
ApiRequest parse_chat(const nlohmann::json& body, const ServedModel& model);
// vLLM's plain interface: one text as the prompt and its SamplingParams as fields. `prompt_before`: texts of the
// answer begin with the prompt.
ApiRequest parse_generate(const nlohmann::json& body, const ServedModel& model, bool prompt_before);

}  // namespace elastron::serving
