#include "inference/generation.h"

#include <fmt/format.h>

#include <exception>
#include <span>

namespace elastron::inference {

Generation::Generation(Engine& engine, std::vector<int32_t> prompt, int64_t vocab_size,
                       const GenerationOptions& options)
    : engine_(engine),
      scheduler_(std::make_unique<Scheduler>(
          engine, SchedulerOptions{.cache = options.cache, .vocab_size = vocab_size})),
      ended_(options.max_tokens < 1) {
  scheduler_->submit({.prompt = std::move(prompt),
                      .max_tokens = options.max_tokens,
                      .sampling = options.sampling,
                      .ignore_eos = options.ignore_eos});
}

std::optional<int32_t> Generation::next() {
  if (ended_) return {};
  const Event event = scheduler_->step().at(0);
  if (event.error != nullptr) std::rethrow_exception(event.error);
  if (event.prompt != nullptr) prompt_ = event.prompt;
  ended_ = event.finish.has_value();
  if (!event.token) return {};
  generated_.push_back(event.token->id);
  return generated_.back();
}

std::vector<int32_t> Generation::run(const std::function<void()>& beat) {
  while (!ended_) {
    beat();
    next();
  }
  return generated_;
}

std::string Generation::report() const {
  parallel::Communicator& tensor = engine_.mesh().tensor();
  std::vector<std::string> mine;
  for (const auto& gates : prompt_->gates) {
    std::string& line = mine.emplace_back();
    for (const uint8_t z : gates) line += z != 0 ? 'F' : 's';
  }
  std::string text = "gates, one line per layer and one letter per kv head (F full, s sparse):\n";
  for (const std::string& line : mine) {
    for (const std::string& part : tensor.all_gather_host(line)) text += part;
    text += "\n";
  }
  double bytes[] = {double(prompt_->cache_bytes), double(prompt_->full_cache_bytes)};
  tensor.all_reduce_host(std::span<double>(bytes), parallel::ReduceOp::sum);
  return text + fmt::format("key-value cache: {:.2f} MB in place of {:.2f} MB, {:.1f} % saved\n",
                            bytes[0] * 1e-6, bytes[1] * 1e-6, 100 * (1 - bytes[0] / bytes[1]));
}

}  // namespace elastron::inference
