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

// Of the text that the ids decode to, what lies between their control tokens: what else it spells
// out was text before.
std::vector<data::TextRange> between_controls(const std::vector<int32_t>& ids,
                                              const data::Tokenizer& tokenizer) {
  std::vector<data::TextRange> ranges;
  size_t begin = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!tokenizer.is_control(ids[i])) continue;
    const auto to_here = [&](size_t count) {
      return tokenizer.decode({ids.begin(), ids.begin() + int64_t(count)}).size();
    };
    const size_t end = to_here(i + 1);
    const size_t token = tokenizer.decode({ids[i]}).size();
    if (end - token > begin) ranges.push_back({begin, end - token});
    begin = end;
  }
  const size_t size = tokenizer.decode(ids).size();
  if (size > begin) ranges.push_back({begin, size});
  return ranges;
}

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
  if (options_.control_tokens == data::ControlTokens::automatic) {
    options_.control_tokens = data::ControlTokens::text;
  }
}

std::vector<int32_t> JudgePrompts::controls_in(const PreferenceRow& row) const {
  std::vector<std::string_view> texts = {row.chosen};
  for (const auto& message : row.prompt) texts.emplace_back(message.content);
  texts.insert(texts.end(), row.rejected.begin(), row.rejected.end());
  return data::find_controls(texts, tokenizer_, options_.control_tokens, row.where);
}

std::vector<int32_t> JudgePrompts::encode(std::string_view text,
                                          const std::vector<data::TextRange>& contents) const {
  return options_.control_tokens == data::ControlTokens::text ? tokenizer_.encode(text, contents)
                                                              : tokenizer_.encode(text);
}

std::string JudgePrompts::text(const PreferenceRow& row, std::string_view file,
                               bool chosen_is_a) const {
  return rendered(row, file, chosen_is_a).text;
}

data::RenderedChat JudgePrompts::rendered(const PreferenceRow& row, std::string_view file,
                                          bool chosen_is_a) const {
  if (row.prompt.size() != 1 || !row.before.empty() || row.prompt[0].role != "user") {
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
  return chat_.render(conversation, /*generation_prompt=*/true, row.where);
}

JudgePrompt JudgePrompts::prompt(const PreferenceRow& row, std::string_view file,
                                 bool chosen_is_a) const {
  JudgePrompt prompt;
  const data::RenderedChat chat = rendered(row, file, chosen_is_a);
  prompt.ids = encode(chat.text, chat.contents);
  prompt.whole_tokens = int64_t(prompt.ids.size());
  if (prompt.whole_tokens < options_.limit) return prompt;
  const auto ends = without_middle(std::move(prompt.ids), options_.limit);
  prompt.ids = encode(tokenizer_.decode(ends), between_controls(ends, tokenizer_));
  prompt.skipped = int64_t(prompt.ids.size()) >= options_.limit;
  prompt.truncated = !prompt.skipped;
  if (prompt.skipped) prompt.ids.clear();
  return prompt;
}

}  // namespace elastron::reward
