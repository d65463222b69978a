// elastron report, as a user calls it: pages, bad input, and a page that follows a run.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <thread>

#include "core/file/folder_lock.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

namespace fs = std::filesystem;

const std::string kFixtures = std::string(ELASTRON_TEST_FIXTURES) + "/report/";
const std::string kRoot = ELASTRON_SOURCE_DIR;
constexpr const char* kRefresh = "http-equiv=\"refresh\"";

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

TEST(Report, OfARunAndOfResults) {
  const Scratch s;
  const Outcome o = elastron(0, "report " + kFixtures + "runs/first " + kFixtures +
                                    "eval.json --out " + (s / "page.html"));
  ASSERT_EQ(o.code, 0) << o.err;
  const std::string html = read_text(s / "page.html");
  EXPECT_TRUE(has(html, ">Training: runs/first</h2>"));
  EXPECT_TRUE(has(html, ">Evaluation: eval.json</h2>"));
  EXPECT_TRUE(has(html, "elastron report "));
  EXPECT_FALSE(has(html, kRefresh));
  // Nothing else is there, and the run's folder is as it was.
  EXPECT_EQ(std::distance(fs::directory_iterator(s.path()), fs::directory_iterator()), 1);
}

TEST(Report, WhatCannotBeReadLeavesThePageThatWasThere) {
  const Scratch s;
  const std::string out = " --out " + s.write("page.html", "before");
  expect_error(elastron(0, "report " + (s / "nowhere") + out), 3,
               {"there is no such file or folder", s / "nowhere"});
  expect_error(elastron(0, "report " + s.write("x.json", "{\"a\": 1}") + out), 3, {"x.json"});
  s.write("run/metrics.jsonl", "{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"lo\n");
  expect_error(elastron(0, "report " + (s / "run") + out), 3, {"metrics.jsonl:2"});
  s.write("damaged/run.json", "{");
  expect_error(elastron(0, "report " + (s / "damaged") + out), 4, {"run.json"});
  EXPECT_EQ(read_text(s / "page.html"), "before");
  expect_error(elastron(0, "report " + kFixtures + "runs/first --out " + (s / "no/page.html")), 3,
               {"no/page.html"});
  expect_error(elastron(0, "report"), 2, {"RUN"});
  expect_error(elastron(0, "report " + kFixtures + "runs/first --every 3"), 2, {"--live"});
  expect_error(elastron(0, "report " + kFixtures + "eval.json --live" + out), 2,
               {"only training runs are followed"});
}

// Two routers' evaluations: the claim on their MSR is on stdout, as a page and as Markdown.
TEST(Report, OfAReproduction) {
  const Scratch s;
  s.write("results/reproduction.json", R"({"format": "elastron-reproduction", "version": 1})");
  std::string jobs;
  for (const std::string seed : {"1", "2"}) {
    s.write("results/" + seed + ".json", R"({"gates": "router", "all": {}, "by_kind": {
        "needle": {"accuracy": 1, "msr": 0.5}, "gist": {"accuracy": 1, "msr": 0.75}}})");
    jobs += R"({"figure": "elastic", "series": "elastic", "at": 0.7, "of": "eval", "seed": )" +
            seed + R"(, "file": ")" + seed + ".json\"}\n";
  }
  s.write("results/jobs.jsonl", jobs);
  const std::string claim =
      "claim C2-0.7 holds: elastic routers (t_sen 0.7) run robust kinds with more sparse heads "
      "than sensitive ones: 0.250 [0.250, 0.250] (2 seeds)\n";
  for (const char* out : {"page.html", "new.md", "old.md"}) {
    s.write("old.md", "before");
    s.write("old/fig1-mixture.svg", "before");
    const Outcome o = elastron(0, "report " + (s / "results") + " --out " + (s / out));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(o.out, claim) << out;
    EXPECT_TRUE(has(read_text(s / out), "C2-0.7")) << out;
  }
  for (const std::string name : {"new", "old"}) {
    EXPECT_TRUE(has(read_text(s / (name + ".md")), "(" + name + "/fig1-mixture.svg)"));
    EXPECT_TRUE(has(read_text(s / (name + "/fig1-mixture.svg")), "<svg xmlns="));
  }
  const std::string page = s.write("page.md", "before");
  expect_error(elastron(0, "report " + kFixtures + "eval.json --out " + page), 2,
               {"only a reproduction is written as Markdown"});
  s.write("results/2.json", "{");
  expect_error(elastron(0, "report " + (s / "results") + " --out " + page), 3, {"2.json"});
  EXPECT_EQ(read_text(page), "before");
}

// Trains while the page follows: it ends with the run, and shows all of it.
TEST(Report, FollowsARunToItsEnd) {
  const Scratch s;
  const std::string run = s / "run", page = s / "page.html";
  const std::string arguments =
      "train " + kRoot + "/configs/tiny/router.yaml --set train.steps=20 --set log.every=1 --set " +
      "data.max_tokens=600 --set data.synthetic.lengths=[128,256] --set train.global_batch=4 " +
      "--set model.path=" + kRoot + "/configs/tiny/backbone --set output.dir=" + run;
  auto training =
      std::async(std::launch::async, [&] { return elastron(0, arguments, "OMP_NUM_THREADS=1"); });
  while (!fs::exists(run + "/metrics.jsonl") &&
         training.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
  }
  const Outcome o = elastron(0, "report " + run + " --live --every 1 --out " + page);
  EXPECT_EQ(training.get().code, 0);
  EXPECT_EQ(o.code, 0) << o.err;
  const std::string html = read_text(page);
  EXPECT_TRUE(has(html, "<dd>20 of 20</dd>"));
  EXPECT_TRUE(has(html, "<dd>done</dd>"));
  EXPECT_FALSE(has(html, kRefresh));
}

// This process has the run's folder, as one that trains would.
TEST(Report, StopsFollowingOnRequest) {
  const Scratch s;
  fs::copy(kFixtures + "runs/first", s / "run");
  const FolderLock training(s / "run");
  auto following = std::async(std::launch::async, [&] {
    return elastron(0, "report " + (s / "run") + " --live --every 1 --out " + (s / "page.html"),
                    "timeout --preserve-status -s TERM 6");
  });
  while (!fs::exists(s / "page.html") &&
         following.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
  }
  const std::string meanwhile = read_text(s / "page.html");
  EXPECT_TRUE(has(meanwhile, kRefresh));
  EXPECT_TRUE(has(meanwhile, "<dd>going on</dd>"));
  EXPECT_EQ(following.get().code, 75);
  EXPECT_FALSE(has(read_text(s / "page.html"), kRefresh));
}

}  // namespace
}  // namespace elastron::test
