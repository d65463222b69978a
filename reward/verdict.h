// Reads a generative judge's text, and says what it is worth (docs/method.md, Generative judges).
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace elastron::reward {

enum class VerdictRule : uint8_t {
  strict,   // the first five characters, as published
  lenient,  // anywhere; [[A]] where both occur
};

enum class Verdict : uint8_t { a, b };

std::optional<Verdict> verdict(std::string_view output, VerdictRule rule);

// `chosen_is_a`: whether the chosen response was shown as A. No verdict is wrong.
bool verdict_is_right(std::string_view output, bool chosen_is_a, VerdictRule rule);

}  // namespace elastron::reward
