// Where an axis has its marks, and what they say.
#pragma once
#include <string>
#include <vector>

namespace elastron::report {

struct Tick {
  double value = 0;
  std::string label;
};

// Round numbers (1, 2 or 5 times a power of ten apart) within [low, high], at most `most` and at
// least two of them where the range lets them; low < high, both finite.
std::vector<Tick> linear_ticks(double low, double high, int most);
// Powers of ten within [low, high], 0 < low < high; between them 2 and 5 times these where there
// are few, and every n-th power where there are many. Where fewer than two of these are within, as
// linear_ticks().
std::vector<Tick> log_ticks(double low, double high, int most);

// What an axis covers: a linear one from mark to mark around the values, with room where all are
// the same.
struct Range {
  double low = 0, high = 1;
};
Range linear_range(double low, double high, int most);

}  // namespace elastron::report
