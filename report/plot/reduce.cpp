#include "report/plot/reduce.h"

#include <algorithm>
#include <cmath>

namespace elastron::report {

std::vector<Point> reduced(const std::vector<Point>& points) {
  std::vector<Point> kept;
  for (size_t begin = 0; begin < points.size();) {
    const double column = std::floor(points[begin].x);
    size_t end = begin, low = begin, high = begin;
    for (; end < points.size() && std::floor(points[end].x) == column; ++end) {
      if (points[end].y < points[low].y) low = end;
      if (points[end].y > points[high].y) high = end;
    }
    size_t chosen[] = {begin, low, high, end - 1};
    std::sort(std::begin(chosen), std::end(chosen));
    const size_t* last = std::unique(std::begin(chosen), std::end(chosen));
    for (const size_t* i = chosen; i != last; ++i) kept.push_back(points[*i]);
    begin = end;
  }
  return kept;
}

std::vector<Point> column_means(const std::vector<Point>& points) {
  std::vector<Point> means;
  for (size_t begin = 0; begin < points.size();) {
    const double column = std::floor(points[begin].x);
    double sum = 0;
    size_t end = begin;
    for (; end < points.size() && std::floor(points[end].x) == column; ++end) sum += points[end].y;
    means.push_back({column + 0.5, sum / double(end - begin)});
    begin = end;
  }
  return means;
}

std::vector<size_t> thinned(size_t count, size_t most) {
  std::vector<size_t> kept;
  const size_t every = count <= most ? 1 : (count + most - 1) / most;
  // From the end, so that the last one is there.
  for (size_t i = count; i > 0; i -= std::min(i, every)) kept.push_back(i - 1);
  std::ranges::reverse(kept);
  return kept;
}

}  // namespace elastron::report
