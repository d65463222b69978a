// A reproduction as a file of Markdown, with its figures beside it.
#pragma once
#include <string>

#include "report/report.h"
#include "report/reproduction/findings.h"

namespace elastron::report {

// `folder`: of the figures, relative to the text's own. The same bytes of the same results: it says
// neither when it was written nor from where.
Report markdown_page(const Reproduction& all, const Findings& findings, const std::string& folder);

}  // namespace elastron::report
