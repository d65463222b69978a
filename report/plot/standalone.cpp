#include "report/plot/standalone.h"

#include <fmt/format.h>

#include <cstdio>

#include "core/error.h"
#include "report/plot/paint.h"

namespace elastron::report {

namespace {

constexpr double kMargin = 8, kScale = 1.5;  // pixels per unit

}  // namespace

std::string standalone_svg(const std::string& svg) {
  const std::string key = "viewBox=\"";
  const size_t begin = svg.find(key), end = svg.find('"', begin + key.size());
  const size_t head = svg.find(">\n");
  double width = 0, height = 0;
  ELASTRON_CHECK(
      begin != svg.npos && end < head && head != svg.npos &&
          std::sscanf(svg.c_str() + begin + key.size(), "0 0 %lf %lf", &width, &height) == 2,
      "a figure of ours");
  const double w = width + 2 * kMargin, h = height + 2 * kMargin;
  const std::string size = fmt::format(
      "viewBox=\"{0:.0f} {0:.0f} {1:.0f} {2:.0f}\" width=\"{3:.0f}\" height=\"{4:.0f}\"", -kMargin,
      w, h, w * kScale, h * kScale);
  const std::string ground = fmt::format(
      "<rect x=\"{0:.0f}\" y=\"{0:.0f}\" width=\"{1:.0f}\" height=\"{2:.0f}\" "
      "fill=\"{3}\"/>\n",
      -kMargin, w, h, kBackground.light);
  // Behind the title, which is to be the first child.
  const size_t title = svg.find("</title>\n") + 9;
  return svg.substr(0, begin) + size + svg.substr(end + 1, title - end - 1) + ground +
         svg.substr(title);
}

}  // namespace elastron::report
