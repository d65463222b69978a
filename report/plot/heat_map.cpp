#include "report/plot/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "report/markup.h"
#include "report/plot/axes.h"

namespace elastron::report {

namespace {

constexpr double kLeft = 46, kTop = 8, kScaleSpace = 66;
constexpr int kScaleSteps = 48;
constexpr double kWrittenWidth = 28;  // of cells that have room for "0.75"
// Room for names beside and below the cells.
constexpr double kNamedLeft = 84, kNamesBelow = 90;
constexpr size_t kLongestName = 13;

double share_of(const HeatMap& map, double value) {
  return (value - map.low) / (map.high - map.low);
}

// Every n-th name of rows or columns, so that they do not touch.
size_t every(double size, double needed) { return size_t(std::max(1.0, std::ceil(needed / size))); }

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

std::string name_of(const HeatMap& map, size_t i) {
  return map.names.empty() ? std::to_string(i) : map.names.at(i);
}

Table numbers_of(const HeatMap& map) {
  Table table;
  table.columns = {map.rows};
  for (size_t c = 0; c < map.values[0].size(); ++c) {
    table.columns.push_back(map.columns + " " + name_of(map, c));
  }
  for (size_t r = 0; r < map.values.size(); ++r) {
    std::vector<Cell> row;
    row.push_back(map.names.empty() ? Cell(double(r)) : Cell(map.names.at(r)));
    for (const double value : map.values[r]) row.emplace_back(value);
    table.rows.push_back(std::move(row));
  }
  return table;
}

// Where the cells are.
struct Grid {
  double left, width, height;  // width and height of a cell

  explicit Grid(const HeatMap& map)
      : left(map.names.empty() ? kLeft : kNamedLeft),
        width((kFigureWidth - left - kScaleSpace) / double(map.values[0].size())),
        height(std::clamp(260.0 / double(map.values.size()), 9.0, 26.0)) {}
  double row(double r) const { return kTop + height * r; }
  double column(double c) const { return left + width * c; }
};

void draw_cells(Svg& svg, const HeatMap& map, const Grid& at) {
  const bool written = at.width >= kWrittenWidth && at.height >= 13;
  const double middle = at.height / 2 + 4;
  for (size_t r = 0; r < map.values.size(); ++r) {
    ELASTRON_CHECK(map.values[r].size() == map.values[0].size(), "rows of one length");
    for (size_t c = 0; c < map.values[r].size(); ++c) {
      const double value = map.values[r][c], x = at.column(double(c)), y = at.row(double(r));
      const Rgb colour = heat_colour(share_of(map, value));
      svg.cell({x, y}, at.width - 0.5, at.height - 0.5, colour,
               fmt::format("{} {}, {} {}: {}", map.rows, name_of(map, r), map.columns,
                           name_of(map, c), rounded(value)));
      if (!written) continue;
      svg.text_on_cell({x + at.width / 2, y + middle}, fmt::format("{:.2f}", value), colour);
    }
  }
}

void draw_names(Svg& svg, const HeatMap& map, const Grid& at) {
  const bool named = !map.names.empty();
  const size_t rows = map.values.size(), columns = map.values[0].size();
  const double below = at.row(double(rows));
  const auto name = [&](size_t i) { return shortened(name_of(map, i), kLongestName); };
  for (size_t r = 0; r < rows; r += every(at.height, 14)) {
    svg.text({at.left - 6, at.row(double(r)) + at.height / 2 + 4}, name(r), kQuiet,
             {.anchor = Anchor::end, .size = 11});
  }
  for (size_t c = 0; c < columns; c += every(at.width, named ? 12 : 22)) {
    const double x = at.column(double(c) + 0.5);
    if (named) {
      svg.text({x + 4, below + 6}, name(c), kQuiet,
               {.anchor = Anchor::end, .size = 11, .upright = true});
    } else {
      svg.text({x, below + 14}, name(c), kQuiet, {.anchor = Anchor::middle, .size = 11});
    }
  }
  if (named) return;  // which say what they are
  svg.text({at.column(double(columns) / 2), below + 31}, map.columns, kQuiet,
           {.anchor = Anchor::middle, .size = 12});
  svg.text({12, at.row(double(rows) / 2)}, map.rows, kQuiet,
           {.anchor = Anchor::middle, .size = 12, .upright = true});
}

}  // namespace

Figure heat_map_figure(const HeatMap& map) {
  ELASTRON_CHECK(!map.values.empty() && !map.values[0].empty() && map.low < map.high,
                 "a heat map has cells and a scale");
  const Grid grid(map);
  const double bottom = std::max(grid.row(double(map.values.size())), kTop + 60);
  Svg svg(kFigureWidth, bottom + (map.names.empty() ? 40 : kNamesBelow), map.title);
  draw_cells(svg, map, grid);
  draw_names(svg, map, grid);
  draw_scale(svg, map, kTop, bottom - kTop);
  return {.title = map.title,
          .note = map.note,
          .svg = std::move(svg).finish(),
          .numbers = numbers_of(map),
          .numbers_note = ""};
}

}  // namespace elastron::report
