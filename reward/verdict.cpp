#include "reward/verdict.h"

namespace elastron::reward {

std::optional<Verdict> verdict(std::string_view output, VerdictRule rule) {
  constexpr std::string_view kA = "[[A]]", kB = "[[B]]";
  const auto says = [&](std::string_view mark) {
    return rule == VerdictRule::strict ? output.starts_with(mark)
                                       : output.find(mark) != std::string_view::npos;
  };
  if (says(kA)) return Verdict::a;
  if (says(kB)) return Verdict::b;
  return std::nullopt;
}

bool verdict_is_right(std::string_view output, bool chosen_is_a, VerdictRule rule) {
  const auto said = verdict(output, rule);
  return said.has_value() && (*said == Verdict::a) == chosen_is_a;
}

}  // namespace elastron::reward
