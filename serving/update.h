// What the engine tells of a request, as plain values: between ranks and threads.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "inference/prompt_summary.h"
#include "inference/request.h"

namespace elastron::serving {

struct PromptReport {
  int64_t tokens = 0;
  int64_t kept_tokens = 0;  // of them, those of a prefix that was there
  inference::PromptSummary summary;
  std::vector<inference::ScoredToken> scored;
};

struct Update {
  int64_t number = 0;                  // of the request, as RequestQueue counts
  std::optional<PromptReport> prompt;  // with the first
  std::optional<inference::ScoredToken> token;
  std::string text;
  std::optional<inference::Finish> finish;    // with the last
  std::optional<inference::ScoredToken> end;  // the id that ended the text, if one did
  std::string error;                          // why it failed
  bool refused = false;    // it could never be let in: the request's fault, not the engine's
  bool no_memory = false;  // the device had none for it, as it stood
};

void to_json(nlohmann::json& out, const Update& update);
void from_json(const nlohmann::json& in, Update& update);

}  // namespace elastron::serving
