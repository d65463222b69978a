#include "data/tokenizer/byte_level_bpe_file.h"

#include "data/tokenizer/bpe_file.h"
#include "data/tokenizer/byte_level_bpe.h"
#include "data/tokenizer/pre_tokenizer_file.h"

namespace elastron::data {

namespace {

NormalForm read_normal_form(const TokenizerFile& file) {
  const std::string normalizer = file.normalizer();
  if (normalizer == "NFC") return NormalForm::nfc;
  if (normalizer == "NFKC") return NormalForm::nfkc;
  if (normalizer != "null") file.unsupported("normalizer", normalizer, "NFC, NFKC and null");
  return NormalForm::none;
}

}  // namespace

std::unique_ptr<Tokenizer> read_byte_level_bpe(const TokenizerFile& file) {
  check_bpe_options(file);
  const auto& model = file.top("model");
  // Every byte has a token: there is nothing unknown, and no need to fall back.
  for (const char* key : {"byte_fallback", "fuse_unk"}) {
    if (file.flag(model, "model", key, false)) {
      file.unsupported(std::string("model.") + key, "true", "false");
    }
  }
  const NormalForm form = read_normal_form(file);
  const std::string decoder = file.type_of(file.top("decoder"), "decoder");
  if (decoder != "ByteLevel") file.unsupported("decoder", decoder, "ByteLevel");
  auto splits = read_split_steps(file);

  auto tokens = file.tokens();
  auto merges = read_merges(file, tokens);
  AddedTokens added = added_tokens(tokens, form);
  return make_byte_level_bpe({.vocabulary = std::move(tokens.vocabulary),
                              .model_tokens = tokens.model_tokens,
                              .added = std::move(added),
                              .splits = std::move(splits),
                              .merges = std::move(merges),
                              .ignore_merges = file.flag(model, "model", "ignore_merges", false)},
                             file.where());
}

}  // namespace elastron::data
