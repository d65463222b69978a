#include "inference/decoding.h"

#include "core/error.h"
#include "ops/elementwise.h"

namespace elastron::inference {

namespace {

// Recording costs about as much of the host's time as two tokens.
constexpr int64_t kWorthRecording = 8;

}  // namespace

Decoding::Decoding(Engine& engine, HeadCache& cache)
    : engine_(engine),
      cache_(cache),
      token_and_position_(Tensor::empty({2}, DType::i32, engine.device())),
      logits_(Tensor::empty({1, engine.model().vocab_size}, DType::f32, engine.device())) {}

std::vector<float> Decoding::logits(int32_t id, int64_t position, int64_t to_come) {
  ELASTRON_CHECK(position < cache_.max_tokens(), "more tokens than the cache has room for");
  ELASTRON_CHECK(position < engine_.max_position(), "beyond max_position");
  const int32_t now[] = {id, int32_t(position)};
  engine_.device().copy_from_host(token_and_position_.raw(), now, sizeof now);
  if (recorded_ != nullptr) {
    recorded_->run();
  } else if (!tried_to_record_ && to_come >= kWorthRecording &&
             engine_.mesh().tensor().size() == 1) {
    tried_to_record_ = true;
    recorded_ = record_work(engine_.device(), [this] { issue(); });
  } else {
    issue();
  }
  return logits_.to_vector<float>();
}

void Decoding::issue() {
  const Tensor hidden = engine_.decode(token_and_position_.slice(0, 0, 1),
                                       token_and_position_.slice(0, 1, 2), cache_);
  logits_.copy_from(ops::cast(engine_.logits(hidden), DType::f32));
}

}  // namespace elastron::inference
