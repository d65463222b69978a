// Answers of /v1/completions, /v1/chat/completions and /generate: whole, or as chunks while they come.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serving/api_request.h"
#include "serving/update.h"

namespace elastron::serving {

class ApiAnswer {
 public:
  // Both must outlive it. `id` and `created` (seconds since 1970) name the answer.
  ApiAnswer(const ApiRequest& request, const ServedModel& model, std::string id, int64_t created);

  // Takes an update of a choice. -> what a stream sends of it; nothing without `stream`. Throws ApiError
  // where the choice failed.
  std::vector<nlohmann::json> take(size_t choice, const Update& update);
  bool finished() const { return open_ == 0; }
  // All of it, once finished().
  nlohmann::json whole() const;
  // The last chunks of a stream, behind the choices'.
  std::vector<nlohmann::json> last_chunks() const;

  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t generated_tokens() const { return generated_tokens_; }

 private:
  struct Choice {
    std::string text;
    std::vector<inference::ScoredToken> scored;
    std::string finish;
    nlohmann::json own;  // the `elastron` object
    size_t offset = 0;   // characters of the text so far, for text_offset
    bool begun = false;
  };

  nlohmann::json head(const char* object) const;
  nlohmann::json usage() const;
  nlohmann::json token(const inference::ScoredToken& t) const;
  nlohmann::json logprobs(std::span<const inference::ScoredToken> tokens, size_t& offset) const;
  nlohmann::json choice_json(size_t index, const std::string& text, const nlohmann::json& scored,
                             const nlohmann::json& finish, bool chunk, bool first) const;
  bool wants_logprobs() const;

  const ApiRequest& request_;
  const ServedModel& model_;
  std::string id_;
  int64_t created_;
  std::vector<Choice> choices_;
  size_t open_;
  int64_t prompt_tokens_ = 0, kept_tokens_ = 0, generated_tokens_ = 0;
};

}  // namespace elastron::serving
