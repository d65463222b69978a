#include "launch/self_check/finding.h"

#include <stdexcept>

namespace elastron::launch::self_check {

namespace {

constexpr int kNoFamily = -1;

struct Word {
  Verdict verdict;
  const char* text;
};
constexpr Word kWords[] = {{Verdict::agrees, "agrees"},
                           {Verdict::differs, "differs"},
                           {Verdict::failed, "failed"},
                           {Verdict::hung, "hung"},
                           {Verdict::unchecked, "unchecked"}};

Verdict verdict_of(const std::string& text) {
  for (const Word& word : kWords) {
    if (text == word.text) return word.verdict;
  }
  throw std::runtime_error("no verdict: " + text);
}

}  // namespace

nlohmann::json to_json(const Findings& findings) {
  auto list = nlohmann::json::array();
  for (const Finding& f : findings) {
    list.push_back({{"check", f.check},
                    {"verdict", kWords[size_t(f.verdict)].text},
                    {"detail", f.detail},
                    {"family", f.family ? int(*f.family) : kNoFamily}});
  }
  return list;
}

Findings findings_of(const nlohmann::json& list) {
  Findings findings;
  for (const auto& object : list) {
    Finding f{.check = object.at("check").get<std::string>(),
              .verdict = verdict_of(object.at("verdict").get<std::string>()),
              .detail = object.at("detail").get<std::string>(),
              .family = {}};
    const int family = object.at("family").get<int>();
    if (family != kNoFamily) f.family = ops::KernelFamily(family);
    findings.push_back(std::move(f));
  }
  return findings;
}

}  // namespace elastron::launch::self_check
