// Elements of a figure in SVG, of which all figures are made.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/plot/paint.h"

namespace elastron::report {

struct Point {
  double x = 0, y = 0;
};

enum class Anchor { start, middle, end };

struct TextStyle {
  Anchor anchor = Anchor::start;
  double size = 12;
  bool bold = false;
  bool upright = false;  // read from below
};

// A figure being drawn, in units of its view box; a reader's window scales it.
class Svg {
 public:
  // `title` is what the figure is called where it cannot be seen.
  Svg(double width, double height, std::string_view title);

  void text(Point at, std::string_view words, const Paint& paint, TextStyle style = {});
  void line(Point from, Point to, const Paint& paint, double width, std::string_view dash = "");
  void path(const std::vector<Point>& points, const Paint& paint, double width,
            std::string_view dash = "", double opacity = 1);
  // A filled shape whose form differs from series to series: circle, square, triangle, diamond.
  void marker(Point at, size_t series, double size = 4);
  void rectangle(Point corner, double width, double height, const Paint& paint,
                 std::string_view hint = "");
  // Of a colour that is the same in light and dark; `hint` is shown where the pointer rests.
  void cell(Point corner, double width, double height, const Rgb& colour, std::string_view hint);
  void text_on_cell(Point at, std::string_view words, const Rgb& colour);
  // A line with short ends across it, from one value to another.
  void whisker(Point from, Point to, const Paint& paint);

  std::string finish() &&;

 private:
  std::string out_;
};

// About how wide a text is, in units, of letters of `size`.
double width_of(std::string_view text, double size = 12);

// The n-th series' way of breaking its line: none for the first ones.
std::string_view series_dash(size_t n);

}  // namespace elastron::report
