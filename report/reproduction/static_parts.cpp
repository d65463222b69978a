// Figures 1 and 2, Table 1: static heads, and routers beside them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "report/reproduction/drawing.h"
#include "report/reproduction/static_series.h"

namespace elastron::report {

namespace {

constexpr const char* kOfMsr = "MSR (share of heads that run sparse)";

std::vector<CurvePoint> curve_points(const std::vector<StaticPoint>& points) {
  std::vector<CurvePoint> found;
  for (const StaticPoint& point : points) found.push_back({point.msr, point.jobs});
  return found;
}

Curves static_curves(const Reproduction& all, const std::string& title, const Measure& measure) {
  Curves curves{.title = title, .note = kIntervals, .of = kOfMsr, .curves = {}, .shares = true};
  for (const std::string_view series : kStaticSeries) {
    const auto points = static_points(all, series);
    if (points.empty()) continue;
    curves.curves.push_back(curve_of(std::string(series), curve_points(points), measure));
  }
  return curves;
}

std::vector<Place> elastic_places(const Reproduction& all) {
  return places_of(jobs_of(all, "elastic", "elastic"));
}

void add_frontier(Part& part, const Reproduction& all, Side side, const std::string& name) {
  const Measure accuracy = accuracy_over(side);
  Curves curves =
      static_curves(all, "Accuracy on " + std::string(name_of(side)) + " against MSR", accuracy);
  std::vector<CurvePoint> points;
  for (const Place& place : elastic_places(all)) {
    if (const auto msr = mean_of(place.jobs, msr_over(side))) points.push_back({*msr, place.jobs});
  }
  if (points.empty()) return;
  curves.curves.push_back(curve_of("elastic", points, accuracy));
  curves.note = "MSR is the measured one on these kinds; a point of elastic routers per t_sen; " +
                std::string(kIntervals);
  add_curves(part, name, curves);
}

struct TableRow {
  std::string name, at;
  Jobs jobs;
};

// The place of the series whose MSR is nearest; nothing where the series is not there.
std::optional<TableRow> nearest_row(const Reproduction& all, std::string_view series, double msr) {
  std::optional<TableRow> nearest;
  double apart = std::numeric_limits<double>::infinity();
  for (const Place& place : places_of(jobs_of(all, "static", series))) {
    const auto here = mean_of(place.jobs, msr_over(Side::all));
    if (!here || std::abs(*here - msr) >= apart) continue;
    apart = std::abs(*here - msr);
    nearest = TableRow{std::string(series), "MSR " + place.at, place.jobs};
  }
  return nearest;
}

// Full, sparse; then the routers of each t_sen, each with the static heads nearest to their MSR.
std::vector<TableRow> table_rows(const Reproduction& all) {
  std::vector<TableRow> rows;
  for (const char* series : {"full", "sparse"}) {
    const Jobs jobs = jobs_of(all, "static", series);
    if (!jobs.empty()) rows.push_back({series, "", jobs});
  }
  for (const Place& place : elastic_places(all)) {
    rows.push_back({"elastic", "t_sen " + place.at, place.jobs});
    const auto msr = mean_of(place.jobs, msr_over(Side::all));
    for (const std::string_view series : kStaticSeries) {
      const auto row = msr ? nearest_row(all, series, *msr) : std::nullopt;
      if (row) rows.push_back(*row);
    }
  }
  return rows;
}

Table table_of(const std::vector<TableRow>& rows, const std::vector<std::string>& kinds,
               Measure (*of_kind)(const std::string&), Measure (*over)(Side)) {
  Table table{.columns = {"heads", "at", "seeds"}, .rows = {}};
  for (const char* name : {"sensitive", "robust", "all", "95 % low", "95 % high"}) {
    table.columns.emplace_back(name);
  }
  table.columns.insert(table.columns.end(), kinds.begin(), kinds.end());
  for (const TableRow& row : rows) {
    const auto mixture = estimate_of(row.jobs, over(Side::all));
    std::vector<Cell> cells = {row.name, row.at, double(row.jobs.size()),
                               mean_of(row.jobs, over(Side::sensitive)),
                               mean_of(row.jobs, over(Side::robust))};
    cells.emplace_back(mixture ? std::optional(mixture->mean) : std::nullopt);
    cells.emplace_back(mixture ? mixture->low : std::nullopt);
    cells.emplace_back(mixture ? mixture->high : std::nullopt);
    for (const std::string& kind : kinds) cells.emplace_back(mean_of(row.jobs, of_kind(kind)));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

}  // namespace

Part frontier_part(const Reproduction& all) {
  Part part{.title = "Figure 1 and Table 1: routers against static heads",
            .text =
                "What accuracy is left at what share of sparse heads: where the same heads run "
                "sparse for every document, and where routers choose them by document. Static "
                "series begin at full attention and end at all-sparse attention.",
            .tables = {},
            .figures = {}};
  add_frontier(part, all, Side::all, "fig1-mixture");
  add_frontier(part, all, Side::sensitive, "fig1-sensitive");
  const Jobs routed = jobs_of(all, "elastic");
  if (routed.empty()) return part;
  const auto kinds = kinds_in(routed);
  const auto rows = table_rows(all);
  part.tables.emplace_back("Accuracy by kind; static heads at the MSR nearest to the routers above",
                           table_of(rows, kinds, accuracy_of_kind, accuracy_over));
  part.tables.emplace_back("MSR by kind", table_of(rows, kinds, msr_of_kind, msr_over));
  return part;
}

Part static_part(const Reproduction& all) {
  Part part{.title = "Figure 2: static sparsity by kind",
            .text =
                "Accuracy where the same heads run sparse for every document: chosen at random "
                "(mean over draws), by retrieval scores, or by training with L0 gates.",
            .tables = {},
            .figures = {}};
  for (const auto& [side, name] :
       {std::pair{Side::sensitive, "fig2-sensitive"}, std::pair{Side::robust, "fig2-robust"}}) {
    add_curves(
        part, name,
        static_curves(all, "Accuracy on " + std::string(name_of(side)), accuracy_over(side)));
  }
  for (const std::string& kind : kinds_in(jobs_of(all, "static"))) {
    add_curves(part, "fig2-" + kind,
               static_curves(all, "Accuracy on " + kind, accuracy_of_kind(kind)));
  }
  return part;
}

}  // namespace elastron::report
