// A figure of a page as a file of its own.
#pragma once
#include <string>

namespace elastron::report {

// `svg` as Svg::finish() gives it, with a size, a margin and a light ground, on which its colours
// are told apart whatever stands around it.
std::string standalone_svg(const std::string& svg);

}  // namespace elastron::report
