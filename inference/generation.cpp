#include "inference/generation.h"

#include <fmt/format.h>

#include <exception>
#include <span>

#include "inference/prompt_summary.h"

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
  const PromptSummary all = summary_of(*prompt_, engine_.mesh());
  std::string text = "gates, one line per layer and one letter per kv head (F full, s sparse):\n";
  for (const std::string& line : all.gates) text += line + "\n";
  return text + fmt::format("key-value cache: {:.2f} MB in place of {:.2f} MB, {:.1f} % saved\n",
                            all.cache_bytes * 1e-6, all.full_cache_bytes * 1e-6,
                            100 * (1 - all.cache_bytes / all.full_cache_bytes));
}

}  // namespace elastron::inference
