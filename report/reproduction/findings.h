// All that is said of a reproduction, for a page and for a file of Markdown.
#pragma once
#include <string>
#include <vector>

#include "report/page.h"
#include "report/reproduction/claims.h"
#include "report/reproduction/parts.h"

namespace elastron::report {

struct Findings {
  Facts facts;
  std::vector<Claim> claims;
  std::string summary;      // how many claims hold, and what is not there yet
  std::vector<Part> parts;  // none is empty
};

Findings findings_of(const Reproduction& all);

// What their verdicts mean.
inline constexpr const char* kClaimsRule =
    "A claim is that its value is above 0: it holds where the whole 95 % interval over seeds is, "
    "is not shown where the interval holds 0 or there is one seed alone, and does not hold where "
    "all of it is below 0.";
Table claims_table(const std::vector<Claim>& claims);
Table jobs_table(const Reproduction& all);

}  // namespace elastron::report
