#include "serving/update.h"

namespace elastron::serving {

using nlohmann::json;

namespace {

json of_token(const inference::ScoredToken& t) {
  return {t.id, t.logprob ? json(*t.logprob) : json(), t.top};
}

inference::ScoredToken token_of(const json& j) {
  inference::ScoredToken t{.id = j[0].get<int32_t>(), .logprob = {}, .top = {}};
  if (!j[1].is_null()) t.logprob = j[1].get<double>();
  t.top = j[2].get<std::vector<std::pair<int32_t, double>>>();
  return t;
}

}  // namespace

void to_json(json& out, const Update& u) {
  out = {{"number", u.number},
         {"text", u.text},
         {"error", u.error},
         {"refused", u.refused},
         {"no_memory", u.no_memory}};
  if (u.prompt) {
    json scored = json::array();
    for (const auto& t : u.prompt->scored) scored.push_back(of_token(t));
    const inference::PromptSummary& p = u.prompt->summary;
    out["prompt"] = {{"tokens", u.prompt->tokens}, {"kept", u.prompt->kept_tokens},
                     {"gates", p.gates},           {"msr", p.msr},
                     {"esr_tiles", p.esr_tiles},   {"cache", p.cache_bytes},
                     {"full", p.full_cache_bytes}, {"scored", scored}};
  }
  if (u.token) out["token"] = of_token(*u.token);
  if (u.finish) out["finish"] = int(*u.finish);
  if (u.end) out["end"] = of_token(*u.end);
}

void from_json(const json& in, Update& u) {
  u = {.number = in.at("number").get<int64_t>(),
       .text = in.at("text").get<std::string>(),
       .error = in.at("error").get<std::string>(),
       .refused = in.at("refused").get<bool>(),
       .no_memory = in.at("no_memory").get<bool>()};
  if (const auto p = in.find("prompt"); p != in.end()) {
    u.prompt = PromptReport{.tokens = p->at("tokens").get<int64_t>(),
                            .kept_tokens = p->at("kept").get<int64_t>(),
                            .summary = {.gates = p->at("gates").get<std::vector<std::string>>(),
                                        .msr = p->at("msr").get<double>(),
                                        .esr_tiles = p->at("esr_tiles").get<double>(),
                                        .cache_bytes = p->at("cache").get<double>(),
                                        .full_cache_bytes = p->at("full").get<double>()},
                            .scored = {}};
    for (const json& t : p->at("scored")) u.prompt->scored.push_back(token_of(t));
  }
  if (const auto t = in.find("token"); t != in.end()) u.token = token_of(*t);
  if (const auto t = in.find("end"); t != in.end()) u.end = token_of(*t);
  if (const auto f = in.find("finish"); f != in.end()) u.finish = inference::Finish(f->get<int>());
}

}  // namespace elastron::serving
