#include "data/tokenizer/bpe_file.h"

#include "core/config/problems.h"

namespace elastron::data {

namespace {

using nlohmann::json;

// ["a", "b"], or "a b" with exactly one space.
std::pair<std::string_view, std::string_view> merge_parts(const TokenizerFile& file,
                                                          const json& merge, size_t i) {
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != text.npos && text.find(' ', space + 1) == text.npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
             merge[1].is_string()) {
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  }
  file.fail("'model.merges[" + std::to_string(i) + "]' is not a pair of tokens");
}

int32_t model_token(const TokenizerFile& file, const TokenizerFile::Tokens& tokens,
                    std::string_view token, size_t i) {
  const auto id = tokens.vocabulary.id(token);
  if (!id || *id >= tokens.model_tokens) {
    file.fail("'model.merges[" + std::to_string(i) + "]': " + config::in_quotes(token) +
              " is not in 'model.vocab'");
  }
  return *id;
}

}  // namespace

void check_bpe_options(const TokenizerFile& file) {
  const json& model = file.top("model");
  if (const auto it = model.find("dropout"); it != model.end() && !it->is_null() && *it != 0) {
    file.unsupported("model.dropout", it->dump(), "null");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto it = model.find(key);
    if (it != model.end() && !it->is_null() && *it != "") {
      file.unsupported(std::string("model.") + key, it->dump(), "null and \"\"");
    }
  }
}

std::vector<Merge> read_merges(const TokenizerFile& file, const TokenizerFile::Tokens& tokens) {
  const json& list = file.member(file.top("model"), "model.merges", "merges");
  if (!list.is_array()) file.fail("'model.merges' is not a list");
  std::vector<Merge> merges;
  merges.reserve(list.size());
  std::string both;
  for (size_t i = 0; i < list.size(); ++i) {
    const auto [left, right] = merge_parts(file, list[i], i);
    both.assign(left).append(right);
    merges.push_back({model_token(file, tokens, left, i), model_token(file, tokens, right, i),
                      model_token(file, tokens, both, i)});
  }
  return merges;
}

}  // namespace elastron::data
