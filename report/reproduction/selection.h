// Jobs of a reproduction by what they are of, and what is measured in them.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/inputs/reproduction.h"
#include "report/reproduction/estimate.h"

namespace elastron::report {

using Jobs = std::vector<const Job*>;

// Those of a figure, and of one of its series where that is not empty; in their order.
Jobs jobs_of(const Reproduction& all, std::string_view figure, std::string_view series = "");

// Jobs of one place (`at`). Numbers rise; other places stand in the order of the jobs.
struct Place {
  std::string at;
  double number = 0;  // of places that are numbers
  Jobs jobs;
};
std::vector<Place> places_of(const Jobs& jobs);
std::vector<std::string> series_of(const Jobs& jobs);
// Those of one place; none: there is no such place.
Jobs at_place(const Jobs& jobs, const std::string& at);

// A number of a job; nothing where the job has none.
using Measure = std::function<std::optional<double>(const Job&)>;

enum class Side { all, sensitive, robust };
std::string_view name_of(Side side);  // "all kinds"
// Means over the kinds of a side, each kind counting once. Nothing where there is no such kind.
Measure accuracy_over(Side side);
Measure msr_over(Side side);
Measure accuracy_of_kind(const std::string& kind);
Measure msr_of_kind(const std::string& kind);
Measure reward_accuracy();
Measure cost_of(std::optional<double> CostResult::*member);
Measure difference(Measure a, Measure b);  // nothing where either is

// Of jobs with such results.
std::vector<std::string> kinds_in(const Jobs& jobs);

std::vector<double> values_of(const Jobs& jobs, const Measure& measure);
std::optional<Estimate> estimate_of(const Jobs& jobs, const Measure& measure);
std::optional<double> mean_of(const Jobs& jobs, const Measure& measure);

// a - b of the seeds that both have, for what trains alike but for one thing.
std::optional<Estimate> paired_difference(const Jobs& a, const Jobs& b, const Measure& measure);

}  // namespace elastron::report
