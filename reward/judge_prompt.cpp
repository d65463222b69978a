#include "reward/judge_prompt.h"

#include <filesystem>

#include "core/error.h"
#include "core/philox.h"
#include "data/document.h"
#include "reward/judge_prompt_texts.h"
#include "reward/overlong.h"

namespace elastron::reward {

namespace {

constexpr int64_t kLeastLimit = 11;  // of without_middle

std::string base_name(std::string_view file) {
  return std::filesystem::path(file).filename().string();
}

}  // namespace

uint32_t judge_coordinate(std::string_view file) { return random_coordinate(base_name(file)); }

bool draws_chosen_first(uint64_t seed, std::string_view file, int64_t row) {
  const RandomStream stream(seed, RandomPurpose::judge_order, judge_coordinate(file), uint32_t(row),
                            uint32_t(uint64_t(row) >> 32));
  return (stream.bits_at(0) & 1) == 0;
}

std::string_view judge_system_prompt(std::string_view file) {
  return base_name(file).find("form") != std::string::npos ? kConstraintAuditPrompt
                                                           : kGeneralPrompt;
}

std::string judge_user_text(std::string_view question, std::string_view a, std::string_view b) {
  std::string text = "[User Question]\n";
  text.append(question);
  for (const auto& [name, trajectory] : {std::pair{"A", a}, std::pair{"B", b}}) {
    text.append("\n\n[The Start of Agent ").append(name).append("'s Trajectory]\n");
    text.append(trajectory);
    text.append("\n[The End of Agent ").append(name).append("'s Trajectory]");
  }
  return text;
}

JudgePrompts::JudgePrompts(const data::Tokenizer& tokenizer, const std::string& model_folder,
                           JudgePromptOptions options)
    : tokenizer_(tokenizer),
      options_(std::move(options)),
      chat_(data::ChatTemplate::open(model_folder, options_.chat_template)) {
  if (options_.limit < kLeastLimit) {
    throw UsageError("a limit of " + std::to_string(options_.limit) + " tokens", "judge",
                     "give at least " + std::to_string(kLeastLimit));
  }
  if (chat_.kind() == data::ChatTemplateSetting::none) {
    throw UsageError("the model has no chat template", model_folder,
                     "judge with a model that was trained on conversations");
  }
  data::check_chat_template(chat_, tokenizer, model_folder);
}

std::string JudgePrompts::text(const PreferenceRow& row, std::string_view file,
                               bool chosen_is_a) const {
  if (row.prompt.size() != 1 || row.prompt[0].role != "user") {
    throw InputError("a judge is asked about one question, and the prompt is a conversation",
                     row.where, "give the prompt as text");
  }
  if (row.rejected.size() != 1) {
    throw InputError("a judge compares two responses, and the row has " +
                         std::to_string(row.rejected.size() + 1),
                     row.where, "give one rejected response");
  }
  const std::string &a = chosen_is_a ? row.chosen : row.rejected[0],
                    &b = chosen_is_a ? row.rejected[0] : row.chosen;
  const std::string system = options_.system_prompt.empty() ? std::string(judge_system_prompt(file))
                                                            : options_.system_prompt;
  const data::ChatMessage conversation[] = {{"system", system},
                                            {"user", judge_user_text(row.prompt[0].content, a, b)}};
  return chat_.render(conversation, /*generation_prompt=*/true);
}

JudgePrompt JudgePrompts::prompt(const PreferenceRow& row, std::string_view file,
                                 bool chosen_is_a) const {
  JudgePrompt prompt;
  prompt.ids = tokenizer_.encode(text(row, file, chosen_is_a));
  prompt.whole_tokens = int64_t(prompt.ids.size());
  if (prompt.whole_tokens < options_.limit) return prompt;
  const auto ends = without_middle(std::move(prompt.ids), options_.limit);
  prompt.ids = tokenizer_.encode(tokenizer_.decode(ends));
  prompt.skipped = int64_t(prompt.ids.size()) >= options_.limit;
  prompt.truncated = !prompt.skipped;
  if (prompt.skipped) prompt.ids.clear();
  return prompt;
}

}  // namespace elastron::reward
