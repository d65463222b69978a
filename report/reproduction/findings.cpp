#include "report/reproduction/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace elastron::report {

namespace {

std::string time_text(double seconds) {
  return seconds < 120 ? fmt::format("{:.0f} s", seconds)
                       : fmt::format("{:.0f} h {:.0f} min", std::floor(seconds / 3600),
                                     std::floor(seconds / 60) - 60 * std::floor(seconds / 3600));
}

Facts facts_of(const Reproduction& all) {
  Facts facts;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) facts.emplace_back(name, value);
  };
  add("Mode", all.mode);
  add("Program", all.program);
  add("Commit", all.commit);
  add("Machine", all.machine);
  add("Begun", all.begun);
  add("Backbone", all.backbone);
  double seconds = 0;
  for (const Job& job : all.jobs) seconds += job.seconds.value_or(0);
  add("Jobs", fmt::format("{}, {} in all", all.jobs.size(), time_text(seconds)));
  return facts;
}

std::string summary_of(const Reproduction& all, const std::vector<Claim>& claims) {
  const auto count = [&](Verdict verdict) {
    return std::ranges::count(claims, verdict, &Claim::verdict);
  };
  std::string text = fmt::format(
      "{} claims hold, {} are not shown, {} do not hold; {} differences of which no sign is "
      "claimed are measured.",
      count(Verdict::holds), count(Verdict::not_shown), count(Verdict::does_not_hold),
      count(Verdict::measured));
  std::string missing;
  for (const ReproducedFigure& figure : kReproducedFigures) {
    if (jobs_of(all, figure.id).empty()) {
      missing += fmt::format("{}{}", missing.empty() ? "" : ", ", figure.id);
    }
  }
  if (!missing.empty()) text += " Not there yet: " + missing + ".";
  return text;
}

}  // namespace

Findings findings_of(const Reproduction& all) {
  Findings findings{.facts = facts_of(all), .claims = claims_of(all), .summary = {}, .parts = {}};
  findings.summary = summary_of(all, findings.claims);
  findings.parts = {frontier_part(all),
                    static_part(all),
                    features_part(all),
                    heads_part(all),
                    training_part(all),
                    choices_part(all, "pooling"),
                    choices_part(all, "place"),
                    choices_part(all, "modes"),
                    choices_part(all, "routing"),
                    choices_part(all, "temperature"),
                    choices_part(all, "width"),
                    lengths_part(all),
                    unseen_part(all),
                    reward_part(all),
                    cost_part(all)};
  std::erase_if(findings.parts, [](const Part& part) { return part.empty(); });
  return findings;
}

Table claims_table(const std::vector<Claim>& claims) {
  Table table{.columns = {"id", "paper", "claim", "verdict", "value", "95 % low", "95 % high",
                          "seeds", "value is"},
              .rows = {}};
  for (const Claim& claim : claims) {
    table.rows.push_back({claim.id, claim.paper, claim.sentence,
                          std::string(name_of(claim.verdict)), claim.value.mean, claim.value.low,
                          claim.value.high, double(claim.value.seeds), claim.measured});
  }
  return table;
}

Table jobs_table(const Reproduction& all) {
  Table table{.columns = {"figure", "series", "at", "seed", "seconds", "command"}, .rows = {}};
  for (const Job& job : all.jobs) {
    table.rows.push_back(
        {job.figure, job.series, job.at, double(job.seed), job.seconds, job.command});
  }
  return table;
}

}  // namespace elastron::report
