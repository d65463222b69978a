#include "data/control_tokens.h"

#include <fmt/format.h>

#include "core/config/problems.h"
#include "core/error.h"
#include "core/plural.h"

namespace elastron::data {

std::vector<int32_t> find_controls(const std::vector<std::string_view>& texts,
                                   const Tokenizer& tokenizer, ControlTokens setting,
                                   const std::string& where) {
  std::vector<int32_t> found;
  for (const std::string_view text : texts) {
    const auto more = tokenizer.controls_in(text);
    found.insert(found.end(), more.begin(), more.end());
  }
  if (setting == ControlTokens::error && !found.empty()) {
    throw InputError(
        "the text has the control token " + config::in_quotes(tokenizer.decode({found.front()})),
        where, "take it out, or set data.control_tokens: text, which takes it for plain text");
  }
  return found;
}

void ControlCount::add(const std::vector<int32_t>& found, const Tokenizer& tokenizer,
                       const std::string& where) {
  if (found.empty()) return;
  add(int64_t(found.size()), where);
  if (records > 1) return;
  first = fmt::format("{} ({})", config::in_quotes(tokenizer.decode({found.front()})), where);
}

void ControlCount::add(int64_t found, const std::string& where) {
  if (found == 0) return;
  tokens += found;
  if (++records == 1) first = where;
}

std::string ControlCount::text(ControlTokens setting, std::string_view record) const {
  if (tokens == 0) return "";
  const std::string there =
      fmt::format("control tokens are spelled out in the text: {} in {}, first {}", tokens,
                  plural(records, record), first);
  return there + (setting == ControlTokens::text
                      ? "; they are plain text here"
                      : "; they become real ones (data.control_tokens: text takes them for plain "
                        "text, error ends)");
}

}  // namespace elastron::data
