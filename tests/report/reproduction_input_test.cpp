// What of a folder of results is read, and what is an error.
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "report/inputs/input.h"
#include "tests/report/reproduction_folder.h"

namespace elastron::report {
namespace {

using test::ReproductionFolder;
using test::two_kinds;
using Json = nlohmann::json;

std::string error_of(const ReproductionFolder& folder) {
  try {
    (void)read_input(folder.path());
    return "";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
    return error.what();
  }
}

Reproduction read(const ReproductionFolder& folder) {
  return std::get<Reproduction>(read_input(folder.path()));
}

TEST(ReproductionInput, TheRecordAndItsJobs) {
  ReproductionFolder folder;
  EXPECT_TRUE(read(folder).jobs.empty());
  folder.append("");
  EXPECT_TRUE(read(folder).jobs.empty());
  folder.eval("elastic", "elastic", 0.7, 3, two_kinds(0.25, 1, 0.5, 0.75));
  folder.eval("place", "place", "ctx_q", 4, two_kinds(0.25, 1, 0.5, 0.75));
  const Reproduction all = read(folder);
  EXPECT_EQ(all.mode, "quick");
  EXPECT_EQ(all.commit, "abc1234");
  EXPECT_EQ(all.command, "launch/reproduce.sh quick --out results");
  ASSERT_EQ(all.jobs.size(), 2U);
  EXPECT_EQ(all.jobs[0].number, 0.7);
  EXPECT_EQ(all.jobs[0].at, "0.7");
  EXPECT_EQ(all.jobs[0].seed, 3);
  EXPECT_EQ(all.jobs[0].seconds, 10.5);
  EXPECT_EQ(all.jobs[1].at, "ctx_q");
  EXPECT_FALSE(all.jobs[1].number);
  const auto& kinds = std::get<KindResults>(all.jobs[0].result).kinds;
  ASSERT_EQ(kinds.size(), 2U);
  EXPECT_EQ(kinds[0].kind, "needle");
  EXPECT_TRUE(kinds[0].sensitive);
  EXPECT_EQ(kinds[0].accuracy, 0.25);
  EXPECT_FALSE(kinds[1].sensitive);
  EXPECT_EQ(kinds[1].msr, 0.75);
}

// Of text that no kind is of, and that asks nothing, there is the sparsity; of other figures' jobs it is an error.
TEST(ReproductionInput, TextOfNoKind) {
  const std::map<std::string, test::KindFigures> noise = {{"noise", {std::nan(""), 0.5}}};
  ReproductionFolder folder;
  folder.eval("unseen", "elastic", "noise", 1, noise);
  const Reproduction all = read(folder);
  const auto& kinds = std::get<KindResults>(all.jobs.at(0).result).kinds;
  ASSERT_EQ(kinds.size(), 1U);
  EXPECT_EQ(kinds[0].kind, "noise");
  EXPECT_TRUE(std::isnan(kinds[0].accuracy));
  EXPECT_EQ(kinds[0].msr, 0.5);
  folder.eval("place", "place", "q", 1, noise);
  EXPECT_NE(error_of(folder).find("others than the synthetic kinds"), std::string::npos);
}

TEST(ReproductionInput, TheLastLineOfAJobCounts) {
  ReproductionFolder folder;
  folder.eval("elastic", "elastic", 0.7, 1, two_kinds(0.25, 1, 0.5, 0.75));
  folder.eval("elastic", "elastic", 0.7, 2, two_kinds(0.5, 1, 0.5, 0.75));
  // The earlier line's file is not looked for.
  Json again = {{"figure", "static"}, {"series", "random"}, {"at", 0.5},
                {"seed", 1},          {"of", "eval"},       {"file", "gone.json"}};
  folder.line(again);
  EXPECT_NE(error_of(folder), "");
  folder.write("here.json", R"({"gates": "x", "all": {}, "by_kind": {
      "needle": {"accuracy": 0.75, "msr": 0.5}, "gist": {"accuracy": 1, "msr": 0.5}}})");
  again["file"] = "here.json";
  folder.line(again);
  const Reproduction all = read(folder);
  ASSERT_EQ(all.jobs.size(), 3U);
  EXPECT_EQ(all.jobs[2].file, "here.json");
  EXPECT_EQ(std::get<KindResults>(all.jobs[2].result).kinds[0].accuracy, 0.75);
}

TEST(ReproductionInput, ALineThatIsBeingWrittenIsLeftOut) {
  ReproductionFolder folder;
  folder.eval("elastic", "elastic", 0.7, 1, two_kinds(0.25, 1, 0.5, 0.75));
  folder.append(R"({"figure": "elastic", "ser)");
  EXPECT_EQ(read(folder).jobs.size(), 1U);
  // With its newline it is a broken one.
  folder.append("\n");
  EXPECT_NE(error_of(folder).find("jobs.jsonl:2"), std::string::npos) << error_of(folder);
}

