#include "inference/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "core/error.h"
#include "ops/elementwise.h"

namespace elastron::inference {

Generation::Generation(Engine& engine, std::vector<int32_t> prompt, int64_t vocab_size,
                       const GenerationOptions& options)
    : engine_(engine),
      prompt_(std::move(prompt)),
      vocab_size_(size_t(vocab_size)),
      options_(options),
      ended_(options.max_tokens < 1),
      cache_(engine.make_cache(int64_t(prompt_.size()) + options.max_tokens, options.cache)),
      decoding_(engine, cache_) {
  ELASTRON_CHECK(!prompt_.empty(), "a prompt with tokens");
}

std::optional<int32_t> Generation::next() {
  if (ended_) return {};
  const auto scores = logits();
  const int64_t position = int64_t(prompt_.size() + generated_.size());
  const int32_t id = next_token(std::span(scores).first(vocab_size_), options_.sampling, position);
  const auto& stop = engine_.model().stop_token_ids;
  if (!options_.ignore_eos && std::ranges::find(stop, id) != stop.end()) {
    ended_ = true;
    return {};
  }
  generated_.push_back(id);
  ended_ = int64_t(generated_.size()) == options_.max_tokens;
  return id;
}

std::vector<int32_t> Generation::run(const std::function<void()>& beat) {
  while (!ended_) {
    beat();
    next();
  }
  return generated_;
}

std::vector<float> Generation::logits() {
  if (!generated_.empty()) {
    const int64_t position = int64_t(prompt_.size() + generated_.size()) - 1;
    return decoding_.logits(generated_.back(), position,
                            options_.max_tokens - int64_t(generated_.size()));
  }
  const Tensor hidden = engine_.forward(prompt_, &heads_, &cache_);
  const Tensor last = hidden.slice(0, hidden.size(0) - 1, hidden.size(0)).clone();
  return ops::cast(engine_.logits(last), DType::f32).to_vector<float>();
}

std::string Generation::report() const {
  parallel::Communicator& tensor = engine_.mesh().tensor();
  std::vector<std::string> mine;
  for (const Tensor& gate : heads_.gates) {
    std::string& line = mine.emplace_back();
    for (const uint8_t z : gate.to_vector<uint8_t>()) line += z != 0 ? 'F' : 's';
  }
  std::string text = "gates, one line per layer and one letter per kv head (F full, s sparse):\n";
  for (const std::string& line : mine) {
    for (const std::string& part : tensor.all_gather_host(line)) text += part;
    text += "\n";
  }
  double bytes[] = {double(cache_.bytes()), double(cache_.full_bytes())};
  tensor.all_reduce_host(std::span<double>(bytes), parallel::ReduceOp::sum);
  return text + fmt::format("key-value cache: {:.2f} MB in place of {:.2f} MB, {:.1f} % saved\n",
                            bytes[0] * 1e-6, bytes[1] * 1e-6, 100 * (1 - bytes[0] / bytes[1]));
}

}  // namespace elastron::inference
