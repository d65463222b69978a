#include "data/tokenizer/character_bpe_file.h"

#include "data/tokenizer/bpe_file.h"
#include "data/tokenizer/character_bpe.h"

namespace elastron::data {

namespace {

using nlohmann::json;

const json kBlankForSpace = {
    {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
const json kSpaceForBlank = {
    {"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
const json kBlankFirst = {{"type", "Prepend"}, {"prepend", "\u2581"}};
const json kByteFallback = {{"type", "ByteFallback"}};
const json kFuse = {{"type", "Fuse"}};
const json kStrip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};

// The parts of a "Sequence", or the value alone; none for null.
std::vector<json> parts_of(const TokenizerFile& file, const std::string& name, const char* list) {
  const json& value = file.top(name.c_str());
  if (value.is_null()) return {};
  if (file.type_of(value, name) != "Sequence") return {value};
  const json& parts = file.member(value, name + "." + list, list);
  if (!parts.is_array()) file.fail("'" + name + "." + list + "' is not a list");
  return parts.get<std::vector<json>>();
}

// Blanks come from a normalizer, or from a pre-tokenizer that does not split.
BlankInFront read_blanks(const TokenizerFile& file) {
  const auto normalizers = parts_of(file, "normalizer", "normalizers");
  const auto pre_tokenizers = parts_of(file, "pre_tokenizer", "pretokenizers");
  using Parts = std::vector<json>;
  if (pre_tokenizers.empty()) {
    if (normalizers == Parts{kBlankForSpace}) return BlankInFront::never;
    if (normalizers == Parts{kBlankFirst, kBlankForSpace}) return BlankInFront::of_all;
    file.unsupported("normalizer", file.top("normalizer").dump(),
                     "with byte_fallback: Prepend and Replace of blanks, or none with Metaspace");
  }
  if (!normalizers.empty()) {
    file.unsupported("normalizer", file.normalizer(), "with byte_fallback and Metaspace: null");
  }
  const json& step = pre_tokenizers[0];
  const std::string kind = file.type_of(step, "pre_tokenizer");
  if (kind != "Metaspace" || pre_tokenizers.size() > 1) {
    file.unsupported("pre_tokenizer", kind, "with byte_fallback: Metaspace and null");
  }
  if (file.flag(step, "pre_tokenizer", "split", true)) {
    file.unsupported("pre_tokenizer.split", "true", "false");
  }
  if (file.text(step, "pre_tokenizer.replacement", "replacement") != "\u2581") {
    file.unsupported("pre_tokenizer.replacement", step["replacement"].dump(), "U+2581");
  }
  const std::string& scheme = file.text(step, "pre_tokenizer.prepend_scheme", "prepend_scheme");
  if (scheme == "first") return BlankInFront::of_first_without;
  if (scheme == "always") return BlankInFront::of_all_without;
  if (scheme == "never") return BlankInFront::never;
  file.unsupported("pre_tokenizer.prepend_scheme", scheme, "first, always and never");
}

bool read_strips_blank(const TokenizerFile& file) {
  auto decoders = parts_of(file, "decoder", "decoders");
  const bool strips = !decoders.empty() && decoders.back() == kStrip;
  if (strips) decoders.pop_back();
  if (decoders != std::vector<json>{kSpaceForBlank, kByteFallback, kFuse}) {
    file.unsupported("decoder", file.top("decoder").dump(),
                     "with byte_fallback: Replace of U+2581, ByteFallback, Fuse, and Strip or not");
  }
  return strips;
}

}  // namespace

std::unique_ptr<Tokenizer> read_character_bpe(const TokenizerFile& file) {
  check_bpe_options(file);
  if (file.flag(file.top("model"), "model", "ignore_merges", false)) {
    file.unsupported("model.ignore_merges", "true", "with byte_fallback: false");
  }
  const BlankInFront blank = read_blanks(file);
  const bool strips = read_strips_blank(file);
  auto tokens = file.tokens();
  auto merges = read_merges(file, tokens);
  for (const auto& added : tokens.added) {
    // The reference would look for them with blanks replaced and put in front.
    if (added.normalized && !file.top("normalizer").is_null()) {
      file.fail("an added token asks to be normalized, and the normalizer replaces blanks");
    }
  }
  AddedTokens added = added_tokens(tokens, NormalForm::none);
  return make_character_bpe({.vocabulary = std::move(tokens.vocabulary),
                             .model_tokens = tokens.model_tokens,
                             .added = std::move(added),
                             .merges = std::move(merges),
                             .blank_in_front = blank,
                             .strips_blank = strips},
                            file.where());
}

}  // namespace elastron::data
