#include "serving/api_answer.h"

#include <algorithm>

#include "serving/api_error.h"

namespace elastron::serving {

using nlohmann::json;

namespace {

size_t characters(const std::string& utf8) {
  return size_t(std::ranges::count_if(utf8, [](char c) { return (c & 0xc0) != 0x80; }));
}

json bytes_of(const std::string& text) {
  json list = json::array();
  for (const char c : text) list.push_back(int(uint8_t(c)));
  return list;
}

// What the method has to tell of a request.
json own_figures(const inference::PromptSummary& p, bool gates) {
  json own = {{"msr", p.msr},
              {"esr_tiles", p.esr_tiles},
              {"cache_bytes", p.cache_bytes},
              {"full_cache_bytes", p.full_cache_bytes}};
  if (gates) own["gates"] = p.gates;
  return own;
}

}  // namespace

ApiAnswer::ApiAnswer(const ApiRequest& request, const ServedModel& model, std::string id,
                     int64_t created)
    : request_(request),
      model_(model),
      id_(std::move(id)),
      created_(created),
      choices_(request.choices.size()),
      open_(request.choices.size()) {
  for (const auto& prompt : request.prompts) prompt_tokens_ += int64_t(prompt.size());
}

bool ApiAnswer::wants_logprobs() const { return request_.choices.front().top_logprobs.has_value(); }

json ApiAnswer::token(const inference::ScoredToken& t) const {
  const auto named = [&](int32_t id, double logprob) -> json {
    const std::string text = model_.tokenizer->decode({id});
    return {{"token", text}, {"logprob", logprob}, {"bytes", bytes_of(text)}};
  };
  json one = named(t.id, t.logprob.value_or(0));
  one["top_logprobs"] = json::array();
  for (const auto& [id, logprob] : t.top) one["top_logprobs"].push_back(named(id, logprob));
  return one;
}

json ApiAnswer::logprobs(std::span<const inference::ScoredToken> tokens, size_t& offset) const {
  if (!wants_logprobs()) return {};
  if (request_.kind == ApiKind::chat) {
    json content = json::array();
    for (const auto& t : tokens) content.push_back(token(t));
    return {{"content", content}};
  }
  json out = {{"tokens", json::array()},
              {"token_logprobs", json::array()},
              {"top_logprobs", json::array()},
              {"text_offset", json::array()}};
  for (const auto& t : tokens) {
    const std::string text = model_.tokenizer->decode({t.id});
    out["tokens"].push_back(text);
    out["token_logprobs"].push_back(t.logprob ? json(*t.logprob) : json());
    json top = json::object();
    for (const auto& [id, logprob] : t.top) {
      // Tokens of one text (bytes that are no character, say) are one entry: the likeliest's.
      const std::string name = model_.tokenizer->decode({id});
      if (!top.contains(name)) top[name] = logprob;
    }
    out["top_logprobs"].push_back(t.logprob ? top : json());
    out["text_offset"].push_back(offset);
    offset += characters(text);
  }
  return out;
}

json ApiAnswer::head(const char* object) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_.name}};
}

json ApiAnswer::usage() const {
  return {{"prompt_tokens", prompt_tokens_},
          {"completion_tokens", generated_tokens_},
          {"total_tokens", prompt_tokens_ + generated_tokens_},
          {"prompt_tokens_details", {{"cached_tokens", kept_tokens_}}}};
}

json ApiAnswer::choice_json(size_t index, const std::string& text, const json& scored,
                            const json& finish, bool chunk, bool first) const {
  json one = {{"index", index}, {"logprobs", scored}, {"finish_reason", finish}};
  if (request_.kind == ApiKind::completion) {
    one["text"] = text;
  } else if (!chunk) {
    one["message"] = {{"role", "assistant"}, {"content", text}};
  } else {
    one["delta"] = json::object();
    if (first) one["delta"]["role"] = "assistant";
    if (first || !text.empty()) one["delta"]["content"] = text;
  }
  return one;
}

std::vector<json> ApiAnswer::take(size_t choice, const Update& u) {
  Choice& c = choices_[choice];
  if (u.finish == inference::Finish::failed) {
    if (u.refused) throw ApiError(400, "invalid_request_error", u.error);
    if (u.no_memory) throw ApiError(503, "server_error", u.error, {}, "out_of_memory");
    throw ApiError(500, "server_error", u.error);
  }
  std::string text;
  std::vector<inference::ScoredToken> scored;
  if (u.prompt) {
    c.own = own_figures(u.prompt->summary, request_.gates);
    if (choice % size_t(request_.n) == 0) kept_tokens_ += u.prompt->kept_tokens;
    if (request_.echo) {
      text = request_.prompt_texts[choice / size_t(request_.n)];
      scored = u.prompt->scored;
    }
  }
  text += u.text;
  // An end of the text was generated, too, and clients that score look for it.
  for (const auto& token : {u.token, u.end}) {
    if (!token) continue;
    ++generated_tokens_;
    if (wants_logprobs()) scored.push_back(*token);
  }
  if (u.finish) {
    c.finish = u.finish == inference::Finish::stop ? "stop" : "length";
    --open_;
  }
  if (!request_.stream) {
    c.text += text;
    c.scored.insert(c.scored.end(), scored.begin(), scored.end());
    return {};
  }
  if (c.begun && text.empty() && scored.empty() && !u.finish) return {};
  const json finish = u.finish ? json(c.finish) : json();
  json chunk = head(request_.kind == ApiKind::chat ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = {choice_json(choice, text, logprobs(scored, c.offset), finish,
                                  /*chunk=*/true, !c.begun)};
  if (u.finish) chunk["elastron"] = c.own;
  c.begun = true;
  return {chunk};
}

json ApiAnswer::whole() const {
  if (request_.kind == ApiKind::generate) {
    json texts = json::array();
    for (const Choice& c : choices_) texts.push_back(c.text);
    return {{"text", texts}, {"elastron", choices_.front().own}};
  }
  json out = head(request_.kind == ApiKind::chat ? "chat.completion" : "text_completion");
  out["choices"] = json::array();
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Choice& c = choices_[i];
    size_t offset = 0;
    json one = choice_json(i, c.text, logprobs(c.scored, offset), c.finish, false, false);
    one["elastron"] = c.own;
    out["choices"].push_back(std::move(one));
  }
  out["usage"] = usage();
  out["elastron"] = choices_.front().own;
  return out;
}

std::vector<json> ApiAnswer::last_chunks() const {
  if (!request_.usage_chunk) return {};
  json chunk = head(request_.kind == ApiKind::chat ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = json::array();
  chunk["usage"] = usage();
  return {chunk};
}

}  // namespace elastron::serving