// A line that is whole, with one thing changed.
std::string error_with(const std::string& name, const Json& value, const std::string& file = "") {
  ReproductionFolder folder;
  Json job = {{"figure", "elastic"}, {"series", "elastic"}, {"at", 0.7},
              {"seed", 1},           {"of", "eval"},        {"file", "x.json"}};
  job[name] = value;
  if (job[name].is_null()) job.erase(name);
  if (!file.empty()) folder.write("x.json", file);
  folder.line(job);
  return error_of(folder);
}

constexpr const char* kGood =
    R"({"gates": "x", "all": {}, "by_kind": {"gist": {"accuracy": 1, "msr": 0.5}}})";

TEST(ReproductionInput, LinesThatAreNone) {
  EXPECT_EQ(error_with("seed", 2, kGood), "");
  const std::pair<const char*, Json> kBad[] = {
      {"figure", "elastics"}, {"figure", 3},
      {"of", "run"},          {"of", nullptr},
      {"at", "half"},         {"at", nullptr},
      {"file", "/x"},         {"file", "../results/x.json"},
      {"file", "."},          {"file", "a/../../x"},
      {"file", nullptr}};
  for (const auto& [name, value] : kBad) {
    const std::string error = error_with(name, value, kGood);
    EXPECT_NE(error.find("jobs.jsonl:1"), std::string::npos) << name << value << error;
  }
}

TEST(ReproductionInput, FilesThatAreMissingOrSomethingElseAreNamedWithTheirJob) {
  const std::pair<const char*, const char*> kBad[] = {
      {"", "not there"},
      {R"({"benchmark": "ruler", "results": {}})", "not of eval --out"},
      {R"([{"gates": "a", "all": {}}, {"gates": "b", "all": {}}])", "several ways"},
      {R"({"gates": "x", "all": {}})", "by_kind"},
      {R"({"gates": "x", "all": {}, "by_kind": {"others": {"accuracy": 1, "msr": 1}}})", "by_kind"},
      {R"({"gates": "x", "all": {}, "by_kind": {"gist": {"accuracy": 1}}})", "'gist'"},
      {R"({"gates": "x", "all": {}, "by_kind": {"gist": {"accuracy": 1, "msr": 1}},
           "full_by_kind": {"gist": [[1], [1, 2]]}})",
       "full_by_kind"},
      {R"({"gates": "x", "all": {}, "by_kind": {"gist": {"accuracy": 1, "msr": 1}},
           "features_by_kind": {"kinds": ["gist"], "before": [[1]], "after": [[1, 1]]}})",
       "'after'"}};
  for (const auto& [file, says] : kBad) {
    const std::string error = error_with("seed", 7, file);
    EXPECT_NE(error.find("job 'elastic elastic 0.7 seed 7'"), std::string::npos) << error;
    EXPECT_NE(error.find("(x.json)"), std::string::npos) << error;
    EXPECT_NE(error.find(says), std::string::npos) << error;
  }
}

TEST(ReproductionInput, FilesOfOtherKindsOfJobs) {
  const std::pair<const char*, const char*> kFigures[] = {
      {"training", "run"}, {"reward", "reward"}, {"cost", "cost"}};
  for (const auto& [figure, of] : kFigures) {
    ReproductionFolder folder;
    folder.write("x.json", kGood);
    folder.line(
        {{"figure", figure}, {"series", "elastic"}, {"at", 1}, {"of", of}, {"file", "x.json"}});
    EXPECT_NE(error_of(folder).find("(x.json)"), std::string::npos) << figure << error_of(folder);
  }
}

// Means over other kinds are no numbers to compare.
TEST(ReproductionInput, KindsAndHeadsOfAFigureAreTheSame) {
  ReproductionFolder folder;
  folder.eval("static", "random", 0.5, 1, two_kinds(1, 1, 0.5, 0.5));
  folder.eval("unseen", "elastic", "recall", 1, {{"recall", {1, 1}}});
  EXPECT_EQ(error_of(folder), "");
  folder.eval("elastic", "elastic", 0.5, 1, {{"needle", {1, 1}}});
  EXPECT_NE(error_of(folder).find("other kinds than job 'static random 0.5 seed 1'"),
            std::string::npos)
      << error_of(folder);
  ReproductionFolder heads;
  for (const Json& full : {Json{{1, 0}}, Json{{1}}}) {
    heads.eval("elastic", "elastic", 0.5, int(full[0].size()), two_kinds(1, 1, 0.5, 0.5),
               {{"full_by_kind", {{"gist", full}}}});
  }
  EXPECT_NE(error_of(heads).find("other heads"), std::string::npos) << error_of(heads);
}

TEST(ReproductionInput, RecordsOfAnotherForm) {
  for (const char* record : {"{", "[]", R"({"format": "elastron-reproduction", "version": 2})",
                             R"({"format": "other", "version": 1})"}) {
    ReproductionFolder folder;
    folder.write("reproduction.json", record);
    EXPECT_NE(error_of(folder).find("reproduction.json"), std::string::npos) << record;
  }
}

}  // namespace
}  // namespace elastron::report
