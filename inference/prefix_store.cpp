#include "inference/prefix_store.h"

#include <algorithm>

namespace elastron::inference {

std::shared_ptr<Prefix> PrefixStore::find(std::span<const int32_t> ids) {
  const auto it = std::ranges::find_if(
      kept_, [&](const auto& prefix) { return std::ranges::equal(prefix->ids, ids); });
  if (it == kept_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, it);
  return kept_.front();
}

void PrefixStore::add(std::shared_ptr<Prefix> prefix) {
  kept_.push_front(std::move(prefix));
  while (int64_t(kept_.size()) > most_) kept_.pop_back();
}

void PrefixStore::drop_oldest(const Prefix* but) {
  const auto it = std::ranges::find_if(kept_.rbegin(), kept_.rend(),
                                       [&](const auto& prefix) { return prefix.get() != but; });
  if (it != kept_.rend()) kept_.erase(std::next(it).base());
}

int64_t PrefixStore::pages() const {
  int64_t pages = 0;
  for (const auto& prefix : kept_) pages += prefix->cache.pages();
  return pages;
}

}  // namespace elastron::inference
