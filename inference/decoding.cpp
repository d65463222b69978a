#include "inference/decoding.h"

#include "core/error.h"
#include "ops/elementwise.h"

namespace elastron::inference {

namespace {

// Recording costs about as much of the host's time as two tokens.
constexpr int64_t kWorthRecording = 8;

}  // namespace

Decoding::Decoding(Engine& engine, CacheBatch& sequences)
    : engine_(engine),
      sequences_(sequences),
      ids_and_positions_(Tensor::empty({2, sequences.slots()}, DType::i32, engine.device())),
      logits_(Tensor::empty({sequences.slots(), engine.model().vocab_size}, DType::f32,
                            engine.device())) {}

std::span<const float> Decoding::logits(std::span<const Next> tokens, int64_t texts,
                                        int64_t to_come) {
  const int64_t slots = sequences_.slots();
  ELASTRON_CHECK(int64_t(tokens.size()) == slots && texts <= slots, "a token of each slot");
  std::vector<int32_t> now;
  for (const Next& token : tokens) now.push_back(token.id);
  for (const Next& token : tokens) {
    ELASTRON_CHECK(token.position < engine_.max_position(), "beyond max_position");
    now.push_back(token.position);
  }
  sequences_.send();
  engine_.device().copy_from_host(ids_and_positions_.raw(), now.data(),
                                  now.size() * sizeof(int32_t));
  if (recorded_rows_ != sequences_.most_rows()) {
    recorded_.reset();
    recorded_rows_ = 0;
  }
  if (recorded_ != nullptr) {
    recorded_->run();
  } else if (recorded_rows_ == 0 && to_come >= kWorthRecording &&
             engine_.mesh().tensor().size() == 1 && engine_.mesh().context().size() == 1) {
    recorded_rows_ = sequences_.most_rows();
    recorded_ = record_work(engine_.device(), [this] { issue(); });
  } else {
    issue();
  }
  on_host_ = logits_.slice(0, 0, texts).to_vector<float>();
  return on_host_;
}

void Decoding::issue() {
  const auto row = [&](int64_t i) {
    return ids_and_positions_.slice(0, i, i + 1).view({sequences_.slots()});
  };
  const Tensor hidden = engine_.decode(row(0), row(1), sequences_);
  logits_.copy_from(ops::cast(engine_.logits(hidden), DType::f32));
  engine_.agree_on(logits_);
}

}  // namespace elastron::inference
