#include "report/plot/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "report/markup.h"
#include "report/plot/axes.h"

namespace elastron::report {

namespace {

constexpr double kNumbersLeft = 46, kWidestNames = 130, kTop = 8, kScaleSpace = 66;
constexpr int kScaleSteps = 48;

double share_of(const HeatMap& map, double value) {
  return (value - map.low) / (map.high - map.low);
}

// Every n-th name of rows or columns, so that they do not touch.
size_t every(double size, double needed) { return size_t(std::max(1.0, std::ceil(needed / size))); }

// "2 gist", or a number alone.
std::string name_of(const HeatMap& map, size_t n) {
  return map.names.empty() ? std::to_string(n) : std::to_string(n) + " " + map.names[n];
}

double left_of(const HeatMap& map) {
  double most = 0;
  for (size_t n = 0; n < map.names.size(); ++n) {
    most = std::max(most, width_of(name_of(map, n), 11));
  }
  return map.names.empty() ? kNumbersLeft : 30 + std::min(most, kWidestNames);
}

void draw_scale(Svg& svg, const HeatMap& map, double top, double height) {
  const double x = kFigureWidth - kScaleSpace + 16;
  for (int i = 0; i < kScaleSteps; ++i) {
    const double share = (i + 0.5) / kScaleSteps, step = height / kScaleSteps;
    svg.cell({x, top + height - step * (i + 1)}, 14, step + 0.3, heat_colour(share),
             rounded(map.low + share * (map.high - map.low)));
  }
  const std::vector<Tick> ticks = linear_ticks(map.low, map.high, 6);
  for (const Tick& tick : ticks) {
    const double y = top + height * (1 - share_of(map, tick.value));
    svg.line({x + 14, y}, {x + 17, y}, kAxis, 1);
    svg.text({x + 19, y + 4}, tick.label, kQuiet, {.size = 11});
  }
}

Table numbers_of(const HeatMap& map) {
  Table table;
  table.columns = {map.rows};
  for (size_t c = 0; c < map.values[0].size(); ++c) {
    table.columns.push_back(fmt::format("{} {}", map.columns, name_of(map, c)));
  }
  for (size_t r = 0; r < map.values.size(); ++r) {
    std::vector<Cell> row = {map.names.empty() ? Cell(double(r)) : Cell(map.names[r])};
    for (const double value : map.values[r]) row.emplace_back(value);
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

Figure heat_map_figure(const HeatMap& map) {
  ELASTRON_CHECK(!map.values.empty() && !map.values[0].empty() && map.low < map.high,
                 "a heat map has cells and a scale");
  const size_t rows = map.values.size(), columns = map.values[0].size();
  ELASTRON_CHECK(map.names.empty() || (map.names.size() == rows && rows == columns),
                 "a name for each row and column");
  const double left = left_of(map);
  const double width = (kFigureWidth - left - kScaleSpace) / double(columns);
  const double height = std::clamp(260.0 / double(rows), 9.0, 26.0);
  const double bottom = kTop + std::max(height * double(rows), 60.0);
  Svg svg(kFigureWidth, bottom + 40, map.title);
  const size_t name_rows = every(height, 14), name_columns = every(width, 22);
  const bool written = width >= 34 && height >= 13;
  for (size_t r = 0; r < rows; ++r) {
    ELASTRON_CHECK(map.values[r].size() == columns, "rows of one length");
    const double y = kTop + height * double(r);
    if (r % name_rows == 0) {
      svg.text({left - 6, y + height / 2 + 4}, name_of(map, r), kQuiet,
               {.anchor = Anchor::end, .size = 11});
    }
    for (size_t c = 0; c < columns; ++c) {
      const double value = map.values[r][c], x = left + width * double(c);
      const Rgb colour = heat_colour(share_of(map, value));
      svg.cell({x, y}, width - 0.5, height - 0.5, colour,
               fmt::format("{} {}, {} {}: {}", map.rows, name_of(map, r), map.columns,
                           name_of(map, c), rounded(value)));
      if (written) {
        svg.text_on_cell({x + width / 2, y + height / 2 + 4}, fmt::format("{:.2f}", value), colour);
      }
    }
  }
  const double below = kTop + height * double(rows);
  for (size_t c = 0; c < columns; c += name_columns) {
    svg.text({left + width * (double(c) + 0.5), below + 14}, std::to_string(c), kQuiet,
             {.anchor = Anchor::middle, .size = 11});
  }
  svg.text({left + width * double(columns) / 2, below + 31}, map.columns, kQuiet,
           {.anchor = Anchor::middle, .size = 12});
  svg.text({12, kTop + height * double(rows) / 2}, map.rows, kQuiet,
           {.anchor = Anchor::middle, .size = 12, .upright = true});
  draw_scale(svg, map, kTop, bottom - kTop);
  return {.title = map.title,
          .note = map.note,
          .svg = std::move(svg).finish(),
          .numbers = numbers_of(map),
          .numbers_note = ""};
}

}  // namespace elastron::report
