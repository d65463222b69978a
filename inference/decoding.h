// One token after another through an engine, behind a prompt whose keys and values are in a cache.
// What the device does is the same for every token but for the token's id and position, which are
// in its memory: a GPU is shown it once and does it again at the price of one launch. Tensor groups
// of several ranks do it step by step, as what their ranks wait for cannot be recorded.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/recorded_work.h"
#include "inference/engine.h"

namespace elastron::inference {

class Decoding {
 public:
  // Both must outlive it.
  Decoding(Engine& engine, HeadCache& cache);

  // Collective over the tensor group. The token `id` at `position`, the next one behind those in
  // the cache -> logits [vocab] of what follows it. `to_come`: how many more tokens there may be.
  // Throws LogicError where the cache has no room.
  std::vector<float> logits(int32_t id, int64_t position, int64_t to_come);

 private:
  void issue();

  Engine& engine_;
  HeadCache& cache_;
  Tensor token_and_position_;  // [2] int32
  Tensor logits_;              // [1, vocab] float32
  std::unique_ptr<RecordedWork> recorded_;
  bool tried_to_record_ = false;
};

}  // namespace elastron::inference
