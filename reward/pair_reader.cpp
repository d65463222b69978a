#include "reward/pair_reader.h"

#include <algorithm>

#include "core/error.h"
#include "data/document.h"

namespace elastron::reward {

PairReader::PairReader(const data::Tokenizer& tokenizer, std::vector<int32_t> eos,
                       const std::string& model_folder, data::ChatTemplateSetting chat_template,
                       std::optional<int32_t> padding)
    : tokenizer_(tokenizer),
      eos_(std::move(eos)),
      chat_(data::ChatTemplate::open(model_folder, chat_template)),
      padding_(padding) {
  ELASTRON_CHECK(!eos_.empty(), "a model has an end-of-sequence id");
  if (chat_.kind() != data::ChatTemplateSetting::none) {
    data::check_chat_template(chat_, tokenizer, model_folder);
  }
}

std::vector<int32_t> PairReader::response(const std::string& text) const {
  // The template's newline behind the end of a turn is not judged.
  auto ids = tokenizer_.encode(text.substr(0, text.find_last_not_of('\n') + 1));
  if (ids.empty() || std::ranges::find(eos_, ids.back()) == eos_.end()) ids.push_back(eos_.front());
  return ids;
}

PairIds PairReader::ids(const PreferenceRow& row) const {
  PairIds pair;
  std::vector<std::string> texts = {row.chosen};
  texts.insert(texts.end(), row.rejected.begin(), row.rejected.end());
  std::vector<std::vector<int32_t>> responses;
  if (chat_.kind() == data::ChatTemplateSetting::none) {
    std::string prompt;
    for (const auto& message : row.prompt) {
      prompt.append(prompt.empty() ? "" : "\n\n").append(message.content);
    }
    pair.prompt = tokenizer_.encode(prompt);
    for (const std::string& text : texts) responses.push_back(response(text));
  } else {
    // What opens the assistant's turn belongs to the prompt, unless a response's own thoughts make
    // it another one.
    std::vector<std::string> whole;
    auto messages = row.prompt;
    messages.push_back({"assistant", ""});
    for (const std::string& text : texts) {
      messages.back().content = text;
      whole.push_back(chat_.render(messages, false));
    }
    std::string prompt = chat_.render(row.prompt, true);
    const auto begins = [&](const std::string& text) { return text.starts_with(prompt); };
    if (!std::ranges::all_of(whole, begins)) prompt = chat_.render(row.prompt, false);
    if (!std::ranges::all_of(whole, begins)) {
      throw InputError(
          "the chat template changes the prompt with the response", row.where,
          "end the prompt with a message of the user, or set data.chat_template: none");
    }
    pair.prompt = tokenizer_.encode(prompt);
    for (const std::string& text : whole) responses.push_back(response(text.substr(prompt.size())));
  }
  pair.chosen = std::move(responses.front());
  pair.rejected.assign(std::make_move_iterator(responses.begin() + 1),
                       std::make_move_iterator(responses.end()));
  return pair;
}

FittedPair PairReader::fit(const PreferenceRow& row, int64_t limit, Overlong policy) const {
  FittedPair pair = fit_pair(ids(row), limit, policy, row.where);
  return padding_ ? without_padding(std::move(pair), *padding_) : pair;
}

}  // namespace elastron::reward
