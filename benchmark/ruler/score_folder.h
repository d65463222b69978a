// Predictions of RULER, scored as the published evaluate.py does.
#pragma once
#include <string>
#include <vector>

#include "benchmark/scored_folder.h"

namespace elastron::benchmark {

struct ScoredRuler : ScoredFolder {
  std::string summary_csv, submission_csv;  // whole files, in the published layout
  // In a folder, by the name that the published program gives the summary.
  std::string summary_path(const std::string& folder) const;
};

// {task: score}. `tasks`: those to score; empty: all thirteen that have a file, and those of the
// same kinds that this program makes ("elastron-..."). Files of other names are left out, and named
// in the details. The details have the mean over the thirteen tasks, missing where one is.
ScoredRuler score_ruler(const std::string& folder, const std::vector<std::string>& tasks);

}  // namespace elastron::benchmark
