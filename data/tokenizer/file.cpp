#include "data/tokenizer/file.h"

#include <set>

#include "core/config/problems.h"
#include "core/error.h"

namespace elastron::data {

namespace {

// A longer one would be no token, and cost a search of that length at each place of a text.
constexpr size_t kMostAddedTokenBytes = 1024;

}  // namespace

AddedTokens added_tokens(const TokenizerFile::Tokens& tokens, NormalForm form) {
  std::vector<AddedToken> as_written, normalized;
  for (const auto& added : tokens.added) {
    std::string content = tokens.vocabulary.token(added.id), composed;
    if (added.normalized) content = std::string(normalize(form, content, composed));
    auto& round = added.normalized ? normalized : as_written;
    round.push_back({.content = std::move(content), .id = added.id, .control = added.control});
  }
  return {std::move(as_written), std::move(normalized), form};
}

TokenizerFile::TokenizerFile(const json& root, std::string where)
    : root_(root), where_(std::move(where)) {
  if (!root.is_object()) fail("the file is not a JSON object");
}

TokenizerFile::Tokens TokenizerFile::tokens() const {
  const json& words = member(top("model"), "model.vocab", "vocab");
  if (!words.is_object()) fail("'model.vocab' is not an object");
  if (words.empty()) fail("'model.vocab' is empty");
  std::vector<std::pair<std::string, int64_t>> entries;
  entries.reserve(words.size());
  for (const auto& [token, id] : words.items()) entries.emplace_back(token, token_id(id, token));
  const auto model_tokens = int64_t(entries.size());

  const json& list = top("added_tokens");
  if (!list.is_null() && !list.is_array()) fail("'added_tokens' is not a list");
  std::vector<Tokens::Added> added;
  int64_t next = model_tokens;
  std::set<std::string_view> seen;
  for (size_t i = 0; i < list.size(); ++i) {
    const json& token = list[i];
    const std::string name = "added_tokens[" + std::to_string(i) + "]";
    if (!token.is_object()) fail("'" + name + "' is not an object");
    const json& content = member(token, name + ".content", "content");
    if (!content.is_string() || content.get_ref<const std::string&>().empty()) {
      fail("'" + name + ".content' is not a string with text");
    }
    const auto& shown = content.get_ref<const std::string&>();
    if (shown.size() > kMostAddedTokenBytes) {
      fail("'" + name + ".content' has more than " + std::to_string(kMostAddedTokenBytes) +
           " bytes");
    }
    for (const char* option : {"single_word", "lstrip", "rstrip"}) {
      if (flag(token, name, option, false)) {
        fail("'" + name + "." + option + "' is not false, which is not supported");
      }
    }
    const int64_t id = token_id(member(token, name + ".id", "id"), shown);
    if (!words.contains(shown) && seen.insert(shown).second && id != next++) {
      fail("the id " + std::to_string(id) + " of added token " + config::in_quotes(shown) +
           " is not the next free one, " + std::to_string(next - 1));
    }
    entries.emplace_back(shown, id);
    added.push_back({.id = int32_t(id),
                     .normalized = flag(token, name, "normalized", true),
                     .control = flag(token, name, "special", false)});
  }
  return {Vocabulary(std::move(entries), where_), int32_t(model_tokens), std::move(added)};
}

void TokenizerFile::fail(const std::string& what) const {
  throw InputError(what, where_, "give a tokenizer.json as the tokenizers library writes it");
}

void TokenizerFile::unsupported(const std::string& key, const std::string& found,
                                const std::string& supported) const {
  throw InputError(key + " " + config::in_quotes(found) + " is not supported", where_,
                   "supported: " + supported);
}

void TokenizerFile::require_null(const char* key) const {
  const json& value = top(key);
  if (value.is_null()) return;
  unsupported(
      key, value.is_object() && value.contains("type") ? type_of(value, key) : "that is not null",
      "null");
}

const nlohmann::json& TokenizerFile::member(const json& object, const std::string& name,
                                            const char* key) const {
  const auto it = object.find(key);
  if (it == object.end()) fail("'" + name + "' is missing");
  return *it;
}

const std::string& TokenizerFile::text(const json& object, const std::string& name,
                                       const char* key) const {
  const json& value = member(object, name, key);
  if (!value.is_string()) fail("'" + name + "' is not a string");
  return value.get_ref<const std::string&>();
}

bool TokenizerFile::flag(const json& object, const std::string& name, const char* key,
                         bool otherwise) const {
  const auto it = object.find(key);
  if (it == object.end()) return otherwise;
  if (!it->is_boolean()) fail("'" + name + "." + key + "' is not true or false");
  return it->get<bool>();
}

std::string TokenizerFile::type_of(const json& value, const std::string& name) const {
  if (value.is_null()) return "null";
  if (!value.is_object() || !value.contains("type") || !value["type"].is_string()) {
    fail("'" + name + ".type' is missing or not a string");
  }
  return value["type"].get<std::string>();
}

std::string TokenizerFile::normalizer() const {
  const json& value = top("normalizer");
  const std::string type = type_of(value, "normalizer");
  if (type != "Sequence") return type;
  const json& list = member(value, "normalizer.normalizers", "normalizers");
  if (!list.is_array()) fail("'normalizer.normalizers' is not a list");
  if (list.empty()) return "null";
  return list.size() == 1 ? type_of(list[0], "normalizer.normalizers[0]") : type;
}

const nlohmann::json& TokenizerFile::top(const char* key) const {
  static const json kNull;
  const auto it = root_.find(key);
  return it == root_.end() ? kNull : *it;
}

int64_t TokenizerFile::token_id(const json& value, const std::string& token) const {
  constexpr int64_t kMostIds = int64_t(1) << 31;
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() ? value.get<uint64_t>() >= uint64_t(kMostIds)
                                  : value.get<int64_t>() < 0)) {
    fail("the id of token " + config::in_quotes(token) + " is not an integer in [0, 2^31)");
  }
  return value.get<int64_t>();
}

}  // namespace elastron::data
