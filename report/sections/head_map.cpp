#include <algorithm>
#include <cmath>

#include "report/plot/heat_map.h"
#include "report/sections/sections.h"

namespace elastron::report {

void add_head_map(Page& page, const HeadMap& map) {
  page.heading(2, "Heads: " + map.name);
  Facts facts = {{"File", map.path}};
  for (const char* name : {"model", "backbone_fingerprint"}) {
    const std::string text = text_in(map.facts, name);
    if (!text.empty()) facts.emplace_back(name, text);
  }
  for (const char* name : {"documents", "needles", "not_answered", "not_found"}) {
    const auto number = number_in(map.facts, name);
    if (number) facts.emplace_back(name, std::to_string(int64_t(*number)));
  }
  const Json& settings = object_in(map.facts, "settings");
  if (!settings.empty()) facts.emplace_back("settings", settings.dump());
  page.facts(facts);
  std::vector<Figure> figures;
  for (const auto& [of, values] : map.maps) {
    double low = 0, high = 0;
    for (const auto& row : values) {
      for (const double v : row) {
        if (!std::isfinite(v)) continue;
        low = std::min(low, v);
        high = std::max(high, v);
      }
    }
    const bool gates = of == "gate";
    const bool share = low >= 0 && high <= 1 && (gates || high == 0 || high > 0.5);
    figures.push_back(heat_map_figure(
        {.title = gates ? "Gates" : "Scores by layer and " + of,
         .note = gates ? "A number per layer and kv head: 1 is full attention, 0 sparse."
                       : "Share of the answer's tokens that the head copies.",
         .of = gates ? "gate" : "score",
         .rows = "layer",
         .columns = gates ? "kv head" : of,
         .values = values,
         .low = share ? 0 : low,
         .high = share         ? 1
                 : high == low ? low + 1
                               : high}));
  }
  page.figures(figures);
}

}  // namespace elastron::report
