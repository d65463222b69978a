// Continues one prompt token by token: what `generate` and generative judges run on. Several
// generations of one engine may take turns.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inference/scheduler.h"

namespace elastron::inference {

struct GenerationOptions {
  int64_t max_tokens = 128;
  Sampling sampling;
  bool ignore_eos = false;
  CacheOptions cache;
};

class Generation {
 public:
  // One or more prompt ids. `vocab_size`: ids below it may be generated; the model's vocabulary is
  // often padded beyond the tokenizer's. The engine must outlive this.
  Generation(Engine& engine, std::vector<int32_t> prompt, int64_t vocab_size,
             const GenerationOptions& options);

  // Collective over the tensor and the context group, on each rank of which the result is the same. -> the next
  // token; nothing once there are max_tokens, or where an end-of-sequence id would come. The first
  // call reads the prompt. Throws NumericalError where a logit is not a number.
  std::optional<int32_t> next();

  // next() until it ends. `beat` is called before each token. -> all that was generated.
  std::vector<int32_t> run(const std::function<void()>& beat);
  const std::vector<int32_t>& generated() const { return generated_; }

  // After the first next(): what was routed where and what the cache holds, over all ranks of
  // both. Collective.
  std::string report() const;

 private:
  Engine& engine_;
  std::unique_ptr<Scheduler> scheduler_;  // of this request alone
  bool ended_;
  std::vector<int32_t> generated_;
  std::shared_ptr<const PromptFigures> prompt_;
};

}  // namespace elastron::inference
