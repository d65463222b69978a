#include "data/tokenizer/token_table.h"

#include <bit>
#include <functional>

namespace elastron::data {

TokenIndex::TokenIndex(const TokenBytes& bytes, size_t most)
    : bytes_(bytes), slots_(std::bit_ceil(2 * most + 1)) {}

void TokenIndex::insert(int32_t id) {
  const size_t hash = std::hash<std::string_view>{}(bytes_[id]);
  size_t at = hash & (slots_.size() - 1);
  while (slots_[at].id != kNone) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = {uint32_t(hash >> 32), id};
}

int32_t TokenIndex::find(std::string_view bytes) const {
  const size_t hash = std::hash<std::string_view>{}(bytes);
  for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[at];
    if (slot.id == kNone) return kNone;
    if (slot.hash == uint32_t(hash >> 32) && bytes_[slot.id] == bytes) return slot.id;
  }
}

}  // namespace elastron::data
