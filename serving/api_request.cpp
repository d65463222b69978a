#include "serving/api_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "core/error.h"
#include "data/leading_ids.h"
#include "serving/body_fields.h"

namespace elastron::serving {

namespace {

constexpr size_t kMostStops = 16, kMostMessages = 4096;

uint64_t any_seed() {
  std::random_device device;
  return uint64_t(device()) << 32 | device();
}

// What a body says of the beginning that it shares with others.
struct SharedBeginning {
  nlohmann::json prefix;  // of prompts: null, a text or ids
  int64_t messages = 0;   // of a conversation
};

// What both kinds have.
SharedBeginning common_fields(BodyFields& f, const ServedModel& model, ApiRequest& r,
                              inference::Request& each) {
  SharedBeginning shared;
  const auto name = f.text("model");
  if (name && *name != model.name) {
    throw ApiError(404, "invalid_request_error",
                   fmt::format("the model '{}' is not served here: use '{}'", *name, model.name),
                   "model", "model_not_found");
  }
  r.n = f.integer("n", 1, kMostChoices).value_or(1);
  r.stream = f.flag("stream");
  if (const nlohmann::json* options = f.take("stream_options")) {
    if (!r.stream) throw invalid("stream_options", "'stream_options' is for 'stream': true");
    BodyFields inner(*options);
    r.usage_chunk = inner.flag("include_usage");
    inner.refuse_others();
  }
  if (const nlohmann::json* own = f.take("elastron")) {
    if (!own->is_object()) throw invalid("elastron", "'elastron' must be an object");
    BodyFields inner(*own);
    r.gates = inner.flag("gates");
    if (r.kind == ApiKind::chat) {
      shared.messages = inner.integer("prefix_messages", 1, int64_t(kMostMessages)).value_or(0);
    } else if (const nlohmann::json* prefix = inner.take("prefix")) {
      shared.prefix = *prefix;
    }
    inner.refuse_others();
  }
  auto& s = each.sampling;
  s.temperature = f.number("temperature", 0, 2).value_or(1);
  s.top_p = f.number("top_p", 0, 1).value_or(1);
  s.top_k = std::max<int64_t>(f.integer("top_k", -1, int64_t(1) << 31).value_or(0), 0);
  s.min_p = f.number("min_p", 0, 1).value_or(0);
  const auto seed =
      f.integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  s.seed = seed ? uint64_t(*seed) : any_seed();
  each.stops = f.texts("stop", kMostStops);
  each.stop_ids = f.ids("stop_token_ids", kMostStops, model.vocab_size);
  each.skip_controls = f.flag("skip_special_tokens", true);
  // A text without control tokens does not show them.
  for (const std::string& stop : each.stops) {
    const auto id = model.tokenizer->id(stop);
    if (id && model.tokenizer->is_control(*id)) each.stop_ids.push_back(*id);
  }
  each.ignore_eos = f.flag("ignore_eos");
  each.min_tokens = f.integer("min_tokens", 0, std::numeric_limits<int32_t>::max()).value_or(0);
  f.only("presence_penalty", 0);
  f.only("frequency_penalty", 0);
  f.only("logit_bias", nlohmann::json::object());
  f.ignore({"user", "metadata", "store"});
  return shared;
}

void check_prompt(const std::vector<int32_t>& ids, const ServedModel& model,
                  const std::string& field) {
  if (ids.empty()) throw invalid(field, "the prompt has no tokens: give some text");
  if (int64_t(ids.size()) > model.max_position) {
    throw invalid(field,
                  fmt::format("the prompt has {} tokens, and a sequence at most {}", ids.size(),
                              model.max_position),
                  "context_length_exceeded");
  }
}

// Tokens to generate after `prompt`, as asked for or, without that, as many as there is room for.
int64_t room(std::optional<int64_t> wanted, int64_t prompt, const ServedModel& model,
             const std::string& field) {
  const int64_t left = model.max_position - prompt;
  if (!wanted) return left;
  if (*wanted > left) {
    throw invalid(
        field,
        fmt::format("{} tokens of a prompt and {} to generate are more than the {} of the "
                    "longest sequence",
                    prompt, *wanted, model.max_position),
        "context_length_exceeded");
  }
  return *wanted;
}

void make_choices(ApiRequest& r, const inference::Request& each, std::optional<int64_t> max_tokens,
                  const ServedModel& model, const std::string& field) {
  if (int64_t(r.prompts.size()) * r.n > kMostChoices) {
    throw invalid("n", fmt::format("{} prompts with n = {} are more than {} choices",
                                   r.prompts.size(), r.n, kMostChoices));
  }
  for (const auto& prompt : r.prompts) {
    for (int64_t i = 0; i < r.n; ++i) {
      inference::Request one = each;
      one.prompt = prompt;
      one.prefix_tokens = r.prefix_tokens;
      one.max_tokens = room(max_tokens, int64_t(prompt.size()), model, field);
      one.sampling.stream = uint64_t(r.choices.size());
      r.choices.push_back(std::move(one));
    }
  }
}

std::vector<int32_t> tokens_of(const nlohmann::json& list, const ServedModel& model,
                               const std::string& field = "prompt") {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const nlohmann::json& id : list) {
    if (!is_id(id, model.vocab_size)) {
      throw invalid(field, fmt::format("'{}' has {}, which is no token id below {}", field,
                                       id.dump().substr(0, 40), model.vocab_size));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

// `leading`: it begins with what the tokenizer puts before a text.
void add_text(const std::string& text, const ServedModel& model, bool leading, ApiRequest& r) {
  try {
    r.prompts.push_back(model.tokenizer->encode(text));
  } catch (const InputError& e) {
    throw invalid("prompt", e.what());
  }
  r.prompt_texts.push_back(text);
  if (leading) data::lead(r.prompts.back(), model.leading);
}

// A text, a list of texts, of ids, or of lists of ids.
void add_prompts(const nlohmann::json& prompt, const ServedModel& model, bool leading,
                 ApiRequest& r) {
  const auto add_ids = [&](const nlohmann::json& list) {
    r.prompts.push_back(tokens_of(list, model));
    r.prompt_texts.push_back(model.tokenizer->decode(r.prompts.back()));
  };
  const auto all = [&](auto is) { return std::all_of(prompt.begin(), prompt.end(), is); };
  using J = nlohmann::json;
  if (prompt.is_string()) return add_text(prompt.get<std::string>(), model, leading, r);
  if (prompt.is_array() && !prompt.empty()) {
    if (all([](const J& p) { return p.is_number(); })) return add_ids(prompt);
    if (int64_t(prompt.size()) > kMostChoices) {
      throw invalid("prompt", fmt::format("more than {} prompts", kMostChoices));
    }
    if (all([](const J& p) { return p.is_string(); })) {
      for (const J& p : prompt) add_text(p.get<std::string>(), model, leading, r);
      return;
    }
    if (all([](const J& p) { return p.is_array(); })) {
      for (const J& p : prompt) add_ids(p);
      return;
    }
  }
  throw invalid(
      "prompt",
      "'prompt' must be a string, a list of strings, a list of token ids, or a list of such "
      "lists");
}

// The prefix goes before every prompt, in tokens of its own: what comes behind does not change them.
void put_before_prompts(const nlohmann::json& prefix, const ServedModel& model, bool leading,
                        ApiRequest& r) {
  if (prefix.is_null()) return;
  if (r.echo && r.kind == ApiKind::completion) {
    throw invalid("elastron", "a prefix is not for 'echo': leave one of them out");
  }
  std::vector<int32_t> ids;
  if (prefix.is_string()) {
    try {
      ids = model.tokenizer->encode(prefix.get<std::string>());
    } catch (const InputError& e) {
      throw invalid("elastron", e.what());
    }
    if (leading) data::lead(ids, model.leading);
  } else if (prefix.is_array()) {
    ids = tokens_of(prefix, model, "elastron");
  } else {
    throw invalid("elastron", "'elastron.prefix' must be a string or a list of token ids");
  }
  if (ids.empty()) throw invalid("elastron", "'elastron.prefix' has no tokens");
  r.prefix_tokens = int64_t(ids.size());
  for (auto& prompt : r.prompts) {
    if (prompt.empty()) throw invalid("prompt", "something must come behind 'elastron.prefix'");
    prompt.insert(prompt.begin(), ids.begin(), ids.end());
  }
}

// Tokens of the conversation's first messages, which must be a beginning of all of it.
int64_t tokens_of_first(int64_t count, const std::vector<data::ChatMessage>& messages,
                        const std::vector<int32_t>& all, const ServedModel& model) {
  if (count >= int64_t(messages.size())) {
    throw invalid("elastron", fmt::format("'elastron.prefix_messages' is {} of {} messages: "
                                          "something must come behind them",
                                          count, messages.size()));
  }
  std::vector<int32_t> ids;
  try {
    const auto chat = model.chat->render(std::span(messages).first(size_t(count)),
                                         /*generation_prompt=*/false, "messages");
    ids = model.tokenizer->encode(chat.text, chat.contents);
  } catch (const InputError& e) {
    throw invalid("elastron", e.what());
  }
  if (ids.empty() || ids.size() >= all.size() || !std::equal(ids.begin(), ids.end(), all.begin())) {
    throw invalid("elastron",
                  "the chat template writes the first messages otherwise where others follow: "
                  "leave 'elastron.prefix_messages' out");
  }
  return int64_t(ids.size());
}

std::string content_of(const nlohmann::json& message, const std::string& where) {
  const auto it = message.find("content");
  if (it != message.end() && it->is_string()) return it->get<std::string>();
  if (it == message.end() || !it->is_array()) {
    throw invalid("messages", where + ".content must be a string, or a list of text parts");
  }
  std::string text;
  for (const nlohmann::json& part : *it) {
    if (!part.is_object() || part.value("type", "") != "text" || !part.contains("text") ||
        !part["text"].is_string()) {
      throw invalid("messages", where + ".content has a part that is no text");
    }
    text += part["text"].get<std::string>();
  }
  return text;
}

std::vector<data::ChatMessage> messages_of(const nlohmann::json* list) {
  if (list == nullptr || !list->is_array() || list->empty() || list->size() > kMostMessages) {
    throw invalid("messages",
                  fmt::format("'messages' must be a list of 1 to {} messages", kMostMessages));
  }
  std::vector<data::ChatMessage> messages;
  for (const nlohmann::json& m : *list) {
    const std::string where = fmt::format("messages[{}]", messages.size());
    if (!m.is_object()) throw invalid("messages", where + " is no object");
    for (const auto& [key, value] : m.items()) {
      if (key == "role" || key == "content" || key == "name" || value.is_null()) continue;
      throw invalid("messages", where + "." + key + " is not supported: leave it out");
    }
    std::string role;
    if (m.contains("role") && m["role"].is_string()) role = m["role"].get<std::string>();
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant") {
      throw invalid("messages", where + ".role must be system, user or assistant");
    }
    messages.push_back({.role = role, .content = content_of(m, where)});
  }
  return messages;
}

}  // namespace

ApiRequest parse_completion(const nlohmann::json& body, const ServedModel& model) {
  BodyFields f(body);
  ApiRequest r;
  inference::Request each;
  const auto shared = common_fields(f, model, r, each);
  const nlohmann::json* prompt = f.take("prompt");
  if (prompt == nullptr) throw invalid("prompt", "'prompt' is missing");
  r.echo = f.flag("echo");
  const int64_t max_tokens =
      f.integer("max_tokens", r.echo ? 0 : 1, std::numeric_limits<int32_t>::max()).value_or(16);
  const auto logprobs = f.integer("logprobs", 0, kMostTopLogprobs);
  const auto best_of = f.integer("best_of", 1, kMostChoices);
  if (best_of && *best_of != r.n) {
    throw invalid("best_of", "'best_of' is not supported: leave it out", "unsupported_parameter");
  }
  f.only("suffix", "");
  const bool leading = f.flag("add_special_tokens", true);
  f.refuse_others();
  if (logprobs) each.top_logprobs = int(*logprobs);
  each.prompt_logprobs = r.echo && logprobs.has_value();
  add_prompts(*prompt, model, leading && shared.prefix.is_null(), r);
  put_before_prompts(shared.prefix, model, leading, r);
  for (const auto& ids : r.prompts) check_prompt(ids, model, "prompt");
  make_choices(r, each, max_tokens, model, "max_tokens");
  return r;
}

ApiRequest parse_generate(const nlohmann::json& body, const ServedModel& model,
                          bool prompt_before) {
  BodyFields f(body);
  ApiRequest r{.kind = ApiKind::generate, .echo = prompt_before};
  inference::Request each;
  const auto shared = common_fields(f, model, r, each);
  const auto prompt = f.text("prompt");
  if (!prompt) throw invalid("prompt", "'prompt' is missing");
  const int64_t max_tokens =
      f.integer("max_tokens", 1, std::numeric_limits<int32_t>::max()).value_or(16);
  if (r.stream) {
    throw invalid("stream", "'stream' is not supported here: use /v1/completions",
                  "unsupported_parameter");
  }
  f.only("best_of", r.n);
  f.only("repetition_penalty", 1);
  f.only("length_penalty", 1);
  f.only("use_beam_search", false);
  f.only("early_stopping", false);
  f.only("spaces_between_special_tokens", true);
  f.only("include_stop_str_in_output", false);
  f.only("logprobs", nullptr);
  f.only("prompt_logprobs", nullptr);
  const bool leading = f.flag("add_special_tokens", true);
  f.refuse_others();
  add_text(*prompt, model, leading && shared.prefix.is_null(), r);
  put_before_prompts(shared.prefix, model, leading, r);
  check_prompt(r.prompts[0], model, "prompt");
  make_choices(r, each, max_tokens, model, "max_tokens");
  return r;
}

ApiRequest parse_chat(const nlohmann::json& body, const ServedModel& model) {
  BodyFields f(body);
  ApiRequest r{.kind = ApiKind::chat};
  inference::Request each;
  const auto shared = common_fields(f, model, r, each);
  const auto messages = messages_of(f.take("messages"));
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto old_name = f.integer("max_tokens", 1, kMost);
  const auto new_name = f.integer("max_completion_tokens", 1, kMost);
  r.chat_logprobs = f.flag("logprobs");
  const auto top = f.integer("top_logprobs", 0, kMostTopLogprobs);
  if (top && !r.chat_logprobs) {
    throw invalid("top_logprobs", "'top_logprobs' is for 'logprobs': true");
  }
  f.only("response_format", {{"type", "text"}});
  f.only("tools", nlohmann::json::array());
  f.only("tool_choice", "none");
  f.only("functions", nlohmann::json::array());
  f.only("parallel_tool_calls", false);
  f.refuse_others();
  if (r.chat_logprobs) each.top_logprobs = int(top.value_or(0));
  if (model.chat->kind() == data::ChatTemplateSetting::none) {
    throw invalid("messages",
                  "the model has no chat template: use /v1/completions, or serve it with "
                  "--chat-template");
  }
  try {
    const auto chat = model.chat->render(messages, /*generation_prompt=*/true, "messages");
    r.prompts.push_back(model.tokenizer->encode(chat.text, chat.contents));
    r.prompt_texts.push_back(chat.text);
  } catch (const InputError& e) {
    throw invalid("messages", e.what());
  }
  if (shared.messages > 0) {
    r.prefix_tokens = tokens_of_first(shared.messages, messages, r.prompts[0], model);
  }
  check_prompt(r.prompts[0], model, "messages");
  make_choices(r, each, new_name ? new_name : old_name, model,
               new_name ? "max_completion_tokens" : "max_tokens");
  return r;
}

}  // namespace elastron::serving
