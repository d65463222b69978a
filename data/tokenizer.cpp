#include "data/tokenizer.h"

#include "core/file/input_file.h"
#include "core/json.h"
#include "core/log.h"
#include "data/tokenizer/byte_level_bpe_file.h"
#include "data/tokenizer/character_bpe_file.h"
#include "data/tokenizer/file.h"
#include "data/tokenizer/word_level.h"

namespace elastron::data {

namespace {

std::unique_ptr<Tokenizer> read_word_level(const TokenizerFile& file) {
  file.require_null("decoder");
  if (const std::string normalizer = file.normalizer(); normalizer != "null") {
    file.unsupported("normalizer", normalizer, "null");
  }
  const std::string split = file.type_of(file.top("pre_tokenizer"), "pre_tokenizer");
  if (split != "Whitespace" && split != "WhitespaceSplit") {
    file.unsupported("pre_tokenizer", split, "Whitespace and WhitespaceSplit");
  }
  auto tokens = file.tokens();
  const auto unknown =
      tokens.vocabulary.id(file.text(file.top("model"), "model.unk_token", "unk_token"));
  if (!unknown) file.fail("'model.unk_token' is not in the vocabulary");
  AddedTokens added = added_tokens(tokens, NormalForm::none);
  return make_word_level(std::move(tokens.vocabulary), std::move(added), *unknown,
                         split == "Whitespace" ? WordSplit::words : WordSplit::whitespace);
}

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer(std::string_view text, const std::string& where) {
  const nlohmann::json root = parse_json_strict(text, where);
  const TokenizerFile file(root, where);
  // Left there by somebody's last padded call; the reference goes by its own arguments.
  for (const char* key : {"truncation", "padding"}) {
    if (!file.top(key).is_null()) {
      log_info("{}: '{}' is ignored, as transformers does", where, key);
    }
  }
  const std::string kind = file.type_of(file.top("model"), "model");
  if (kind == "WordLevel") return read_word_level(file);
  if (kind != "BPE") file.unsupported("model", kind, "BPE and WordLevel");
  const bool falls_back = file.flag(file.top("model"), "model", "byte_fallback", false);
  const bool byte_level = file.type_of(file.top("decoder"), "decoder") == "ByteLevel";
  return falls_back && !byte_level ? read_character_bpe(file) : read_byte_level_bpe(file);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  return parse_tokenizer(read_small_file(path, JsonLimits().max_bytes), path);
}

}  // namespace elastron::data
