#include "report/reproduction/selection.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace elastron::report {

namespace {

template <class Value>
std::optional<double> mean_over(const Job& job, Side side, const Value& value) {
  const auto* results = std::get_if<KindResults>(&job.result);
  if (results == nullptr) return {};
  double sum = 0;
  int n = 0;
  for (const KindResult& kind : results->kinds) {
    if (side != Side::all && kind.sensitive != (side == Side::sensitive)) continue;
    sum += value(kind);
    ++n;
  }
  if (n == 0) return {};
  return sum / n;
}

template <class Value>
Measure of_kind(const std::string& name, const Value& value) {
  return [=](const Job& job) -> std::optional<double> {
    const auto* results = std::get_if<KindResults>(&job.result);
    if (results == nullptr) return {};
    const auto found = std::ranges::find(results->kinds, name, &KindResult::kind);
    if (found == results->kinds.end() || !std::isfinite(value(*found))) return {};
    return value(*found);
  };
}

double accuracy(const KindResult& kind) { return kind.accuracy; }
double msr(const KindResult& kind) { return kind.msr; }

}  // namespace

Jobs jobs_of(const Reproduction& all, std::string_view figure, std::string_view series) {
  Jobs jobs;
  for (const Job& job : all.jobs) {
    if (job.figure == figure && (series.empty() || job.series == series)) jobs.push_back(&job);
  }
  return jobs;
}

std::vector<Place> places_of(const Jobs& jobs) {
  std::vector<Place> places;
  bool numbers = true;
  for (const Job* job : jobs) {
    auto place = std::ranges::find(places, job->at, &Place::at);
    if (place == places.end()) {
      place = places.insert(place, {job->at, job->number.value_or(0), {}});
      numbers = numbers && job->number;
    }
    place->jobs.push_back(job);
  }
  if (numbers) std::ranges::stable_sort(places, {}, &Place::number);
  return places;
}

std::vector<std::string> series_of(const Jobs& jobs) {
  std::vector<std::string> names;
  for (const Job* job : jobs) {
    if (std::ranges::find(names, job->series) == names.end()) names.push_back(job->series);
  }
  return names;
}

Jobs at_place(const Jobs& jobs, const std::string& at) {
  Jobs found;
  std::ranges::copy_if(jobs, std::back_inserter(found), [&](const Job* j) { return j->at == at; });
  return found;
}

std::string_view name_of(Side side) {
  return side == Side::all         ? "all kinds"
         : side == Side::sensitive ? "sensitive kinds"
                                   : "robust kinds";
}

Measure accuracy_over(Side side) {
  return [=](const Job& job) { return mean_over(job, side, accuracy); };
}
Measure msr_over(Side side) {
  return [=](const Job& job) { return mean_over(job, side, msr); };
}
Measure accuracy_of_kind(const std::string& kind) { return of_kind(kind, accuracy); }
Measure msr_of_kind(const std::string& kind) { return of_kind(kind, msr); }

Measure reward_accuracy() {
  return [](const Job& job) -> std::optional<double> {
    const auto* reward = std::get_if<RewardResult>(&job.result);
    return reward == nullptr ? std::nullopt : std::optional(reward->accuracy);
  };
}

Measure cost_of(std::optional<double> CostResult::*member) {
  return [=](const Job& job) -> std::optional<double> {
    const auto* cost = std::get_if<CostResult>(&job.result);
    return cost == nullptr ? std::nullopt : cost->*member;
  };
}

Measure difference(Measure a, Measure b) {
  return [a = std::move(a), b = std::move(b)](const Job& job) -> std::optional<double> {
    const auto x = a(job), y = b(job);
    if (!x || !y) return {};
    return *x - *y;
  };
}

std::vector<std::string> kinds_in(const Jobs& jobs) {
  std::vector<std::string> kinds;
  for (const Job* job : jobs) {
    const auto* results = std::get_if<KindResults>(&job->result);
    if (results == nullptr) continue;
    for (const KindResult& kind : results->kinds) {
      if (std::ranges::find(kinds, kind.kind) == kinds.end()) kinds.push_back(kind.kind);
    }
  }
  return kinds;
}

std::vector<double> values_of(const Jobs& jobs, const Measure& measure) {
  std::vector<double> values;
  for (const Job* job : jobs) {
    if (const auto value = measure(*job)) values.push_back(*value);
  }
  return values;
}

std::optional<Estimate> estimate_of(const Jobs& jobs, const Measure& measure) {
  return estimate_of(values_of(jobs, measure));
}

std::optional<double> mean_of(const Jobs& jobs, const Measure& measure) {
  const auto estimate = estimate_of(jobs, measure);
  return estimate ? std::optional(estimate->mean) : std::nullopt;
}

std::optional<Estimate> paired_difference(const Jobs& a, const Jobs& b, const Measure& measure) {
  std::vector<double> differences;
  for (const Job* job : a) {
    const auto other = std::ranges::find(b, job->seed, &Job::seed);
    if (other == b.end()) continue;
    const auto x = measure(*job), y = measure(**other);
    if (x && y) differences.push_back(*x - *y);
  }
  return estimate_of(differences);
}

}  // namespace elastron::report
