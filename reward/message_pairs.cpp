#include "reward/message_pairs.h"

#include <algorithm>

#include "core/error.h"
#include "data/chat_messages.h"

namespace elastron::reward {

namespace {

using data::ChatMessage;
using nlohmann::json;
using Messages = std::vector<ChatMessage>;

bool begins_with(const Messages& all, const Messages& begin) {
  return all.size() >= begin.size() && std::equal(begin.begin(), begin.end(), all.begin());
}

// A prompt that is text is the first message of the user, behind system messages that the prompt
// does not have.
bool begins_with(const Messages& all, const std::string& prompt) {
  const auto first = std::ranges::find_if(all, [](const auto& m) { return m.role != "system"; });
  return first != all.end() && *first == ChatMessage{"user", prompt};
}

void put_prompt_in_front(std::vector<Messages>& conversations, const json& prompt,
                         const std::string& where) {
  const bool text = prompt.is_string();
  const Messages messages = text ? Messages{{"user", prompt.get<std::string>()}}
                                 : data::chat_messages(prompt, "'prompt'", where);
  const auto has_it = [&](const Messages& all) {
    return text ? begins_with(all, messages[0].content) : begins_with(all, messages);
  };
  if (std::ranges::all_of(conversations, has_it)) return;
  for (Messages& conversation : conversations) {
    if (conversation[0].role != "assistant") {
      throw InputError("the message lists neither begin with 'prompt' nor with an answer to it",
                       where, "leave 'prompt' out: what the lists begin with is taken for it");
    }
    conversation.insert(conversation.begin(), messages.begin(), messages.end());
  }
}

}  // namespace

bool has_message_lists(const json& object) {
  const auto chosen = object.find("chosen");
  return chosen != object.end() && chosen->is_array();
}

void read_message_lists(PreferenceRow& row, const json& object, const std::string& rejected) {
  const json& others = object[rejected];
  std::vector<Messages> conversations = {
      data::chat_messages(object["chosen"], "'chosen'", row.where)};
  const std::string name = "'" + rejected + "'";
  if (others.is_array() && !others.empty() && others[0].is_array()) {
    for (const json& other : others) {
      conversations.push_back(data::chat_messages(other, name, row.where));
    }
  } else {
    conversations.push_back(data::chat_messages(others, name, row.where));
  }
  if (const auto prompt = object.find("prompt"); prompt != object.end() && !prompt->is_null()) {
    put_prompt_in_front(conversations, *prompt, row.where);
  }
  // The longest common beginning that leaves each its last message.
  const Messages& chosen = conversations[0];
  size_t common = chosen.size() - 1;
  for (const Messages& other : conversations) {
    if (other.back().role != "assistant") {
      throw InputError("a list of messages does not end with the assistant's", row.where,
                       "end 'chosen' and " + name + " with the answer that is judged");
    }
    const size_t most = std::min(common, other.size() - 1);
    const auto end = chosen.begin() + int64_t(most);
    common = size_t(std::mismatch(chosen.begin(), end, other.begin()).first - chosen.begin());
  }
  if (common == 0) {
    throw InputError("'chosen' and " + name + " do not begin with the same message", row.where,
                     "give both the same prompt");
  }
  row.prompt.assign(chosen.begin(), chosen.begin() + int64_t(common));
  bool more = false;
  for (size_t i = 0; i < conversations.size(); ++i) {
    Messages& all = conversations[i];
    (i == 0 ? row.chosen : row.rejected.emplace_back()) = std::move(all.back().content);
    row.before.emplace_back(all.begin() + int64_t(common), all.end() - 1);
    more = more || !row.before.back().empty();
  }
  if (!more) row.before.clear();
}

}  // namespace elastron::reward
