#include "data/tokenizer.h"

#include "core/config/problems.h"
#include "core/error.h"
#include "core/file/mapped_file.h"
#include "core/json.h"
#include "data/tokenizer/vocabulary.h"
#include "data/tokenizer/word_level.h"

namespace elastron::data {

namespace {

using nlohmann::json;

// Reads what all tokenizer.json files share, then hands over to the model's kind. Whatever is not
// understood is refused: ignored, it would give other ids than the reference does.
class Parser {
 public:
  Parser(const json& root, std::string where) : root_(root), where_(std::move(where)) {
    if (!root.is_object()) fail("the file is not a JSON object");
  }

  std::unique_ptr<Tokenizer> parse() const {
    for (const char* key : {"truncation", "padding"}) require_null(key);
    const std::string kind = type_of("model");
    if (kind == "WordLevel") return word_level();
    unsupported("model", kind, "WordLevel");
  }

 private:
  std::unique_ptr<Tokenizer> word_level() const {
    for (const char* key : {"normalizer", "decoder"}) require_null(key);
    const std::string split = type_of("pre_tokenizer");
    if (split != "Whitespace" && split != "WhitespaceSplit") {
      unsupported("pre_tokenizer", split, "Whitespace and WhitespaceSplit");
    }
    const json& model = root_["model"];
    std::vector<std::pair<std::string, int64_t>> entries;
    const json& words = member(model, "model.vocab", "vocab");
    if (!words.is_object()) fail("'model.vocab' is not an object");
    for (const auto& [token, id] : words.items()) entries.emplace_back(token, integer(id, token));
    const std::vector<int32_t> added = add_added_tokens(entries);

    const json& unk_token = member(model, "model.unk_token", "unk_token");
    if (!unk_token.is_string()) fail("'model.unk_token' is not a string");
    Vocabulary vocabulary(std::move(entries), where_);
    const auto unknown = vocabulary.id(unk_token.get_ref<const std::string&>());
    if (!unknown) fail("'model.unk_token' is not in the vocabulary");
    return make_word_level(std::move(vocabulary), added, *unknown,
                           split == "Whitespace" ? WordSplit::words : WordSplit::whitespace);
  }

  // Appends the added tokens to `entries`; returns their ids.
  std::vector<int32_t> add_added_tokens(
      std::vector<std::pair<std::string, int64_t>>& entries) const {
    std::vector<int32_t> ids;
    const auto list = root_.find("added_tokens");
    if (list == root_.end()) return ids;
    if (!list->is_array()) fail("'added_tokens' is not a list");
    for (size_t i = 0; i < list->size(); ++i) {
      const json& token = (*list)[i];
      const std::string name = "added_tokens[" + std::to_string(i) + "]";
      if (!token.is_object()) fail("'" + name + "' is not an object");
      const json& content = member(token, name + ".content", "content");
      if (!content.is_string() || content.get_ref<const std::string&>().empty()) {
        fail("'" + name + ".content' is not a string with text");
      }
      for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
        if (token.contains(flag) && token[flag] != false) {
          fail("'" + name + "." + flag + "' is not false, which is not supported");
        }
      }
      entries.emplace_back(content, integer(member(token, name + ".id", "id"), content));
      ids.push_back(int32_t(entries.back().second));
    }
    return ids;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(what, where_, "give a tokenizer.json as the tokenizers library writes it");
  }
  [[noreturn]] void unsupported(const std::string& key, const std::string& found,
                                const std::string& supported) const {
    throw InputError(key + " " + config::in_quotes(found) + " is not supported", where_,
                     "supported: " + supported);
  }
  void require_null(const std::string& key) const {
    const auto it = root_.find(key);
    if (it == root_.end() || it->is_null()) return;
    unsupported(key, it->is_object() && it->contains("type") ? type_of(key) : "that is not null",
                "null");
  }
  const json& member(const json& object, const std::string& name, const char* key) const {
    const auto it = object.find(key);
    if (it == object.end()) fail("'" + name + "' is missing");
    return *it;
  }
  std::string type_of(const std::string& key) const {
    const auto it = root_.find(key);
    if (it == root_.end() || it->is_null()) return "null";
    if (!it->is_object() || !it->contains("type") || !(*it)["type"].is_string()) {
      fail("'" + key + ".type' is missing or not a string");
    }
    return (*it)["type"].get<std::string>();
  }
  int64_t integer(const json& value, const std::string& token) const {
    constexpr int64_t kMostIds = int64_t(1) << 31;
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() ? value.get<uint64_t>() >= uint64_t(kMostIds)
                                    : value.get<int64_t>() < 0)) {
      fail("the id of token " + config::in_quotes(token) + " is not an integer in [0, 2^31)");
    }
    return value.get<int64_t>();
  }

  const json& root_;
  std::string where_;
};

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view text, const std::string& where) {
  const json root = parse_json_strict(text, where);
  return Parser(root, where).parse();
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  const MappedFile file(path);
  return parse_tokenizer({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()},
                         path);
}

}  // namespace elastron::data
