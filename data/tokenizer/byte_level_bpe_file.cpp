#include "data/tokenizer/byte_level_bpe_file.h"

#include "core/config/problems.h"
#include "data/tokenizer/byte_level_bpe.h"

namespace elastron::data {

namespace {

using nlohmann::json;

// "ByteLevel" splits by this expression when it is asked to split (use_regex).
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class Reader {
 public:
  explicit Reader(const TokenizerFile& file) : file_(file), model_(file.top("model")) {}

  std::unique_ptr<Tokenizer> read() {
    check_model_options();
    const std::string normalizer = file_.normalizer();
    if (normalizer != "null" && normalizer != "NFC") {
      file_.unsupported("normalizer", normalizer, "NFC and null");
    }
    const bool nfc = normalizer == "NFC";
    const std::string decoder = file_.type_of(file_.top("decoder"), "decoder");
    if (decoder != "ByteLevel") file_.unsupported("decoder", decoder, "ByteLevel");
    auto splits = read_pre_tokenizer();

    auto tokens = file_.tokens();
    auto merges = read_merges(tokens);
    AddedTokens added = added_tokens(tokens, nfc);
    return make_byte_level_bpe(
        {.vocabulary = std::move(tokens.vocabulary),
         .model_tokens = tokens.model_tokens,
         .added = std::move(added),
         .splits = std::move(splits),
         .merges = std::move(merges),
         .ignore_merges = file_.flag(model_, "model", "ignore_merges", false)},
        file_.where());
  }

 private:
  void check_model_options() const {
    if (const auto it = model_.find("dropout"); it != model_.end() && !it->is_null() && *it != 0) {
      file_.unsupported("model.dropout", it->dump(), "null");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto it = model_.find(key);
      if (it != model_.end() && !it->is_null() && *it != "") {
        file_.unsupported(std::string("model.") + key, it->dump(), "null and \"\"");
      }
    }
    // Every byte has a token: there is nothing unknown, and no need to fall back.
    for (const char* key : {"byte_fallback", "fuse_unk"}) {
      if (file_.flag(model_, "model", key, false)) {
        file_.unsupported(std::string("model.") + key, "true", "false");
      }
    }
  }

  // "ByteLevel", or a "Sequence" of "Split" that ends with it.
  std::vector<SplitStep> read_pre_tokenizer() const {
    const json& top = file_.top("pre_tokenizer");
    const std::string kind = file_.type_of(top, "pre_tokenizer");
    std::vector<SplitStep> steps;
    if (kind == "ByteLevel") {
      read_byte_level(top, "pre_tokenizer", steps);
      return steps;
    }
    if (kind != "Sequence") file_.unsupported("pre_tokenizer", kind, "ByteLevel and Sequence");
    const json& list = file_.member(top, "pre_tokenizer.pretokenizers", "pretokenizers");
    if (!list.is_array() || list.empty()) {
      file_.fail("'pre_tokenizer.pretokenizers' is not a list with something in it");
    }
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string name = "pre_tokenizer.pretokenizers[" + std::to_string(i) + "]";
      const std::string step = file_.type_of(list[i], name);
      const bool last = i + 1 == list.size();
      if (step == "ByteLevel" && last) {
        read_byte_level(list[i], name, steps);
      } else if (step == "Split" && !last) {
        read_split(list[i], name, steps);
      } else {
        file_.unsupported(name, step, "Split, and ByteLevel at the end");
      }
    }
    return steps;
  }
  void read_byte_level(const json& step, const std::string& name,
                       std::vector<SplitStep>& steps) const {
    if (file_.flag(step, name, "add_prefix_space", true)) {
      file_.unsupported(name + ".add_prefix_space", "true", "false");
    }
    if (file_.flag(step, name, "use_regex", true)) {
      steps.push_back({SplitRegex(kGpt2Pattern, file_.where())});
    }
  }
  void read_split(const json& step, const std::string& name, std::vector<SplitStep>& steps) const {
    const json& pattern = file_.member(step, name + ".pattern", "pattern");
    if (!pattern.is_object() || !pattern.contains("Regex") || !pattern["Regex"].is_string()) {
      file_.fail("'" + name + ".pattern.Regex' is missing or not a string");
    }
    const std::string& behavior = file_.text(step, name + ".behavior", "behavior");
    const bool invert = file_.flag(step, name, "invert", false);
    if (behavior != "Isolated" && behavior != "Removed") {
      file_.unsupported(name + ".behavior", behavior, "Isolated and Removed");
    }
    // Isolated: matches and what lies between are pieces. Removed: only the latter; inverted, only
    // the former.
    const bool all = behavior == "Isolated";
    steps.push_back({SplitRegex(pattern["Regex"].get_ref<const std::string&>(), file_.where()),
                     all || invert, all || !invert});
  }

  std::vector<Merge> read_merges(const TokenizerFile::Tokens& tokens) const {
    const json& list = file_.member(model_, "model.merges", "merges");
    if (!list.is_array()) file_.fail("'model.merges' is not a list");
    std::vector<Merge> merges;
    merges.reserve(list.size());
    std::string both;
    for (size_t i = 0; i < list.size(); ++i) {
      const auto [left, right] = merge_parts(list[i], i);
      both.assign(left).append(right);
      merges.push_back({model_token(tokens, left, i), model_token(tokens, right, i),
                        model_token(tokens, both, i)});
    }
    return merges;
  }
  // ["a", "b"], or "a b" with exactly one space.
  std::pair<std::string_view, std::string_view> merge_parts(const json& merge, size_t i) const {
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
    file_.fail("'model.merges[" + std::to_string(i) + "]' is not a pair of tokens");
  }
  int32_t model_token(const TokenizerFile::Tokens& tokens, std::string_view token, size_t i) const {
    const auto id = tokens.vocabulary.id(token);
    if (!id || *id >= tokens.model_tokens) {
      file_.fail("'model.merges[" + std::to_string(i) + "]': " + config::in_quotes(token) +
                 " is not in 'model.vocab'");
    }
    return *id;
  }

  const TokenizerFile& file_;
  const json& model_;
};

}  // namespace

std::unique_ptr<Tokenizer> read_byte_level_bpe(const TokenizerFile& file) {
  return Reader(file).read();
}

}  // namespace elastron::data
