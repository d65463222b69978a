// The frame of a figure with two axes: where values stand, marks, grid lines, names of series.
#pragma once
#include <string>
#include <vector>

#include "report/plot/svg.h"
#include "report/plot/ticks.h"

namespace elastron::report {

inline constexpr double kFigureWidth = 400;  // units, nine tenths of which a phone has pixels for

// From values to places along one direction of the picture.
class Axis {
 public:
  // Covers [low, high]; a logarithmic one where both are positive. `from`, `to`: places of the
  // ends.
  Axis(double low, double high, bool logarithmic, int most_ticks);

  void place(double from, double to);
  double at(double value) const;
  const std::vector<Tick>& ticks() const { return ticks_; }
  // Marks at these values, in place of round ones.
  void mark(const std::vector<double>& values);
  double low() const { return low_; }
  double high() const { return high_; }
  // Whether the axis can show it.
  bool has(double value) const;

 private:
  double low_ = 0, high_ = 1, from_ = 0, to_ = 1;
  bool logarithmic_ = false;
  std::vector<Tick> ticks_;
};

// Whether positive values are better told apart on a logarithmic axis: over three powers of ten.
bool wants_logarithm(double low, double high);

struct LegendEntry {
  std::string name;
  size_t series = 0;
};

// Entries in rows, as many as fit. -> the height that they take; `svg` null: only that.
double draw_legend(Svg* svg, const std::vector<LegendEntry>& entries, double top, bool lines);

// Width that the labels of a vertical axis take, with the room beside them.
double label_width(const Axis& vertical);

// Grid lines, labels and the two axes of a plot between these places.
struct Frame {
  double left = 0, right = 0, top = 0, bottom = 0;
};
void draw_frame(Svg& svg, const Frame& frame, const Axis& horizontal, const Axis& vertical,
                const std::string& horizontal_name);

}  // namespace elastron::report
