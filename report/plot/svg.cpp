#include "report/plot/svg.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "report/markup.h"

namespace elastron::report {

namespace {

std::string fill(const Paint& p) {
  return fmt::format("class=\"f-{}\" fill=\"{}\"", p.name, p.light);
}
std::string stroke(const Paint& p, double width, std::string_view dash) {
  std::string out =
      fmt::format("class=\"l-{}\" stroke=\"{}\" stroke-width=\"{}\"", p.name, p.light, width);
  if (!dash.empty()) out += fmt::format(" stroke-dasharray=\"{}\"", dash);
  return out;
}

constexpr std::string_view kAnchors[] = {"start", "middle", "end"};

}  // namespace

Svg::Svg(double width, double height, std::string_view title) {
  // No size besides the view box: the page gives it one.
  out_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
      "aria-label=\"{}\" font-family=\"system-ui, sans-serif\">\n<title>{}</title>\n",
      width, height, escaped(title), escaped(title));
}

void Svg::text(Point at, std::string_view words, const Paint& paint, TextStyle style) {
  out_ += fmt::format(
      "<text x=\"{0:.1f}\" y=\"{1:.1f}\" {2} font-size=\"{3}\" "
      "text-anchor=\"{4}\"{5}{6}>{7}</text>\n",
      at.x, at.y, fill(paint), style.size, kAnchors[size_t(style.anchor)],
      style.bold ? " font-weight=\"600\"" : "",
      style.upright ? fmt::format(" transform=\"rotate(-90 {:.1f} {:.1f})\"", at.x, at.y) : "",
      escaped(words));
}

void Svg::line(Point from, Point to, const Paint& paint, double width, std::string_view dash) {
  out_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n",
                      from.x, from.y, to.x, to.y, stroke(paint, width, dash));
}

void Svg::path(const std::vector<Point>& points, const Paint& paint, double width,
               std::string_view dash, double opacity) {
  if (points.size() < 2) return;
  std::string d;
  for (const Point& p : points)
    d += fmt::format("{}{:.1f} {:.1f}", d.empty() ? "M" : "L", p.x, p.y);
  out_ += fmt::format("<path d=\"{}\" fill=\"none\" stroke-linejoin=\"round\" {}{}/>\n", d,
                      stroke(paint, width, dash),
                      opacity < 1 ? fmt::format(" opacity=\"{}\"", opacity) : "");
}

void Svg::marker(Point at, size_t series, double size) {
  const std::string paint = fill(series_paint(series));
  const auto polygon = [&](std::initializer_list<Point> corners) {
    std::string points;
    for (const Point& c : corners) {
      points += fmt::format("{}{:.1f},{:.1f}", points.empty() ? "" : " ", at.x + c.x * size,
                            at.y + c.y * size);
    }
    out_ += fmt::format("<polygon points=\"{}\" {}/>\n", points, paint);
  };
  switch (series % 4) {
    case 0:
      out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" {}/>\n", at.x, at.y,
                          size, paint);
      break;
    case 1: polygon({{-.9, -.9}, {.9, -.9}, {.9, .9}, {-.9, .9}}); break;
    case 2: polygon({{0, -1.25}, {1.15, .9}, {-1.15, .9}}); break;
    default: polygon({{0, -1.35}, {1.15, 0}, {0, 1.35}, {-1.15, 0}});
  }
}

void Svg::rectangle(Point corner, double width, double height, const Paint& paint,
                    std::string_view hint) {
  const std::string shape =
      fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" {}", corner.x,
                  corner.y, width, height, fill(paint));
  out_ += hint.empty() ? shape + "/>\n"
                       : fmt::format("{}><title>{}</title></rect>\n", shape, escaped(hint));
}

void Svg::cell(Point corner, double width, double height, const Rgb& colour,
               std::string_view hint) {
  out_ += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\">"
      "<title>{}</title></rect>\n",
      corner.x, corner.y, width, height, hex_of(colour), escaped(hint));
}

void Svg::text_on_cell(Point at, std::string_view words, const Rgb& colour) {
  out_ += fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"{}\" font-size=\"11\" "
      "text-anchor=\"middle\">{}</text>\n",
      at.x, at.y, text_on(colour), escaped(words));
}

void Svg::whisker(Point from, Point to, const Paint& paint) {
  line(from, to, paint, 1.5);
  const bool level = std::abs(from.y - to.y) < std::abs(from.x - to.x);
  const Point across = level ? Point{0, 3} : Point{3, 0};
  for (const Point& end : {from, to}) {
    line({end.x - across.x, end.y - across.y}, {end.x + across.x, end.y + across.y}, paint, 1.5);
  }
}

std::string Svg::finish() && { return std::move(out_) + "</svg>\n"; }

double width_of(std::string_view text, double size) {
  double units = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) continue;
    units += std::string_view("iljtf.,:;|!' ()[]").find(c) != std::string_view::npos ? 0.34
             : (c >= 'A' && c <= 'Z') || c == 'm' || c == 'w'                        ? 0.74
                                                                                     : 0.58;
  }
  return units * size;
}

std::string_view series_dash(size_t n) {
  constexpr std::array<std::string_view, 4> kDashes = {"", "7 3", "2 2.5", "8 3 2 3"};
  return kDashes[n % kDashes.size()];
}

}  // namespace elastron::report
