#include "report/reproduction/claims.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "report/reproduction/static_series.h"

namespace elastron::report {

namespace {

using Claims = std::vector<Claim>;

void add(Claims& claims, Claim claim, const std::optional<Estimate>& value) {
  if (!value) return;
  claim.value = *value;
  if (claim.verdict != Verdict::measured) claim.verdict = verdict_on(*value);
  claims.push_back(std::move(claim));
}

Claim claim(std::string id, std::string_view paper, std::string sentence, std::string measured) {
  return {.id = std::move(id),
          .paper = std::string(paper),
          .sentence = std::move(sentence),
          .measured = std::move(measured),
          .value = {}};
}
Claim measured_only(Claim claim) {
  claim.verdict = Verdict::measured;
  return claim;
}

// The measure less what it is on average in other jobs.
Measure above_mean(const Measure& measure, const Jobs& jobs) {
  return [=, mean = mean_of(jobs, measure)](const Job& job) -> std::optional<double> {
    const auto value = measure(job);
    if (!value || !mean) return {};
    return *value - *mean;
  };
}

std::string routers(const Place& place) { return "elastic routers (t_sen " + place.at + ")"; }

// The measure less that of the static heads at the MSR that the job has on the side's kinds.
Measure above_static(const std::vector<StaticPoint>& points, Side side) {
  return [=](const Job& job) -> std::optional<double> {
    const auto accuracy = accuracy_over(side)(job), msr = msr_over(side)(job);
    if (!accuracy || !msr) return {};
    const auto other = at_msr(points, accuracy_over(side), *msr);
    if (!other) return {};
    return *accuracy - *other;
  };
}

void add_against_static(Claims& claims, const Reproduction& all, const std::vector<Place>& places) {
  for (const auto& [side, id] : {std::pair{Side::all, "C1"}, std::pair{Side::sensitive, "C1s"}}) {
    for (const std::string_view series : kStaticSeries) {
      const auto points = static_points(all, series);
      for (const Place& place : places) {
        add(claims,
            claim(fmt::format("{}-{}-{}", id, series, place.at), "Fig. 1, Table 1",
                  fmt::format("{} are above static heads ({}) at the same MSR, {}", routers(place),
                              series, name_of(side)),
                  "accuracy less that of the static series at this MSR"),
            estimate_of(place.jobs, above_static(points, side)));
      }
    }
  }
}

void add_msr_by_side(Claims& claims, const std::vector<Place>& places) {
  const Measure apart = difference(msr_over(Side::robust), msr_over(Side::sensitive));
  for (const Place& place : places) {
    add(claims,
        claim("C2-" + place.at, "Table 1, Fig. 6",
              routers(place) + " run robust kinds with more sparse heads than sensitive ones",
              "MSR of robust kinds less that of sensitive ones"),
        estimate_of(place.jobs, apart));
  }
}

void add_static_collapse(Claims& claims, const Reproduction& all) {
  const auto places = places_of(jobs_of(all, "static", "random"));
  if (places.empty()) return;
  const Place& last = places.back();
  const Measure apart = difference(accuracy_over(Side::robust), accuracy_over(Side::sensitive));
  add(claims,
      claim("C3", "Fig. 2",
            "with static heads at random (MSR " + last.at +
                ") sensitive kinds collapse, and robust ones do not",
            "accuracy on robust kinds less that on sensitive ones"),
      estimate_of(last.jobs, apart));
  add(claims,
      claim("C3-loss", "Fig. 2",
            "these heads cost sensitive kinds more of full attention's accuracy than robust ones",
            "loss of accuracy on sensitive kinds less that on robust ones"),
      estimate_of(last.jobs, above_mean(apart, jobs_of(all, "static", "full"))));
}

void add_against_ends(Claims& claims, const Reproduction& all, const std::vector<Place>& places) {
  const Measure accuracy = accuracy_over(Side::all);
  for (const Place& place : places) {
    add(claims,
        claim("C4-" + place.at, "Table 1", routers(place) + " are above all-sparse attention",
              "accuracy over all kinds less that of all-sparse attention"),
        estimate_of(place.jobs, above_mean(accuracy, jobs_of(all, "static", "sparse"))));
    add(claims,
        measured_only(claim("C4-full-" + place.at, "Table 1",
                            routers(place) + " against full attention",
                            "accuracy over all kinds less that of full attention")),
        estimate_of(place.jobs, above_mean(accuracy, jobs_of(all, "static", "full"))));
  }
}

void add_target(Claims& claims, const std::vector<Place>& places) {
  if (places.size() < 2) return;
  const Place &low = places.front(), &high = places.back();
  add(claims,
      claim("C5", "Fig. 7", "the MSR of sensitive kinds rises with t_sen",
            fmt::format("MSR of sensitive kinds at t_sen {} less that at {}", high.at, low.at)),
      paired_difference(high.jobs, low.jobs, msr_over(Side::sensitive)));
}

// Mean over pairs of a sensitive and a robust kind, before less after.
std::optional<double> cosine_fall(const Job& job) {
  const auto* results = std::get_if<KindResults>(&job.result);
  if (results == nullptr || !results->cosines) return {};
  const KindCosines& cosines = *results->cosines;
  const auto side = [&](const std::string& name) -> std::optional<bool> {
    const auto found = std::ranges::find(results->kinds, name, &KindResult::kind);
    return found == results->kinds.end() ? std::nullopt : std::optional(found->sensitive);
  };
  double sum = 0;
  int pairs = 0;
  for (size_t i = 0; i < cosines.kinds.size(); ++i) {
    for (size_t j = i + 1; j < cosines.kinds.size(); ++j) {
      const auto a = side(cosines.kinds[i]), b = side(cosines.kinds[j]);
      if (!a || !b || *a == *b) continue;
      sum += cosines.before[i][j] - cosines.after[i][j];
      ++pairs;
    }
  }
  if (pairs == 0) return {};
  return sum / pairs;
}

void add_features(Claims& claims, const std::vector<Place>& places) {
  for (const Place& place : places) {
    add(claims,
        claim("C6-" + place.at, "Fig. 5",
              "the task MLP of " + routers(place) + " tells sensitive kinds from robust ones",
              "mean cosine of sensitive and robust kinds before the task MLP less that after it"),
        estimate_of(place.jobs, cosine_fall));
  }
}

void add_lengths(Claims& claims, const Reproduction& all) {
  const auto places = places_of(jobs_of(all, "lengths", "elastic"));
  if (places.empty()) return;
  const Place& longest = places.back();
  const Measure accuracy = accuracy_over(Side::all);
  const auto of = [&](const char* series) {
    const Jobs others = at_place(jobs_of(all, "lengths", series), longest.at);
    return estimate_of(longest.jobs, above_mean(accuracy, others));
  };
  add(claims,
      claim("C7", "Table 2",
            "elastic routers are above all-sparse attention at " + longest.at +
                " words, beyond the length of their training",
            "accuracy over all kinds less that of all-sparse attention"),
      of("sparse"));
  add(claims,
      measured_only(claim("C7-full", "Table 2",
                          "elastic routers against full attention at " + longest.at + " words",
                          "accuracy over all kinds less that of full attention")),
      of("full"));
}

void add_pooling(Claims& claims, const Reproduction& all) {
  const Jobs jobs = jobs_of(all, "pooling");
  const Measure apart = difference(msr_over(Side::robust), msr_over(Side::sensitive));
  add(claims,
      claim("C8", "Fig. 14",
            "pooling 100 tokens at both ends tells kinds apart better than pooling all",
            "MSR of robust kinds less that of sensitive ones, less the same of pooling all"),
      paired_difference(at_place(jobs, "100"), at_place(jobs, "mean"), apart));
}

// Mean over the tasks that the run has.
std::optional<double> multiplier_rise(const Job& job) {
  const auto* run = std::get_if<TrainingRun>(&job.result);
  if (run == nullptr) return {};
  const auto found = run->metrics.of_steps.find("lambda1");
  if (found == run->metrics.of_steps.end() || found->second.empty()) return {};
  double sum = 0;
  for (const auto& [task, series] : found->second) {
    sum += series.values.back() - series.values.front();
  }
  return sum / double(found->second.size());
}

void add_multipliers(Claims& claims, const Reproduction& all) {
  for (const Place& place : places_of(jobs_of(all, "training", "elastic"))) {
    add(claims,
        claim("C9-" + place.at, "Fig. 13d",
              "the multipliers of " + routers(place) + " rise while MSR is below its target",
              "lambda1 at the last step less that at the first, mean over tasks"),
        estimate_of(place.jobs, multiplier_rise));
  }
}

void add_costs(Claims& claims, const Reproduction& all) {
  const auto places = places_of(jobs_of(all, "cost", "elastic"));
  if (places.empty()) return;
  const Place& longest = places.back();
  const Jobs full = at_place(jobs_of(all, "cost", "full"), longest.at);
  const auto saved = [&](const Measure& measure, bool rate) {
    const auto whole = mean_of(full, measure);
    return estimate_of(longest.jobs, [=](const Job& job) -> std::optional<double> {
      const auto here = measure(job);
      if (!here || !whole || *whole == 0) return {};
      return rate ? *here / *whole - 1 : 1 - *here / *whole;
    });
  };
  const std::string tokens = " than full attention at " + longest.at + " tokens";
  add(claims,
      claim("C10-prefill", "", "elastic routers read a prompt faster" + tokens,
            "share of full attention's seconds that is saved"),
      saved(cost_of(&CostResult::prefill_seconds), false));
  add(claims,
      claim("C10-decode", "", "elastic routers write faster" + tokens,
            "tokens per second over those of full attention, less 1"),
      saved(cost_of(&CostResult::decode_tokens_per_second), true));
  add(claims,
      claim("C10-cache", "", "elastic routers keep less" + tokens,
            "share of full attention's cache that is saved"),
      saved(cost_of(&CostResult::cache_bytes), false));
}

void add_modes(Claims& claims, const Reproduction& all) {
  const Jobs sparse = jobs_of(all, "modes", "sparse");
  for (const Place& place : places_of(jobs_of(all, "modes", "elastic"))) {
    add(claims,
        claim("C11-" + place.at, "Table 1",
              "with " + place.at + " elastic routers are above all-sparse attention",
              "accuracy over all kinds less that of all-sparse attention"),
        estimate_of(place.jobs, above_mean(accuracy_over(Side::all), at_place(sparse, place.at))));
  }
}

void add_unseen(Claims& claims, const Reproduction& all) {
  for (const Place& place : places_of(jobs_of(all, "unseen", "elastic"))) {
    const auto* results = std::get_if<KindResults>(&place.jobs[0]->result);
    const auto kind = std::ranges::find(results->kinds, place.at, &KindResult::kind);
    if (kind == results->kinds.end()) continue;
    const Measure own = msr_of_kind(place.at);
    add(claims,
        claim("C12-" + place.at, "",
              fmt::format("routers that never saw {} run it with {} sparse heads than {}", place.at,
                          kind->sensitive ? "fewer" : "more",
                          name_of(kind->sensitive ? Side::robust : Side::sensitive)),
              "difference of both MSR"),
        estimate_of(place.jobs, kind->sensitive ? difference(msr_over(Side::robust), own)
                                                : difference(own, msr_over(Side::sensitive))));
  }
}

void add_reward(Claims& claims, const Reproduction& all) {
  add(claims,
      claim("C13", "", "a reward model with elastic routers is above one with static heads",
            "accuracy less that of static heads"),
      estimate_of(jobs_of(all, "reward", "elastic"),
                  above_mean(reward_accuracy(), jobs_of(all, "reward", "static"))));
}

}  // namespace

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::holds: return "holds";
    case Verdict::not_shown: return "not shown";
    case Verdict::does_not_hold: return "does not hold";
    default: return "measured";
  }
}

Verdict verdict_on(const Estimate& value) {
  if (!value.low || !value.high) return Verdict::not_shown;
  return *value.low > 0    ? Verdict::holds
         : *value.high < 0 ? Verdict::does_not_hold
                           : Verdict::not_shown;
}

std::vector<Claim> claims_of(const Reproduction& all) {
  const auto places = places_of(jobs_of(all, "elastic", "elastic"));
  Claims claims;
  add_against_static(claims, all, places);
  add_msr_by_side(claims, places);
  add_static_collapse(claims, all);
  add_against_ends(claims, all, places);
  add_target(claims, places);
  add_features(claims, places);
  add_lengths(claims, all);
  add_pooling(claims, all);
  add_multipliers(claims, all);
  add_costs(claims, all);
  add_modes(claims, all);
  add_unseen(claims, all);
  add_reward(claims, all);
  return claims;
}

std::string line_of(const Claim& claim) {
  return fmt::format("claim {} {}: {}: {}", claim.id, name_of(claim.verdict), claim.sentence,
                     text_of(claim.value));
}

}  // namespace elastron::report
