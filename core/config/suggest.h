// "Did you mean ...?"
#pragma once
#include <span>
#include <string>
#include <string_view>

namespace elastron::config {

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b.
int edit_distance(std::string_view a, std::string_view b);

// The most similar candidate, or "" when none is similar enough to be what was meant. Dotted keys
// also match by their last part, so that a key in the wrong section is found.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace elastron::config
