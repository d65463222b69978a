// Figures and tables of a reproduction, in the parts and the order of the paper.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "report/figure.h"
#include "report/reproduction/selection.h"

namespace elastron::report {

struct NamedFigure {
  std::string name;  // of its file: lower case, digits and '-'
  Figure figure;
};

struct Part {
  std::string title;                                  // "Figure 2: ..."
  std::string text;                                   // how to read it
  std::vector<std::pair<std::string, Table>> tables;  // with their captions
  std::vector<NamedFigure> figures;

  bool empty() const { return tables.empty() && figures.empty(); }
};

// Each of what is there, and empty where nothing is.
Part frontier_part(const Reproduction& all);  // Figure 1, Table 1
Part static_part(const Reproduction& all);    // Figure 2
Part features_part(const Reproduction& all);  // Figure 5
Part heads_part(const Reproduction& all);     // Figure 6
Part training_part(const Reproduction& all);  // Figure 13
// Bars by place of the figure: accuracy and MSR of sensitive and robust kinds.
Part choices_part(const Reproduction& all, std::string_view figure);
Part lengths_part(const Reproduction& all);
Part unseen_part(const Reproduction& all);
Part reward_part(const Reproduction& all);
Part cost_part(const Reproduction& all);

}  // namespace elastron::report
