#include "core/config/suggest.h"

#include <algorithm>
#include <vector>

namespace elastron::config {

int edit_distance(std::string_view a, std::string_view b) {
  // Optimal string alignment; three rows suffice.
  std::vector<int> before_last(b.size() + 1);
  std::vector<int> last(b.size() + 1);
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = int(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = int(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitution = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

namespace {

std::string_view last_part(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == key.npos ? key : key.substr(dot + 1);
}

// A third of the letters may be wrong, at least one.
int tolerance(std::string_view word) { return std::max(1, int(word.size()) / 3); }

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  constexpr size_t kLongest = 200;  // beyond that it is no typing slip, and costs time
  if (word.size() > kLongest) return "";
  std::string best;
  int best_distance = 1 << 20;
  const auto consider = [&](const std::string& candidate, int distance) {
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  };
  const std::string_view name = last_part(word);
  for (const std::string& candidate : candidates) {
    const std::string_view section =
        std::string_view(candidate).substr(0, candidate.size() - last_part(candidate).size());
    if (word.starts_with(section) && section.size() + name.size() == word.size()) {
      // Same section: only the last part is in doubt.
      const int distance = edit_distance(name, last_part(candidate));
      if (distance <= tolerance(name)) consider(candidate, distance);
      continue;
    }
    const int whole = edit_distance(word, candidate);
    if (whole <= tolerance(word)) consider(candidate, whole);
    // Another section costs one.
    const int by_name = edit_distance(name, last_part(candidate));
    if (by_name <= tolerance(name) / 2) consider(candidate, by_name + 1);
  }
  return best;
}

}  // namespace elastron::config
