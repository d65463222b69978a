#include "benchmark/middle_cut.h"

#include <algorithm>
#include <vector>

#include "core/error.h"

namespace elastron::benchmark {

CutPrompt cut_middle(const data::Tokenizer& tokenizer, const std::string& prompt,
                     const MiddleCut& cut) {
  ELASTRON_CHECK(cut.limit >= 2 && cut.leading_tokens >= 0, "a limit that leaves nothing");
  const std::vector<int32_t> ids = tokenizer.encode(prompt);
  if (int64_t(ids.size()) + cut.leading_tokens <= cut.limit) return {prompt, false};

  const auto text_of = [&](std::vector<int32_t> part) {
    std::erase_if(part, [&](int32_t id) { return tokenizer.is_control(id); });
    return tokenizer.decode(part);
  };
  const int64_t first = std::max<int64_t>(cut.limit / 2 - cut.leading_tokens, 0);
  const bool together = cut.join == MiddleCut::Join::tokens;
  const int64_t last =
      std::min(together ? cut.limit - cut.limit / 2 : cut.limit / 2, int64_t(ids.size()));
  std::vector<int32_t> head(ids.begin(), ids.begin() + std::min(first, int64_t(ids.size())));
  const std::vector<int32_t> tail(ids.end() - last, ids.end());
  if (!together) return {text_of(std::move(head)) + text_of(tail), true};
  head.insert(head.end(), tail.begin(), tail.end());
  return {text_of(std::move(head)), true};
}

}  // namespace elastron::benchmark
