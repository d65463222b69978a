// A page of what the program has made: runs, evaluations, benchmarks, reproductions of the paper
// (docs/report.md).
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace elastron::report {

struct ReportOptions {
  std::vector<std::string> paths;  // of runs and files
  // Said at the end of the page: the program that made it, when, and the command.
  std::string made_by;
  std::optional<int> refresh_seconds;  // the page loads itself again; empty: never
};

struct Report {
  std::string text;
  // Files that the text has links to: paths relative to its folder, and what is in them.
  std::vector<std::pair<std::string, std::string>> files;
  std::vector<std::string> claims;  // lines on those of reproductions, as line_of() has them
};

// The whole page in HTML, which needs no files. Throws what read_inputs() throws.
Report report_page(const ReportOptions& options);
// One reproduction in Markdown; its figures are files in `folder`. Throws UsageError where the path
// is not one, and what read_input() throws.
Report report_markdown(const ReportOptions& options, const std::string& folder);

// Those of the folders whose run is going on. Looks at no other files.
std::vector<std::string> runs_going_on(const std::vector<std::string>& paths);
// Whether all are folders of runs, which --live can follow.
bool all_are_runs(const std::vector<std::string>& paths);

}  // namespace elastron::report
