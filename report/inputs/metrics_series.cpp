#include "report/inputs/metrics_series.h"

#include <cmath>
#include <filesystem>

#include "core/error.h"
#include "core/file/line_reader.h"
#include "report/inputs/fields.h"

namespace elastron::report {

namespace {

constexpr size_t kLongestLine = size_t(4) << 20;

void add_value(Series& series, double step, const Json& value) {
  series.steps.push_back(step);
  series.values.push_back(value.is_number() ? value.get<double>() : std::nan(""));
}

void add_figures(std::map<std::string, FigureSeries>& figures, double step, const Json& object) {
  for (const auto& [name, value] : object.items()) {
    if (name == "step") continue;
    if (value.is_number() || value.is_null()) add_value(figures[name][""], step, value);
    if (!value.is_object()) continue;
    for (const auto& [key, part] : value.items()) {
      if (part.is_number() || part.is_null()) add_value(figures[name][key], step, part);
    }
  }
}

void add_line(MetricsSeries& metrics, const Json& object, const std::string& where) {
  const bool has_step = object.is_object() && object.contains("step") &&
                        object["step"].is_number_integer() && object["step"] >= 0;
  if (!has_step) {
    throw InputError("not an object with a step", where,
                     "remove the line, or go on with the run: resuming leaves such lines out");
  }
  const auto step = object["step"].get<int64_t>();
  const std::string time = text_in(object, "time"), event = text_in(object, "event");
  if (metrics.first_time.empty()) metrics.first_time = time;
  metrics.last_time = time;
  if (event == "eval") {
    add_figures(metrics.of_evaluations, double(step), object);
  } else if (event == "skipped") {
    metrics.skipped.push_back(double(step));
  } else if (event.empty()) {
    if (metrics.logged > 0 && step <= metrics.last_step) {
      throw InputError(
          "step " + std::to_string(step) + " behind step " + std::to_string(metrics.last_step),
          where, "steps must rise: are these lines of two runs?");
    }
    ++metrics.logged;
    metrics.last_step = step;
    add_figures(metrics.of_steps, double(step), object);
  }
}

}  // namespace

MetricsSeries read_metrics(const std::string& path) {
  MetricsSeries metrics;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return metrics;
  if (std::filesystem::is_regular_file(path, error) && std::filesystem::file_size(path) == 0) {
    return metrics;
  }
  LineReader lines(path, kLongestLine);
  while (lines.next() && lines.ended_by_newline()) {
    add_line(metrics, parse_json_strict(lines.line(), lines.where()), lines.where());
  }
  return metrics;
}

}  // namespace elastron::report
