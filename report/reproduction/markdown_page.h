// A reproduction as a file of Markdown, with its figures beside it.
#pragma once
#include <string>

#include "report/report.h"
#include "report/reproduction/findings.h"

namespace elastron::report {

// `folder`: of the figures, relative to the text's own; `made_by` as in ReportOptions.
Report markdown_page(const Reproduction& all, const Findings& findings, const std::string& folder,
                     const std::string& made_by);

}  // namespace elastron::report
