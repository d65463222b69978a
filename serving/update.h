// What the engine tells of a request, as plain values: between ranks and threads.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "inference/request.h"

namespace elastron::serving {

// Of all ranks of the tensor group.
struct PromptReport {
  int64_t tokens = 0;
  std::vector<std::string> gates;  // a line per layer, a letter per kv head: F full, s sparse
  double msr = 0, esr_tiles = 0;   // docs/figures.md
  double cache_bytes = 0, full_cache_bytes = 0;
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
  bool refused = false;  // it could never be let in: the request's fault, not the engine's
};

void to_json(nlohmann::json& out, const Update& update);
void from_json(const nlohmann::json& in, Update& update);

}  // namespace elastron::serving
