// What the paper claims, measured (docs/report.md, Claims).
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "report/reproduction/estimate.h"
#include "report/reproduction/selection.h"

namespace elastron::report {

// The claim is that the value is above 0: its 95 % interval is; holds 0, or there is none, as of
// one seed; is below 0. `measured`: no sign is claimed.
enum class Verdict { holds, not_shown, does_not_hold, measured };
std::string_view name_of(Verdict verdict);

struct Claim {
  std::string id, paper;  // paper: where it is there
  std::string sentence;   // what is claimed
  std::string measured;   // what the value is
  Estimate value;
  Verdict verdict = Verdict::not_shown;
};

Verdict verdict_on(const Estimate& value);

// Those whose jobs are there, by their ids.
std::vector<Claim> claims_of(const Reproduction& all);

// "claim C5 holds: what is claimed: 0.123 [0.101, 0.145] (3 seeds)".
std::string line_of(const Claim& claim);

}  // namespace elastron::report
