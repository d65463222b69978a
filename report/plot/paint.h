// Colours of all figures and of the page around them, for light and dark, and how far they are
// apart. Elements of a figure have the light colour as an attribute, so that it can stand alone,
// and a class by which the page's style gives them the one that fits.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace elastron::report {

struct Paint {
  std::string_view name;  // of the class, "p-" before it, and of the variable, "--" before it
  std::string_view light, dark;  // "#rrggbb"
};

// What text and lines stand on; text on figures and pages; axes; lines that only guide the eye.
extern const Paint kBackground, kPanel, kText, kQuiet, kAxis, kGrid, kLink;

// Of the n-th series, told apart by people who do not see red and green; from the eighth on they
// come again.
const Paint& series_paint(size_t n);
inline constexpr size_t kSeriesPaints = 8;

// The style's rules that make variables and classes of them, dark by the reader's choice.
std::string paint_rules();

struct Rgb {
  double red = 0, green = 0, blue = 0;  // sRGB, 0 to 1
};
Rgb rgb_of(std::string_view hex);
std::string hex_of(const Rgb& colour);

// Contrast as WCAG 2 defines it: 1 to 21.
double contrast_ratio(const Rgb& a, const Rgb& b);

// A colour for a share between 0 (dark) and 1 (light): equal steps of the share are equal steps of
// lightness (CIE L*), in light and dark alike. Not a number: grey.
Rgb heat_colour(double share);
// Black or white, whichever can be read on it.
std::string_view text_on(const Rgb& colour);

}  // namespace elastron::report
