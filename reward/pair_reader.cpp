#include "reward/pair_reader.h"

#include <algorithm>
#include <iterator>
#include <span>

#include "core/error.h"
#include "data/document.h"

namespace elastron::reward {

namespace {

// The responses of a row, the chosen one first: what stands before each, and its text.
struct Response {
  std::span<const data::ChatMessage> before;
  const std::string& text;
};

std::vector<Response> responses_of(const PreferenceRow& row) {
  std::vector<Response> responses;
  for (size_t i = 0; i <= row.rejected.size(); ++i) {
    responses.push_back(
        {row.before.empty() ? std::span<const data::ChatMessage>() : std::span(row.before[i]),
         i == 0 ? row.chosen : row.rejected[i - 1]});
  }
  return responses;
}

// Messages without a template: joined by blank lines.
std::string joined(std::span<const data::ChatMessage> messages) {
  std::string text;
  for (const auto& message : messages) {
    text.append(text.empty() ? "" : "\n\n").append(message.content);
  }
  return text;
}

PairIds pair_of(std::vector<int32_t> prompt, std::vector<std::vector<int32_t>> responses) {
  PairIds pair;
  pair.prompt = std::move(prompt);
  pair.chosen = std::move(responses.front());
  pair.rejected.assign(std::make_move_iterator(responses.begin() + 1),
                       std::make_move_iterator(responses.end()));
  return pair;
}

}  // namespace

PairReader::PairReader(const data::Tokenizer& tokenizer, std::vector<int32_t> eos,
                       const std::string& model_folder, data::ChatTemplateSetting chat_template,
                       data::ControlTokens controls, std::optional<int32_t> padding)
    : tokenizer_(tokenizer),
      eos_(std::move(eos)),
      chat_(data::ChatTemplate::open(model_folder, chat_template)),
      controls_(controls),
      padding_(padding) {
  ELASTRON_CHECK(!eos_.empty(), "a model has an end-of-sequence id");
  ELASTRON_CHECK(controls_ != data::ControlTokens::automatic, "the caller knows the use");
  if (chat_.kind() != data::ChatTemplateSetting::none) {
    data::check_chat_template(chat_, tokenizer, model_folder);
  }
}

std::vector<int32_t> PairReader::controls_in(const PreferenceRow& row) const {
  std::vector<std::string_view> texts;
  for (const auto& message : row.prompt) texts.emplace_back(message.content);
  for (const Response& r : responses_of(row)) {
    for (const auto& message : r.before) texts.emplace_back(message.content);
    texts.emplace_back(r.text);
  }
  return data::find_controls(texts, tokenizer_, controls_, row.where);
}

std::vector<int32_t> PairReader::encode(std::string_view text,
                                        const std::vector<data::TextRange>& contents) const {
  return controls_ == data::ControlTokens::text ? tokenizer_.encode(text, contents)
                                                : tokenizer_.encode(text);
}

std::vector<int32_t> PairReader::response(std::string_view text,
                                          const std::vector<data::TextRange>& contents) const {
  // The template's newline behind the end of a turn is not judged.
  auto ids = encode(text.substr(0, text.find_last_not_of('\n') + 1), contents);
  if (ids.empty() || std::ranges::find(eos_, ids.back()) == eos_.end()) ids.push_back(eos_.front());
  return ids;
}

PairIds PairReader::ids(const PreferenceRow& row) const {
  return chat_.kind() == data::ChatTemplateSetting::none ? ids_of_texts(row) : ids_of_turns(row);
}

PairIds PairReader::ids_of_texts(const PreferenceRow& row) const {
  const auto all = [](const std::string& text) {
    return std::vector<data::TextRange>{{0, text.size()}};
  };
  std::vector<std::vector<int32_t>> responses;
  for (const Response& r : responses_of(row)) {
    const std::string text = r.before.empty() ? r.text : joined(r.before) + "\n\n" + r.text;
    responses.push_back(response(text, all(text)));
  }
  const std::string prompt = joined(row.prompt);
  return pair_of(encode(prompt, all(prompt)), std::move(responses));
}

PairIds PairReader::ids_of_turns(const PreferenceRow& row) const {
  // What opens the assistant's turn belongs to the prompt, unless a response's own thoughts make
  // it another one, or a response begins with a newline behind one: together they are one token.
  std::vector<data::RenderedChat> whole;
  for (const Response& r : responses_of(row)) {
    auto messages = row.prompt;
    messages.insert(messages.end(), r.before.begin(), r.before.end());
    messages.push_back({"assistant", r.text});
    whole.push_back(chat_.render(messages, false, row.where));
  }
  data::RenderedChat prompt = chat_.render(row.prompt, true, row.where);
  const auto begins = [&](const data::RenderedChat& chat) {
    return chat.text.starts_with(prompt.text) &&
           !(prompt.text.ends_with('\n') && chat.text.substr(prompt.text.size()).starts_with('\n'));
  };
  if (!std::ranges::all_of(whole, begins)) prompt = chat_.render(row.prompt, false, row.where);
  if (!std::ranges::all_of(whole, begins)) {
    throw InputError("the chat template changes the prompt with the response", row.where,
                     "end the prompt with a message of the user, set data.chat_template: none, or "
                     "reward.bad_rows: "
                     "skip, which leaves such rows out and counts them");
  }
  const size_t border = prompt.text.size();
  std::vector<std::vector<int32_t>> responses;
  for (const data::RenderedChat& chat : whole) {
    responses.push_back(response(std::string_view(chat.text).substr(border),
                                 data::ranges_within(chat.contents, border, chat.text.size())));
  }
  return pair_of(encode(prompt.text, prompt.contents), std::move(responses));
}

std::optional<PairIds> PairReader::ids(const PreferenceRow& row, BadRows bad_rows) const {
  try {
    return ids(row);
  } catch (const InputError&) {
    if (bad_rows == BadRows::error) throw;
    return {};
  }
}

FittedPair PairReader::fit(const PreferenceRow& row, int64_t limit, Overlong policy,
                           BadRows bad_rows) const {
  const auto found = ids(row, bad_rows);
  if (!found) return {.drop_reason = DropReason::not_rendered};
  FittedPair pair = fit_pair(*found, limit, policy, row.where);
  return padding_ ? without_padding(std::move(pair), *padding_) : pair;
}

}  // namespace elastron::reward
