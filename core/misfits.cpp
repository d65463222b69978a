#include "core/misfits.h"

#include <algorithm>

#include "core/error.h"

namespace elastron {

namespace {

// A name from a file, fit for one line of a message.
std::string shown(std::string name) {
  constexpr size_t kMost = 200;
  if (name.size() > kMost) name = name.substr(0, kMost) + "...";
  std::ranges::replace_if(
      name, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return name;
}

std::string list_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < names.size() && i < kShown; ++i) {
    text += (i > 0 ? ", " : "") + shown(names[i]);
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace

std::vector<std::string>& Misfits::of(const std::string& kind) {
  for (auto& [name, list] : kinds_) {
    if (name == kind) return list;
  }
  return kinds_.emplace_back(kind, std::vector<std::string>()).second;
}

void Misfits::throw_if_any(const std::string& what, const std::string& where,
                           const std::string& what_to_do) const {
  std::string text;
  for (const auto& [kind, list] : kinds_) {
    if (!list.empty()) text += (text.empty() ? " " : "; ") + kind + " " + list_of(list);
  }
  if (!text.empty()) throw InputError(what + ":" + text, where, what_to_do);
}

}  // namespace elastron
