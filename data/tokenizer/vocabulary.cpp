#include "data/tokenizer/vocabulary.h"

#include "core/config/problems.h"
#include "core/error.h"

namespace elastron::data {

namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& where) {
  throw InputError(what, where, "ids must be 0, 1, 2, ..., each with one token");
}

}  // namespace

Vocabulary::Vocabulary(std::vector<std::pair<std::string, int64_t>> entries,
                       const std::string& where) {
  if (entries.empty()) refuse("the vocabulary is empty", where);
  // Ids without gaps are smaller than the number of entries, so a hostile id costs no memory.
  std::vector<bool> used(entries.size(), false);
  tokens_.resize(entries.size());
  int64_t size = 0;
  for (auto& [token, id] : entries) {
    const std::string shown = config::in_quotes(token);
    if (id < 0 || id >= int64_t(entries.size())) {
      refuse("the id " + std::to_string(id) + " of token " + shown + " leaves gaps", where);
    }
    if (used[size_t(id)] && tokens_[size_t(id)] != token) {
      refuse("tokens " + config::in_quotes(tokens_[size_t(id)]) + " and " + shown +
                 " share the id " + std::to_string(id),
             where);
    }
    used[size_t(id)] = true;
    tokens_[size_t(id)] = std::move(token);
    size = std::max(size, id + 1);
  }
  tokens_.resize(size_t(size));
  tokens_.shrink_to_fit();
  ids_.reserve(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (!used[id]) refuse("id " + std::to_string(id) + " has no token", where);
    if (const auto [it, fresh] = ids_.emplace(tokens_[id], int32_t(id)); !fresh) {
      refuse("token " + config::in_quotes(tokens_[id]) + " has the ids " +
                 std::to_string(it->second) + " and " + std::to_string(id),
             where);
    }
  }
}

std::optional<int32_t> Vocabulary::id(std::string_view token) const {
  const auto it = ids_.find(token);
  return it == ids_.end() ? std::nullopt : std::optional(it->second);
}

int32_t Vocabulary::checked(const std::vector<int32_t>& ids, size_t position) const {
  const int32_t id = ids[position];
  if (id >= 0 && id < size()) return id;
  throw InputError("token id " + std::to_string(id), "position " + std::to_string(position),
                   "ids of this tokenizer are 0 to " + std::to_string(size() - 1));
}

}  // namespace elastron::data
