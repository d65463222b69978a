// Prompts as token ids of a model folder: cut, in the folder's chat template or bare.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/middle_cut.h"
#include "benchmark/running/task.h"
#include "data/chat_template.h"
#include "data/tokenizer.h"

namespace elastron::benchmark {

class Prompter {
 public:
  // Reads the folder's shapes, tokenizer and chat template. Throws InputError for a template that is
  // not recognised.
  Prompter(const std::string& model_folder, data::ChatTemplateSetting chat);

  struct Form {
    bool chat = true;  // the prompt is a user's turn, where there is a chat template
    int64_t limit =
        0;  // tokens beyond which the prompt loses its middle, before the template; 0: none
    MiddleCut::Join join = MiddleCut::Join::texts;
    std::string answer_prefix;  // begins the answer
  };
  // -> ids and whether the prompt was cut. A bare prompt begins with what the tokenizer puts before
  // any text. Control tokens that the prompt spells out are such, as in the published programs.
  // Throws InputError naming `where` where an id is none of the model's, or there is none.
  Question question(const std::string& prompt, const Form& form, const std::string& where) const;

  // What was generated, without control tokens.
  std::string text_of(std::vector<int32_t> ids) const;

  const data::Tokenizer& tokenizer() const { return *tokenizer_; }
  bool has_chat() const { return chat_.kind() != data::ChatTemplateSetting::none; }
  // Of what may be generated: ids of the tokenizer and of the model.
  int64_t vocab_size() const { return vocab_size_; }
  // The most tokens of a prompt that leaves `new_tokens` of the model's positions free, in the chat
  // template and after a cut, by which the number of tokens may change a little. Throws UsageError
  // where that is next to nothing.
  int64_t largest_limit(int64_t new_tokens) const;
  int64_t model_positions() const { return positions_; }

 private:
  std::string rendered(const std::string& prompt, const std::string& where) const;

  std::string folder_;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  data::ChatTemplate chat_;
  std::vector<int32_t> leading_;
  int64_t model_vocab_, vocab_size_, positions_;
};

}  // namespace elastron::benchmark
