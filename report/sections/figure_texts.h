// The program's own words on a run's figures (train/metrics/figures.h), for pages of plain text.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace elastron::report {

struct FigureWords {
  std::string name, unit, meaning;  // without markup
  // What it belongs to: "Loss and optimiser", "Routing", ...
  std::string group;
};

// Of steps, then of evaluations, in the order of the table; of all objectives where `objective` is
// none of them.
std::vector<FigureWords> figure_words(std::string_view objective);

}  // namespace elastron::report
