#include "report/plot/paint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/error.h"

namespace elastron::report {

const Paint kBackground = {"background", "#ffffff", "#14171c"};
const Paint kPanel = {"panel", "#f3f5f8", "#1e232b"};
const Paint kText = {"text", "#1b1f24", "#e8ebef"};
const Paint kQuiet = {"quiet", "#525b66", "#aab3bf"};
const Paint kAxis = {"axis", "#6b7480", "#8a94a1"};
const Paint kGrid = {"grid", "#dde1e6", "#333a44"};
const Paint kLink = {"link", "#0b5cad", "#7cbcff"};

namespace {

constexpr std::array<Paint, kSeriesPaints> kSeries = {{{"s1", "#0067b1", "#5ab4f2"},
                                                       {"s2", "#c44e00", "#ff9a56"},
                                                       {"s3", "#00795a", "#35c9a0"},
                                                       {"s4", "#a63d86", "#f09ad0"},
                                                       {"s5", "#8a6a00", "#e2c044"},
                                                       {"s6", "#5a4fcf", "#aea6ff"},
                                                       {"s7", "#a3262a", "#ff8d8d"},
                                                       {"s8", "#3d4650", "#d3dae2"}}};

double linear(double channel) {
  return channel <= 0.04045 ? channel / 12.92 : std::pow((channel + 0.055) / 1.055, 2.4);
}
double gamma_encoded(double channel) {
  return channel <= 0.0031308 ? 12.92 * channel : 1.055 * std::pow(channel, 1 / 2.4) - 0.055;
}

double luminance(const Rgb& c) {
  return 0.2126 * linear(c.red) + 0.7152 * linear(c.green) + 0.0722 * linear(c.blue);
}

// CIE 1976 L*a*b* under D65, and back to sRGB.
struct Lab {
  double l = 0, a = 0, b = 0;
};
constexpr double kDelta = 6.0 / 29, kWhiteX = 0.95047, kWhiteZ = 1.08883;

double inverse_f(double t) { return t > kDelta ? t * t * t : 3 * kDelta * kDelta * (t - 4.0 / 29); }

Rgb rgb_of(const Lab& c) {
  const double fy = (c.l + 16) / 116;
  const double x = kWhiteX * inverse_f(fy + c.a / 500), y = inverse_f(fy),
               z = kWhiteZ * inverse_f(fy - c.b / 200);
  const auto channel = [](double v) { return std::clamp(gamma_encoded(std::max(v, 0.0)), 0., 1.); };
  return {channel(3.2404542 * x - 1.5371385 * y - 0.4985314 * z),
          channel(-0.9692660 * x + 1.8760108 * y + 0.0415560 * z),
          channel(0.0556434 * x - 0.2040259 * y + 1.0572252 * z)};
}

// Blue, green, pale yellow, all of them colours that a screen has.
constexpr std::array<Lab, 3> kHeat = {{{18, 22, -40}, {56, -30, 2}, {94, -8, 46}}};

std::string variables(std::string_view Paint::*value) {
  std::string out;
  for (const Paint* p : {&kBackground, &kPanel, &kText, &kQuiet, &kAxis, &kGrid, &kLink}) {
    out += fmt::format("--{}:{};", p->name, p->*value);
  }
  for (const Paint& p : kSeries) out += fmt::format("--{}:{};", p.name, p.*value);
  return out;
}

}  // namespace

const Paint& series_paint(size_t n) { return kSeries[n % kSeries.size()]; }

std::string paint_rules() {
  std::string rules =
      fmt::format(":root{{color-scheme:light dark;{}}}\n", variables(&Paint::light));
  // Paper is white whatever the screen is.
  rules += fmt::format("@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}\n",
                       variables(&Paint::dark));
  const auto classes = [&](const Paint& p) {
    rules += fmt::format(".f-{0}{{fill:var(--{0})}}.l-{0}{{stroke:var(--{0})}}\n", p.name);
  };
  for (const Paint* p : {&kBackground, &kPanel, &kText, &kQuiet, &kAxis, &kGrid, &kLink}) {
    classes(*p);
  }
  for (const Paint& p : kSeries) classes(p);
  return rules;
}

Rgb rgb_of(std::string_view hex) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(hex.data() + 1, hex.data() + hex.size(), value, 16);
  ELASTRON_CHECK(hex.size() == 7 && error == std::errc() && end == hex.data() + hex.size(),
                 "a colour as #rrggbb");
  return {(value >> 16) / 255.0, (value >> 8 & 255) / 255.0, (value & 255) / 255.0};
}

std::string hex_of(const Rgb& c) {
  const auto byte = [](double v) { return unsigned(std::lround(v * 255)); };
  return fmt::format("#{:02x}{:02x}{:02x}", byte(c.red), byte(c.green), byte(c.blue));
}

double contrast_ratio(const Rgb& a, const Rgb& b) {
  const double x = luminance(a), y = luminance(b);
  return (std::max(x, y) + 0.05) / (std::min(x, y) + 0.05);
}

Rgb heat_colour(double share) {
  if (!std::isfinite(share)) return {0.5, 0.5, 0.5};
  const double at = std::clamp(share, 0.0, 1.0) * (kHeat.size() - 1);
  const size_t from = std::min(size_t(at), kHeat.size() - 2);
  const double part = at - double(from);
  const Lab &a = kHeat[from], &b = kHeat[from + 1];
  const auto between = [&](double x, double y) { return x + part * (y - x); };
  return rgb_of(Lab{between(a.l, b.l), between(a.a, b.a), between(a.b, b.b)});
}

std::string_view text_on(const Rgb& colour) {
  const Rgb black = rgb_of("#000000"), white = rgb_of("#ffffff");
  return contrast_ratio(black, colour) > contrast_ratio(white, colour) ? "#000000" : "#ffffff";
}

}  // namespace elastron::report
