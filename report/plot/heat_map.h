// A number per row and column as colours, with the scale beside it.
#pragma once
#include <string>
#include <vector>

#include "report/figure.h"

namespace elastron::report {

struct HeatMap {
  std::string title, note;
  std::string of;                           // what the numbers are
  std::string rows, columns;                // what these are: "layer", "kv head"
  std::vector<std::vector<double>> values;  // [rows][columns], as many columns in each
  double low = 0, high = 1;                 // of the scale
  // Of rows and of columns, where these are the same things; without them they have numbers.
  std::vector<std::string> names = {};
};

// Row 0 is at the top. Numbers stand in the cells where there is room.
Figure heat_map_figure(const HeatMap& map);

}  // namespace elastron::report
