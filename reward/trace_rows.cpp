#include "reward/trace_rows.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <nlohmann/json.hpp>

#include "reward/results_table.h"

namespace elastron::reward {

std::string length_class(int64_t tokens) {
  int64_t edge = 8000;
  for (const char* name : kLengthClasses) {
    if (tokens <= edge) return name;
    edge *= 2;
  }
  return *std::prev(std::end(kLengthClasses));
}

std::string trace_setting(int kind) {
  std::string fault = trace_kind_name(kind);
  fault.erase(0, fault.find('-') + 1);
  fault[0] = char(std::toupper(static_cast<unsigned char>(fault[0])));
  return (trace_pattern(kind) == TracePattern::sequential ? "S-" : "P-") + fault;
}

std::string trace_row(const TracePair& pair, int kind, PairForm form) {
  nlohmann::ordered_json row;
  if (form == PairForm::preference) {
    row = {{"prompt", pair.prompt},
           {"chosen", pair.chosen},
           {"rejected", pair.rejected},
           {"kind", trace_kind_name(kind)}};
  } else {
    const int64_t words =
        word_count(pair.prompt) + word_count(pair.chosen) + word_count(pair.rejected);
    row = {{"task", trace_setting(kind)},
           {"subtask", trace_kind_name(kind)},
           {"ctx_length", length_class(words)},
           {"question", pair.prompt},
           {"chosen", pair.chosen},
           {"rejected", pair.rejected}};
  }
  return row.dump() + "\n";
}

}  // namespace elastron::reward
