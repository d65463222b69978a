#include "core/config/problems.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace elastron::config {

namespace {

std::string one_line(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

bool below(std::string_view key, std::string_view section) {
  return section.empty() || key == section ||
         (key.starts_with(section) && key[section.size()] == '.');
}

}  // namespace

std::string Origins::of(std::string_view key) const {
  const auto it = origins_.find(key);
  return it == origins_.end() ? "default" : it->second;
}

void Problems::add(std::string_view key, const std::string& what, const std::string& todo) {
  const std::string full = prefix_ + std::string(key);
  const std::string origin = origins_ != nullptr ? origins_->of(full) : "default";
  list_.push_back({full, what, full + ", " + origin, todo});
}

void Problems::add_at(const std::string& where, std::string_view key, const std::string& what,
                      const std::string& todo) {
  list_.push_back({std::string(key), what, where, todo});
}

void Problems::append(const Problems& other) {
  list_.insert(list_.end(), other.list_.begin(), other.list_.end());
}

bool Problems::touch(std::string_view section) const {
  return std::ranges::any_of(
      list_, [&](const Problem& p) { return p.key.empty() || below(p.key, section); });
}

void Problems::raise() const {
  if (list_.empty()) return;
  std::string earlier;
  const size_t shown = std::min(list_.size(), kMostReported);
  for (size_t i = 0; i + 1 < shown; ++i) {
    const Problem& p = list_[i];
    earlier += one_line(p.what + " (" + p.where + "): " + p.todo) + "\n";
  }
  const Problem& last = list_[shown - 1];
  const size_t more = list_.size() - shown;
  throw UsageError(
      earlier + one_line(last.what), one_line(last.where),
      one_line(last.todo) + (more > 0 ? " (and " + std::to_string(more) + " more problems)" : ""));
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kMax = 60;
  std::string shown(text.substr(0, kMax));
  if (text.size() > kMax) {
    // Not in the middle of a character.
    while (!shown.empty() && (static_cast<unsigned char>(text[shown.size()]) & 0xC0u) == 0x80u) {
      shown.pop_back();
    }
    shown += "...";
  }
  return fmt::format("'{}'", one_line(std::move(shown)));
}

}  // namespace elastron::config
