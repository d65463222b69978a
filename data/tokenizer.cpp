#include "data/tokenizer.h"

#include <fstream>
#include <limits>
#include <sstream>
#include <unordered_map>

#include "core/error.h"
#include "core/json.h"

namespace elastron::data {

namespace {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using Vocabulary = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

// Whitespace-separated words, each one token.
class WordLevelTokenizer final : public Tokenizer {
 public:
  WordLevelTokenizer(Vocabulary vocabulary, std::vector<std::string> words, int32_t unknown)
      : vocabulary_(std::move(vocabulary)), words_(std::move(words)), unknown_(unknown) {}

  std::vector<int32_t> encode(std::string_view text) const override {
    constexpr std::string_view kSpace = " \t\n\r\v\f";
    std::vector<int32_t> ids;
    size_t at = text.find_first_not_of(kSpace);
    while (at != std::string_view::npos) {
      const size_t end = std::min(text.find_first_of(kSpace, at), text.size());
      ids.push_back(id(text.substr(at, end - at)).value_or(unknown_));
      at = text.find_first_not_of(kSpace, end);
    }
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (const int32_t i : ids) {
      if (!text.empty()) text += ' ';
      text += i >= 0 && size_t(i) < words_.size() ? words_[size_t(i)] : std::string("<invalid>");
    }
    return text;
  }
  int64_t vocab_size() const override { return int64_t(words_.size()); }
  std::optional<int32_t> id(std::string_view token) const override {
    const auto it = vocabulary_.find(token);
    return it == vocabulary_.end() ? std::nullopt : std::optional<int32_t>(it->second);
  }

 private:
  Vocabulary vocabulary_;
  std::vector<std::string> words_;
  int32_t unknown_;
};

class Parser {
 public:
  explicit Parser(std::string where) : where_(std::move(where)) {}

  std::unique_ptr<Tokenizer> parse(const nlohmann::json& root) {
    if (!root.is_object()) fail("the file is not a JSON object");
    require_type(root, "model", "WordLevel");
    require_type(root, "pre_tokenizer", "WhitespaceSplit");
    for (const char* key : {"normalizer", "post_processor"}) {
      if (root.contains(key) && !root[key].is_null()) {
        fail(std::string("'") + key + "' is not supported with a WordLevel model");
      }
    }
    const auto& model = root["model"];
    if (!model.contains("vocab") || !model["vocab"].is_object()) fail("'model.vocab' is missing");
    for (const auto& [token, id] : model["vocab"].items()) add(token, id);
    if (root.contains("added_tokens")) {
      if (!root["added_tokens"].is_array()) fail("'added_tokens' is not a list");
      for (const auto& token : root["added_tokens"]) {
        if (!token.is_object() || !token.contains("content") || !token["content"].is_string() ||
            !token.contains("id")) {
          fail("an entry of 'added_tokens' lacks content or id");
        }
        add(token["content"].get<std::string>(), token["id"]);
      }
    }
    for (size_t i = 0; i < words_.size(); ++i) {
      if (!used_[i]) fail("id " + std::to_string(i) + " has no token");
    }
    if (!model.contains("unk_token") || !model["unk_token"].is_string()) {
      fail("'model.unk_token' is missing");
    }
    const auto unknown = vocabulary_.find(model["unk_token"].get<std::string>());
    if (unknown == vocabulary_.end()) fail("'model.unk_token' is not in the vocabulary");
    return std::make_unique<WordLevelTokenizer>(vocabulary_, words_, unknown->second);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(what, where_, "give a tokenizer.json with a WordLevel model and "
                     "WhitespaceSplit");
  }

  void require_type(const nlohmann::json& root, const char* key, const char* type) const {
    const auto it = root.find(key);
    std::string found = "nothing";
    if (it != root.end() && it->is_object() && it->contains("type") && (*it)["type"].is_string()) {
      found = (*it)["type"].get<std::string>();
    }
    if (found != type) {
      fail(std::string("'") + key + "' is " + found + ", supported is " + type);
    }
  }

  void add(const std::string& token, const nlohmann::json& id_value) {
    constexpr int64_t kMostIds = 1 << 24;
    if (!id_value.is_number_integer()) fail("the id of '" + token + "' is not an integer");
    const auto id = id_value.get<int64_t>();
    if (id < 0 || id >= kMostIds) fail("the id of '" + token + "' is out of range");
    const auto [it, inserted] = vocabulary_.emplace(token, int32_t(id));
    if (!inserted && it->second != id) fail("'" + token + "' has two ids");
    if (size_t(id) >= words_.size()) {
      words_.resize(size_t(id) + 1);
      used_.resize(size_t(id) + 1, false);
    }
    if (used_[size_t(id)] && words_[size_t(id)] != token) {
      fail("id " + std::to_string(id) + " is used twice");
    }
    words_[size_t(id)] = token;
    used_[size_t(id)] = true;
  }

  std::string where_;
  Vocabulary vocabulary_;
  std::vector<std::string> words_;
  std::vector<bool> used_;
};

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view json, const std::string& where) {
  return Parser(where).parse(parse_json_strict(json, where));
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw InputError("cannot read the tokenizer", path,
                     "give a model folder that holds a tokenizer.json");
  }
  std::ostringstream text;
  text << in.rdbuf();
  return parse_tokenizer(text.str(), path);
}

}  // namespace elastron::data
