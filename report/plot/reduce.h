// A curve of many points as few that look the same.
#pragma once
#include <cstddef>
#include <vector>

#include "report/plot/svg.h"

namespace elastron::report {

// The points of a curve whose x never falls, in any units of which one is a column of the picture:
// of each column the first, the lowest, the highest and the last one in their order, so that no
// peak is lost and each column's line joins the next. Shorter curves stay as they are.
std::vector<Point> reduced(const std::vector<Point>& points);

// The mean of each column's points, in its middle. On a logarithmic scale that is the geometric
// mean, as points are places.
std::vector<Point> column_means(const std::vector<Point>& points);

// At most `most` of the numbers 0 to count - 1, evenly, the last one among them. Few stay as they
// are.
std::vector<size_t> thinned(size_t count, size_t most);

}  // namespace elastron::report
