#include "benchmark/python_format.h"

#include "core/error.h"

namespace elastron::benchmark {

std::string python_format(std::string_view pattern,
                          const std::map<std::string, std::string_view>& fields,
                          const std::string& where) {
  const auto refuse = [&](const std::string& what) {
    throw InputError("a prompt template with " + what, where,
                     "write {{ and }} for braces; fields are named as in the data");
  };
  std::string text;
  for (size_t at = 0; at < pattern.size();) {
    const size_t brace = pattern.find_first_of("{}", at);
    text += pattern.substr(at, brace == pattern.npos ? brace : brace - at);
    if (brace == pattern.npos) break;
    at = brace + 1;
    if (at < pattern.size() && pattern[at] == pattern[brace]) {
      text += pattern[at++];
      continue;
    }
    if (pattern[brace] == '}') refuse("a '}' alone");
    const size_t end = pattern.find('}', at);
    if (end == pattern.npos) refuse("a '{' that is not closed");
    const std::string name(pattern.substr(at, end - at));
    const auto field = fields.find(name);
    if (field == fields.end()) refuse("{" + name.substr(0, 60) + "}, which is no field here");
    text += field->second;
    at = end + 1;
  }
  return text;
}

}  // namespace elastron::benchmark
