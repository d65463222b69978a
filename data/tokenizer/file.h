// Reads the parts that all tokenizer.json files share. Anything else is refused: ignored, it would
// give other ids than the reference does.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/vocabulary.h"

namespace elastron::data {

class TokenizerFile {
 public:
  using json = nlohmann::json;

  // `root` must outlive this. `where` names the file in messages.
  TokenizerFile(const json& root, std::string where);

  const json& root() const { return root_; }
  const std::string& where() const { return where_; }

  // The tokens of 'model.vocab' and those added to it.
  struct Tokens {
    Vocabulary vocabulary;
    int32_t model_tokens = 0;  // the others have the ids above
    struct Added {
      int32_t id = 0;
      bool normalized = false;
      bool control = false;  // "special"
    };
    std::vector<Added> added;  // also those that are in 'model.vocab'
  };
  // The reference numbers added tokens itself, in the order of their list; a file that says
  // something else is refused.
  Tokens tokens() const;

  // All throw InputError.
  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void unsupported(const std::string& key, const std::string& found,
                                const std::string& supported) const;
  void require_null(const char* key) const;
  // `name` is the full name of `key` for messages.
  const json& member(const json& object, const std::string& name, const char* key) const;
  const std::string& text(const json& object, const std::string& name, const char* key) const;
  // The key may be missing.
  bool flag(const json& object, const std::string& name, const char* key, bool otherwise) const;
  // The 'type' of an object, "null" for null.
  std::string type_of(const json& value, const std::string& name) const;
  // The type of the normalizer; a "Sequence" of none or one is that one.
  std::string normalizer() const;
  // A key of the file that may be missing: then null.
  const json& top(const char* key) const;

 private:
  int64_t token_id(const json& value, const std::string& token) const;

  const json& root_;
  std::string where_;
};

// The added tokens as they are found in text: those that ask for it normalized.
AddedTokens added_tokens(const TokenizerFile::Tokens& tokens, NormalForm form);

}  // namespace elastron::data
