#include "tests/report/reproduction_folder.h"

#include <fmt/format.h>

namespace elastron::test {

using Json = nlohmann::json;

ReproductionFolder::ReproductionFolder() {
  write("reproduction.json", Json{{"format", "elastron-reproduction"},
                                  {"version", 1},
                                  {"mode", "quick"},
                                  {"program", "elastron 0.2.0"},
                                  {"commit", "abc1234"},
                                  {"machine", "2 x <CPU> | of a test"},
                                  {"begun", "2026-11-30T21:30:00Z"},
                                  {"backbone", "configs/small/backbone"},
                                  {"command", "launch/reproduce.sh quick --out results"}}
                                 .dump());
}

void ReproductionFolder::write(const std::string& name, const std::string& bytes) {
  scratch_.write("results/" + name, bytes);
}

void ReproductionFolder::append(const std::string& bytes) {
  lines_ += bytes;
  write("jobs.jsonl", lines_);
}

void ReproductionFolder::line(const Json& job) { append(job.dump() + "\n"); }

Json ReproductionFolder::job(const std::string& figure, const std::string& series, const Json& at,
                             int seed, const std::string& of) const {
  const std::string place = at.is_null()     ? ""
                            : at.is_string() ? "-" + at.get<std::string>()
                                             : "-" + at.dump();
  Json job = {{"figure", figure},
              {"series", series},
              {"seed", seed},
              {"of", of},
              {"file", fmt::format("{}/{}{}-{}{}", figure, series, place, seed,
                                   of == "run" || of == "reward" ? "" : ".json")},
              {"seconds", 10.5},
              {"command", "elastron " + of + " " + series}};
  if (!at.is_null()) job["at"] = at;
  return job;
}

void ReproductionFolder::eval(const std::string& figure, const std::string& series, const Json& at,
                              int seed, const std::map<std::string, KindFigures>& kinds,
                              const Json& more) {
  Json row = {{"gates", series}, {"all", {{"documents", 8}}}};
  for (const auto& [kind, figures] : kinds) {
    row["by_kind"][kind] = {{"accuracy", figures.accuracy}, {"msr", figures.msr}};
  }
  row.update(more);
  const Json told = job(figure, series, at, seed, "eval");
  write(told["file"], row.dump());
  line(told);
}

void ReproductionFolder::cost(const std::string& series, int tokens, int seed,
                              const Json& figures) {
  Json json = figures;
  json["tokens"] = tokens;
  const Json told = job("cost", series, tokens, seed, "cost");
  write(told["file"], json.dump());
  line(told);
}

void ReproductionFolder::reward(const std::string& series, int seed, double accuracy) {
  const Json told = job("reward", series, nullptr, seed, "reward");
  const Json summary = {{"judge", "scores"},
                        {"total", {{"accuracy", accuracy}, {"interval", {accuracy, accuracy}}}}};
  write(told["file"].get<std::string>() + "/summary.json", summary.dump());
  line(told);
}

void ReproductionFolder::run(const std::string& series, double at, int seed,
                             const std::string& metrics) {
  const Json told = job("training", series, at, seed, "run");
  write(told["file"].get<std::string>() + "/metrics.jsonl", metrics);
  line(told);
}

std::map<std::string, KindFigures> two_kinds(double needle, double gist, double needle_msr,
                                             double gist_msr) {
  return {{"needle", {needle, needle_msr}}, {"gist", {gist, gist_msr}}};
}

namespace {

// The routers' own figures: what of two layers of two kv heads ran full, and how alike kinds are.
Json router_figures(double after) {
  return {{"full_by_kind", {{"needle", {{1, 0.5}, {0, 0}}}, {"gist", {{0.25, 0}, {0, 0}}}}},
          {"features_by_kind",
           {{"kinds", {"gist", "needle"}},
            {"before", {{1, 0.75}, {0.75, 1}}},
            {"after", {{1, after}, {after, 1}}}}}};
}

std::string metrics_of(double first, double last) {
  std::string lines;
  for (const auto& [step, lambda] : {std::pair{1, first}, std::pair{2, last}}) {
    lines += Json{{"step", step},
                  {"loss", 3.0 - step},
                  {"lm_loss", 2.5 - step},
                  {"msr", 0.5},
                  {"msr_by_task", {{"Single QA", 0.5}, {"Code", 0.75}}},
                  {"target_by_task", {{"Single QA", 0.5}, {"Code", 1.0}}},
                  {"lambda1", {{"Single QA", lambda}, {"Code", lambda}}},
                  {"lambda2", {{"Single QA", 0.25}, {"Code", 0.5}}}}
                 .dump() +
             "\n";
  }
  return lines;
}

void fill_choices(ReproductionFolder& f) {
  for (int seed = 1; seed <= 2; ++seed) {
    f.eval("pooling", "budget", "100", seed, two_kinds(0.75, 1, 0.25, 0.75));
    f.eval("pooling", "budget", "mean", seed, two_kinds(0.75, 1, 0.5, 0.5));
    f.eval("place", "place", "ctx_q", seed, two_kinds(0.75, 1, 0.25, 0.75));
    f.eval("routing", "elastic", "head, keys", seed, two_kinds(0.75, 1, 0.25, 0.75));
    f.eval("temperature", "elastic", "cosine", seed, two_kinds(0.75, 1, 0.25, 0.75));
    f.eval("width", "elastic", 2, seed, two_kinds(0.75, 1, 0.25, 0.75));
    f.eval("width", "elastic", 4, seed, two_kinds(0.75, 1, 0.25, 0.75));
    f.eval("modes", "elastic", "fa-xa", seed, two_kinds(0.75, 1, 0.25, 0.75));
    f.eval("lengths", "elastic", 512, seed, two_kinds(1, 1, 0.5, 1));
    f.eval("lengths", "elastic", 4096, seed, two_kinds(0.5, 1, 0.5, 1));
    f.eval("unseen", "elastic", "needle", seed, two_kinds(0.5, 1, 0.25, 0.75));
    f.eval("unseen", "seen", "needle", seed, two_kinds(0.75, 1, 0.25, 0.75));
    f.reward("elastic", seed, 0.75);
  }
  f.eval("modes", "full", "fa-xa", 1, two_kinds(1, 1, 0, 0));
  f.eval("modes", "sparse", "fa-xa", 1, two_kinds(0, 0.75, 1, 1));
  f.eval("lengths", "full", 4096, 1, two_kinds(0.75, 1, 0, 0));
  f.eval("lengths", "sparse", 4096, 1, two_kinds(0, 1, 1, 1));
  f.reward("full", 1, 1);
  f.reward("static", 1, 0.5);
  for (const int tokens : {1024, 2048}) {
    f.cost("full", tokens, 1,
           {{"prefill_seconds", 4}, {"decode_tokens_per_second", 10}, {"cache_bytes", 1000}});
    f.cost("elastic", tokens, 1,
           {{"prefill_seconds", 3},
            {"decode_tokens_per_second", 15},
            {"cache_bytes", 500},
            {"msr", 0.5},
            {"tiles_visited", 0.25},
            {"arithmetic_prefill", 0.5}});
    f.cost("elastic", tokens, 2, {{"prefill_seconds", 2}, {"cache_bytes", 500}});
  }
}

}  // namespace

void fill(ReproductionFolder& f) {
  f.eval("static", "full", nullptr, 0, two_kinds(1, 1, 0, 0));
  f.eval("static", "sparse", nullptr, 0, two_kinds(0, 0.75, 1, 1));
  f.eval("static", "random", 0.5, 1, two_kinds(0.5, 1, 0.5, 0.5));
  f.eval("static", "random", 0.5, 2, two_kinds(0.25, 1, 0.5, 0.5));
  f.eval("static", "scores", 0.5, 1, two_kinds(0.75, 1, 0.5, 0.5));
  f.eval("static", "l0", 0.5, 1, two_kinds(1, 1, 0.5, 0.5));
  f.eval("elastic", "elastic", 0.5, 1, two_kinds(0.75, 1, 0.25, 0.75), router_figures(0.25));
  f.eval("elastic", "elastic", 0.5, 2, two_kinds(1, 1, 0.25, 0.75), router_figures(0));
  f.eval("elastic", "elastic", 0.75, 1, two_kinds(0.5, 1, 0.5, 1), router_figures(0.25));
  f.eval("elastic", "elastic", 0.75, 2, two_kinds(0.5, 1, 0.5, 1), router_figures(0));
  for (int seed = 1; seed <= 2; ++seed) {
    f.run("elastic", 0.5, seed, metrics_of(0.25, 0.25 + 0.25 * seed));
    f.run("l0", 0.5, seed, metrics_of(0.25, 0.5));
  }
  fill_choices(f);
}

}  // namespace elastron::test
