#include <cmath>

#include "report/plot/curves.h"
#include "report/sections/benchmark_facts.h"
#include "report/sections/sections.h"

namespace elastron::report {

namespace {

Curve curve_of(const std::string& name, const Json& results, bool full) {
  Curve curve{.name = name};
  for (const std::string& length : names_in(results)) {
    const Json& all = object_in(results, length);
    const Json& result = full ? object_in(all, "full") : all;
    const Json& interval = list_in(result, "interval_95");
    const auto end = [&](size_t i) {
      return i < interval.size() && interval[i].is_number() ? interval[i].get<double>() : NAN;
    };
    curve.x.push_back(std::strtod(length.c_str(), nullptr));
    curve.y.push_back(number_in(result, "perplexity").value_or(NAN));
    curve.low.push_back(end(0));
    curve.high.push_back(end(1));
  }
  return curve;
}

void add_table(Page& page, const Perplexity& p) {
  Table table{.columns = {"tokens", "documents", "perplexity", "95 % low", "95 % high",
                          "mean of documents", "full attention", "MSR", "ESR"},
              .rows = {}};
  for (const std::string& length : names_in(p.results)) {
    const Json& r = object_in(p.results, length);
    const Curve ends = curve_of("", {{length, r}}, false);
    table.rows.push_back(
        {std::strtod(length.c_str(), nullptr), number_in(r, "documents"),
         number_in(r, "perplexity"), ends.low[0], ends.high[0], number_in(r, "mean_of_documents"),
         number_in(object_in(r, "full"), "perplexity"), number_in(r, "msr"), number_in(r, "esr")});
  }
  page.table(table, "Perplexity by length");
}

}  // namespace

void add_perplexities(Page& page, const std::vector<const Perplexity*>& perplexities) {
  page.heading(2, perplexities.size() == 1 ? "Perplexity: " + perplexities[0]->name : "Perplexity");
  Curves curves{.title = "Perplexity by length",
                .note =
                    "exp of the mean of -ln p over the scored tokens, with 95 % intervals over "
                    "documents; a lower one is better.",
                .of = "tokens",
                .logarithmic_x = true};
  for (const Perplexity* p : perplexities) {
    const std::string name = perplexities.size() == 1 ? "" : p->name + ", ";
    curves.curves.push_back(curve_of(name + "gates", p->results, false));
    curves.curves.push_back(curve_of(name + "full attention", p->results, true));
  }
  if (has_values(curves)) page.figures({curves_figure(curves)});
  for (const Perplexity* p : perplexities) {
    page.heading(3, perplexities.size() == 1 ? "Figures" : p->name);
    add_table(page, *p);
    add_benchmark_facts(page, "perplexity", p->path, p->settings, p->made_by);
  }
}

}  // namespace elastron::report
