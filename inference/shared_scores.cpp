#include "inference/shared_scores.h"

#include <cstring>
#include <string>

namespace elastron::inference {

namespace {

// A token: its id, its log-probability, the number of the likeliest, and of each of these both. Ids
// are exact in doubles.
std::string packed(std::span<const ScoredToken> tokens) {
  std::vector<double> numbers;
  for (const ScoredToken& t : tokens) {
    numbers.insert(numbers.end(), {double(t.id), t.logprob.value(), double(t.top.size())});
    for (const auto& [id, logprob] : t.top) numbers.insert(numbers.end(), {double(id), logprob});
  }
  std::string bytes(numbers.size() * sizeof(double), '\0');
  if (!bytes.empty()) std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

void unpack(const std::string& bytes, std::vector<ScoredToken>& tokens) {
  std::vector<double> numbers(bytes.size() / sizeof(double));
  if (!bytes.empty()) std::memcpy(numbers.data(), bytes.data(), bytes.size());
  for (auto next = numbers.begin(); next != numbers.end();) {
    ScoredToken& t = tokens.emplace_back();
    t.id = int32_t(*next++);
    t.logprob = *next++;
    t.top.resize(size_t(*next++));
    for (auto& [id, logprob] : t.top) {
      id = int32_t(*next++);
      logprob = *next++;
    }
  }
}

}  // namespace

std::vector<ScoredToken> scores_of_ranks(std::span<const ScoredToken> own,
                                         parallel::Communicator& ranks) {
  if (ranks.size() == 1) return {own.begin(), own.end()};
  std::vector<ScoredToken> all;
  for (const std::string& part : ranks.all_gather_host(packed(own))) unpack(part, all);
  return all;
}

}  // namespace elastron::inference
