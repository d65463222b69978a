// Continues a prompt token by token, with keys and values of the tokens so far: what `generate` and
// generative judges run on.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "launch/inference.h"
#include "launch/next_token.h"
#include "model/kv_cache.h"

namespace elastron::launch {

struct GenerationOptions {
  int64_t max_tokens = 128;
  Sampling sampling;
  bool ignore_eos = false;
  std::string decode = "sparse";  // what streaming heads see: sink and local window; full: all keys
  std::string window = "block";   // the local window in whole blocks; token: in tokens exactly
};

class Generation {
 public:
  // One or more prompt ids. `vocab_size`: ids below it may be generated; the model's vocabulary is
  // often padded beyond the tokenizer's. The inference must outlive this.
  Generation(Inference& inference, std::vector<int32_t> prompt, int64_t vocab_size,
             const GenerationOptions& options);

  // Collective over the tensor group, on each rank of which the result is the same. To be called
  // once. -> what was generated, without the end-of-sequence id that ended it. `beat` is called
  // before each token. Throws NumericalError where a logit is not a number.
  std::vector<int32_t> run(const std::function<void()>& beat);

  // After run(): what was routed where and what the cache holds, over all ranks of the tensor
  // group. Collective.
  std::string report() const;

 private:
  // -> hidden state of the last prompt token.
  Tensor prefill();

  Inference& inference_;
  std::vector<int32_t> prompt_;
  size_t vocab_size_;
  GenerationOptions options_;
  model::KvCache cache_;
  model::RoutedHeads heads_;
};

}  // namespace elastron::launch
