// One token after another of several sequences through an engine, behind prompts whose keys and
// values are in caches. What the device does is the same for every token but for the tokens' ids
// and positions, and for the table of the caches, which are in its memory: a GPU is shown it once
// and does it again at the price of one launch. Tensor and context groups of several ranks do it step by
// step, as what their ranks wait for cannot be recorded.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/recorded_work.h"
#include "inference/engine.h"

namespace elastron::inference {

class Decoding {
 public:
  // Both must outlive it.
  Decoding(Engine& engine, CacheBatch& sequences);

  struct Next {
    int32_t id = 0, position = 0;  // of a slot that nobody has: 0
  };
  // Collective over the tensor and the context group. Of each slot a token, the next one behind those in its cache
  // -> logits [texts, vocab] of what follows them in the first `texts` slots, which hold until the
  // next call. `to_come`: how many more calls there may be. Throws LogicError beyond max_position.
  std::span<const float> logits(std::span<const Next> tokens, int64_t texts, int64_t to_come);

 private:
  void issue();

  Engine& engine_;
  CacheBatch& sequences_;
  Tensor ids_and_positions_;  // [2, slots] int32
  Tensor logits_;             // [slots, vocab] float32
  std::vector<float> on_host_;
  std::unique_ptr<RecordedWork> recorded_;
  int64_t recorded_rows_ = 0;  // CacheBatch::most_rows() then; 0: it was not tried
};

}  // namespace elastron::inference
