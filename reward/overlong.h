// Pairs that are longer than the model takes (docs/method.md, Generative judges and Over-long
// pairs). Never one side only: published trainers cut the responses off behind a long prompt and
// train on equal pairs.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace elastron::reward {

enum class Overlong : uint8_t {
  error,                   // names the row, its length and the limit
  drop_pair,               // counted; the default in training
  truncate_prompt_middle,  // both responses keep the same prompt
  truncate_middle,         // each whole sequence loses its middle; the default in evaluation
};

enum class DropReason : uint8_t { none, too_long, equal, not_rendered };
std::string drop_reason_text(DropReason reason);  // "longer than the limit", ...

struct PairIds {
  std::vector<int32_t> prompt;
  std::vector<int32_t> chosen;
  std::vector<std::vector<int32_t>> rejected;
};

// Prompt and response of each sequence, the chosen one first. `shared`: tokens at the beginning
// that are the same prompt in all of them.
struct FittedPair {
  std::vector<std::vector<int32_t>> sequences;
  int64_t shared = 0;
  std::vector<int64_t>
      response_tokens;  // at the end of each sequence: what is left of its response
  bool truncated = false;
  DropReason drop_reason = DropReason::none;
  bool dropped() const { return drop_reason != DropReason::none; }
};

// The rule of the published evaluator: a sequence of `limit` tokens or more keeps its first limit/2
// and its last limit/2 - 5. Shorter ones stay as they are.
std::vector<int32_t> without_middle(std::vector<int32_t> ids, int64_t limit);

// Sequences of at most `limit` tokens (under truncate_middle: of fewer than `limit`). A response
// that leaves no room for a prompt of 16 tokens, or pairs whose ids are equal, are dropped.
// `where` is for Overlong::error, which throws InputError.
FittedPair fit_pair(const PairIds& pair, int64_t limit, Overlong policy, const std::string& where);

// The sequences up to the token that a sequence classifier of the transformers library scores: the
// last one that is not `padding`, be that the end of the response or not; the first where all are.
// No score depends on what stands behind it.
FittedPair without_padding(FittedPair pair, int32_t padding);

}  // namespace elastron::reward
