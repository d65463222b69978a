// Tokens and their ids, both ways.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace elastron::data {

class Vocabulary {
 public:
  // `entries` may repeat a token with the same id. Throws InputError naming `where` when a token
  // has two ids, an id two tokens, or an id below the largest no token.
  Vocabulary(std::vector<std::pair<std::string, int64_t>> entries, const std::string& where);
  Vocabulary(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;  // ids_ refers to tokens_

  int64_t size() const { return int64_t(tokens_.size()); }
  const std::string& token(int32_t id) const { return tokens_[size_t(id)]; }
  std::optional<int32_t> id(std::string_view token) const;
  // ids[position]; an InputError when it is not in [0, size()).
  int32_t checked(const std::vector<int32_t>& ids, size_t position) const;

 private:
  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace elastron::data
