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

FittedPair dropped(DropReason reason) { return {.drop_reason = reason}; }

// Counts what the head and tail of a sequence that lost its middle hold of the response.
int64_t response_left(int64_t prompt, int64_t response, int64_t limit, int64_t left) {
  const int64_t head = limit / 2;
  return prompt < head ? left - prompt : std::min(response, left - head);
}

}  // namespace

std::string drop_reason_text(DropReason reason) {
  switch (reason) {
    case DropReason::none: break;
    case DropReason::too_long: return "longer than the limit";
    case DropReason::equal: return "equal after tokenising";
    case DropReason::not_rendered: return "not rendered by the chat template";
  }
  throw LogicError("the pair was not dropped");
}

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
      case Overlong::drop_pair: return dropped(DropReason::too_long);
      case Overlong::truncate_prompt_middle: {
        const int64_t room = limit - longest;
        if (room < std::min(kLeastPrompt, length(prompt))) return dropped(DropReason::too_long);
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
    int64_t left = length(*response);
    if (policy == Overlong::truncate_middle && length(sequence) >= limit) {
      sequence = without_middle(std::move(sequence), limit);
      left = response_left(length(prompt), left, limit, length(sequence));
      whole = false;
    }
    fitted.response_tokens.push_back(left);
    fitted.sequences.push_back(std::move(sequence));
  }
  // Sequences that were cut each in its own middle have in common what the cuts left.
  fitted.shared = whole ? length(prompt) : std::min(length(prompt), limit / 2);
  for (size_t i = 1; i < fitted.sequences.size(); ++i) {
    if (fitted.sequences[i] == fitted.sequences[0]) return dropped(DropReason::equal);
  }
  return fitted;
}

FittedPair without_padding(FittedPair pair, int32_t padding) {
  if (pair.dropped()) return pair;
  for (size_t i = 0; i < pair.sequences.size(); ++i) {
    auto& ids = pair.sequences[i];
    const int64_t whole = length(ids);
    while (ids.size() > 1 && ids.back() == padding) ids.pop_back();
    pair.response_tokens[i] = std::max<int64_t>(pair.response_tokens[i] - (whole - length(ids)), 0);
    // A response that was nothing else: the prompt's last token is scored, and no longer shared.
    pair.shared = std::min(pair.shared, length(ids) - 1);
  }
  return pair;
}

}  // namespace elastron::reward
