#include "reward/overlong.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace elastron::reward {

namespace {

constexpr int64_t kLeastPrompt = 16;

int64_t length(const std::vector<int32_t>& ids) { return int64_t(ids.size()); }

// The first and the last tokens, the middle left out.
std::vector<int32_t> ends(const std::vector<int32_t>& ids, int64_t head, int64_t tail) {
  std::vector<int32_t> kept(ids.begin(), ids.begin() + head);
  kept.insert(kept.end(), ids.end() - tail, ids.end());
  return kept;
}

FittedPair dropped(std::string reason) { return {.dropped = true, .reason = std::move(reason)}; }

}  // namespace

std::vector<int32_t> without_middle(std::vector<int32_t> ids, int64_t limit) {
  ELASTRON_CHECK(limit > 10, "a limit of more than 10 tokens");
  if (length(ids) < limit) return ids;
  return ends(ids, limit / 2, limit / 2 - 5);
}

FittedPair fit_pair(const PairIds& pair, int64_t limit, Overlong policy, const std::string& where) {
  ELASTRON_CHECK(!pair.rejected.empty(), "a pair has a rejected response");
  std::vector<const std::vector<int32_t>*> responses = {&pair.chosen};
  for (const auto& rejected : pair.rejected) responses.push_back(&rejected);
  int64_t longest = 0;
  for (const auto* response : responses) longest = std::max(longest, length(*response));

  FittedPair fitted;
  std::vector<int32_t> prompt = pair.prompt;
  const int64_t most = policy == Overlong::truncate_middle ? limit - 1 : limit;
  if (length(prompt) + longest > most) {
    switch (policy) {
      case Overlong::error:
        throw InputError("a pair of " + std::to_string(length(prompt) + longest) +
                             " tokens, of which " + std::to_string(length(prompt)) +
                             " are the prompt; the limit is " + std::to_string(limit),
                         where, "raise data.max_tokens, or set another reward.overlong");
      case Overlong::drop_pair: return dropped("longer than the limit");
      case Overlong::truncate_prompt_middle: {
        const int64_t room = limit - longest;
        if (room < std::min(kLeastPrompt, length(prompt))) return dropped("longer than the limit");
        prompt = ends(prompt, (room + 1) / 2, room / 2);
        fitted.truncated = true;
        break;
      }
      case Overlong::truncate_middle: fitted.truncated = true; break;
    }
  }
  bool whole = true;
  for (const auto* response : responses) {
    std::vector<int32_t> sequence = prompt;
    sequence.insert(sequence.end(), response->begin(), response->end());
    if (policy == Overlong::truncate_middle) {
      const int64_t before = length(sequence);
      sequence = without_middle(std::move(sequence), limit);
      whole = whole && length(sequence) == before;
    }
    fitted.sequences.push_back(std::move(sequence));
  }
  // Sequences that were cut each in its own middle have in common what the cuts left.
  fitted.shared = whole ? length(prompt) : std::min(length(prompt), limit / 2);
  for (size_t i = 1; i < fitted.sequences.size(); ++i) {
    if (fitted.sequences[i] == fitted.sequences[0]) return dropped("equal after tokenising");
  }
  return fitted;
}

}  // namespace elastron::reward
