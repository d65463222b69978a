// A page of what the program has made: runs, evaluations, benchmarks (docs/report.md).
#pragma once
#include <optional>
#include <string>
#include <vector>

namespace elastron::report {

struct ReportOptions {
  std::vector<std::string> paths;  // of runs and files
  // Said at the end of the page: the program that made it, when, and the command.
  std::string made_by;
  std::optional<int> refresh_seconds;  // the page loads itself again; empty: never
};

// The whole page. Throws what read_inputs() throws.
std::string report_page(const ReportOptions& options);

// Those of the folders whose run is going on. Looks at no other files.
std::vector<std::string> runs_going_on(const std::vector<std::string>& paths);
// Whether all are folders of runs, which --live can follow.
bool all_are_runs(const std::vector<std::string>& paths);

}  // namespace elastron::report
