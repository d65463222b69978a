// A run's metrics.jsonl as series of numbers.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace elastron::report {

// Values by step, the steps rising. Null in the file is not a number here.
struct Series {
  std::vector<double> steps, values;
};

// Of a figure that is a number, the series ""; of one by task or kind, a series for each.
using FigureSeries = std::map<std::string, Series>;

struct MetricsSeries {
  std::map<std::string, FigureSeries> of_steps, of_evaluations;  // by the figure's name
  std::vector<double> skipped;                                   // steps without an update
  int64_t last_step = 0;                                         // 0: nothing is there yet
  int64_t logged = 0;                                            // steps that are in the file
  std::string first_time, last_time;                             // UTC
};

// Nothing where there is no file yet or it is empty; a last line that is being written is left out.
// Throws InputError naming file and line for one that is no object with a step.
MetricsSeries read_metrics(const std::string& path);

}  // namespace elastron::report
