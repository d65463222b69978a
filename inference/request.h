// What is asked of an engine, and what comes of it.
#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inference/sampling.h"

namespace elastron::inference {

struct Request {
  std::vector<int32_t> prompt;  // one id or more, of the model
  // So many of its first tokens, fewer than all, are shared with other requests: they are routed by
  // themselves, and what comes behind is read with their gates (inference/prefix_store.h).
  int64_t prefix_tokens = 0;
  int64_t max_tokens = 128;  // 0: only the prompt is read
  Sampling sampling;
  bool ignore_eos = false;
  int64_t min_tokens = 0;           // before so many there is no end by an id
  std::vector<int32_t> stop_ids;    // end the text beside the model's own, and are no part of it
  std::vector<std::string> stops;   // likewise, in the text; SchedulerOptions::tokenizer is needed
  bool skip_controls = false;       // the text is without control tokens
  std::optional<int> top_logprobs;  // of each token: its log-probability and the n likeliest
  bool prompt_logprobs = false;     // of the prompt's tokens too; with top_logprobs
};

// A token with what the model thought of it: natural logarithms of the softmax over all of the
// model's vocabulary, before temperature and the other rules.
struct ScoredToken {
  int32_t id = 0;
  std::optional<double> logprob;  // if asked for; of a prompt's first token nobody knows it
  // The likeliest of those that may be generated, the first of equals first.
  std::vector<std::pair<int32_t, double>> top;
};

// What reading the prompt came to, on this rank.
struct PromptFigures {
  int64_t tokens = 0;
  std::vector<std::vector<uint8_t>> gates;  // [layers][kv heads of this rank], 1 = full attention
  // Tiles of these heads: seen in this rank's rows, which may be some of the prompt's, and seen by full
  // attention to all of it.
  double visited = 0, dense = 0;
  // Of the kv heads that this rank caches, and how many ranks of its context group cache the same.
  int64_t cache_bytes = 0, full_cache_bytes = 0, cache_copies = 1;
  std::vector<ScoredToken> scored;  // Request::prompt_logprobs
  // Of a prompt with a prefix all but the tokens are the prefix's, and the cache's bytes the whole's.
  int64_t prefix_tokens_kept = 0;  // of the prefix, where it did not have to be read
};

enum class Finish : uint8_t {
  length,  // max_tokens, or the model's last position
  stop,    // an end of texts: an id, or a string that the text has come to
  failed,  // Event::error
};

// What a step brought to one request.
struct Event {
  int64_t request = 0;
  std::shared_ptr<const PromptFigures> prompt;  // with the first event
  std::optional<ScoredToken> token;
  // With a tokenizer: text that is sure to come next, UTF-8. The events' texts together are what the
  // tokenizer makes of all tokens (Request::skip_controls), up to the first stop string.
  std::string text;
  std::optional<Finish> finish;  // with the last event
  // The id that ended the text, where one did: no part of it.
  std::optional<ScoredToken> end;
  // Of this request alone, the others go on: a NumericalError, or a UsageError where the device had
  // no memory for it.
  std::exception_ptr error;
};

}  // namespace elastron::inference
