#include "benchmark/running/prompter.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/leading_ids.h"
#include "model/weights/model_config.h"

namespace elastron::benchmark {

namespace {

// By how many tokens a text of two halves may grow when it is tokenised again.
constexpr int64_t kRegrown = 16;
// Fewer tokens of a prompt ask nothing.
constexpr int64_t kLeastLimit = 32;

}  // namespace

Prompter::Prompter(const std::string& model_folder, data::ChatTemplateSetting chat)
    : folder_(model_folder),
      tokenizer_(data::load_tokenizer(model_folder)),
      chat_(data::ChatTemplate::open(model_folder, chat)),
      leading_(data::leading_ids(model_folder)) {
  const model::ModelConfig shapes = model::read_model_shapes(model_folder);
  model_vocab_ = shapes.vocab_size;
  vocab_size_ = std::min(model_vocab_, tokenizer_->vocab_size());
  positions_ = shapes.max_position_embeddings;
}

std::string Prompter::rendered(const std::string& prompt, const std::string& where) const {
  const data::ChatMessage turn{.role = "user", .content = prompt};
  return chat_.render({&turn, 1}, /*generation_prompt=*/true, where).text;
}

Question Prompter::question(const std::string& prompt, const Form& form,
                            const std::string& where) const {
  Question question;
  std::string text = prompt;
  if (form.limit > 0) {
    CutPrompt cut = cut_middle(
        *tokenizer_, prompt,
        {.limit = form.limit, .leading_tokens = int64_t(leading_.size()), .join = form.join});
    question.truncated = cut.truncated;
    text = std::move(cut.text);
  }
  if (form.chat && has_chat()) text = rendered(text, where);
  question.ids = tokenizer_->encode(text + form.answer_prefix);
  data::lead(question.ids, leading_);
  if (question.ids.empty()) throw InputError("the prompt is empty", where, "give it some text");
  if (std::ranges::max(question.ids) >= model_vocab_) {
    throw InputError("the tokenizer has ids that the model lacks", where,
                     "use the tokenizer of this model (" + folder_ + ")");
  }
  return question;
}

std::string Prompter::text_of(std::vector<int32_t> ids) const {
  std::erase_if(ids, [&](int32_t id) { return tokenizer_->is_control(id); });
  return tokenizer_->decode(ids);
}

int64_t Prompter::largest_limit(int64_t new_tokens) const {
  const int64_t around = has_chat() ? int64_t(tokenizer_->encode(rendered("x", "chat")).size()) : 0;
  const int64_t limit = positions_ - new_tokens - around - kRegrown;
  if (limit < kLeastLimit) {
    throw UsageError(
        fmt::format("the model's {} positions leave no room for prompts beside {} new tokens",
                    positions_, new_tokens),
        folder_, "use a model of more positions, or give --limit");
  }
  return limit;
}

}  // namespace elastron::benchmark
