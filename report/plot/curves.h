// Curves over a common quantity, such as the step.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "report/figure.h"

namespace elastron::report {

struct Curve {
  std::string name;
  std::vector<double> x, y;       // as many; x never falls; y that is not finite breaks the line
  std::vector<double> low, high;  // 95 % intervals; empty: none
  std::optional<size_t> like{};   // has the paint of that curve, thin and dashed, and no name of
                                  // its own in the legend: what the other one should be
};

struct Curves {
  std::string title, note;
  std::string of;  // what x is
  std::vector<Curve> curves;
  bool logarithmic_x = false;
  bool shares = false;  // the axis goes from 0 to 1, and so do intervals in the picture
};

// The picture has every point's peak; the table at most 2000 rows, evenly, with the last one. A
// logarithmic axis is taken where all values are positive and over three powers of ten apart.
// Throws LogicError without any finite value.
Figure curves_figure(const Curves& curves);
bool has_values(const Curves& curves);

}  // namespace elastron::report
