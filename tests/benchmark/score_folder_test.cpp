// Folders of predictions: the published results, halves of a hundredth and missing buckets too.
#include "benchmark/longbench/score_folder.h"

#include <gtest/gtest.h>

#include "benchmark/longbench/sets.h"
#include "benchmark/longbench_v2/score_folder.h"
#include "benchmark/mean_score.h"
#include "benchmark/ruler/score_folder.h"
#include "core/error.h"
#include "tests/support/scratch.h"

namespace elastron::benchmark {
namespace {

using nlohmann::json;
using test::Scratch;

std::string longbench_row(const std::string& pred, const std::vector<std::string>& answers,
                          int64_t length, const json& classes = nullptr) {
  return json({{"pred", pred}, {"answers", answers}, {"all_classes", classes}, {"length", length}})
             .dump() +
         "\n";
}

TEST(ScoreLongBench, BucketsAndMissingOnes) {
  const Scratch scratch;
  scratch.write("qasper.jsonl", longbench_row("yes", {"no", "Yes."}, 3999) +
                                    longbench_row("", {"no"}, 100) +
                                    longbench_row("the big house", {"a house"}, 8000));
  scratch.write("result.json", "{}");
  const ScoredFolder scored = score_longbench(scratch.path(), true, {});
  EXPECT_EQ(scored.published.dump(), R"({"qasper":{"0-4k":50.0,"4-8k":null,"8k+":66.67}})");
  EXPECT_EQ(score_longbench(scratch.path(), false, {}).published.dump(), R"({"qasper":55.56})");
  const auto& qasper = scored.details["sets"]["qasper"];
  EXPECT_EQ(qasper["rows"], 3);
  EXPECT_EQ(qasper["empty"], 1);
  EXPECT_EQ(qasper["buckets"]["4-8k"]["score"], nullptr);
  EXPECT_EQ(qasper["buckets"]["4-8k"]["interval_95"], nullptr);
  // A group is missing while one of its sets is, and so are the means above it.
  EXPECT_EQ(scored.details["groups"]["S-Doc QA"]["score"], nullptr);
  EXPECT_EQ(scored.details["groups"]["S-Doc QA"]["missing"], json({"multifieldqa_en"}));
  EXPECT_EQ(scored.details["mean_of_groups"]["score"], nullptr);
  EXPECT_NE(scored.table.find("missing"), std::string::npos);
}

TEST(ScoreLongBench, MeansOfGroupsAndOfSets) {
  const Scratch scratch;
  // Right answers in the four sets of two groups, nothing right elsewhere.
  for (const LongBenchSet& set : longbench_sets()) {
    if (!set.extended) continue;
    const bool right = set.group == "In-Context" || set.name == "passage_count";
    const std::string answer = set.metric == LongBenchMetric::retrieval ? "Paragraph 1" : "7";
    scratch.write(std::string(set.name) + ".jsonl",
                  longbench_row(right ? answer : "@@", {answer}, 10, {"7", "8"}));
  }
  const ScoredFolder scored = score_longbench(scratch.path(), true, {});
  EXPECT_EQ(scored.published["samsum"]["0-4k"], 100.0);
  EXPECT_EQ(scored.published["passage_count"]["0-4k"], 100.0);
  EXPECT_EQ(scored.details["groups"]["Synthetic"]["score"], 50.0);
  EXPECT_EQ(scored.details["mean_of_groups"]["score"], 25.0);  // (100 + 50) / 6
  EXPECT_EQ(scored.details["mean_of_sets"]["score"], 30.77);   // 4 / 13
  EXPECT_EQ(scored.details["mean_of_sets"]["interval_95"], json({30.77, 30.77}));
}

TEST(ScoreLongBench, ClassesOfTheLastRowAndFirstLines) {
  const Scratch scratch;
  scratch.write("trec.jsonl", longbench_row("\n\nb\na", {"b"}, 1, {"b"}) +
                                  longbench_row("a b", {"a"}, 1, {"a", "b"}));
  EXPECT_EQ(score_longbench(scratch.path(), false, {}).published.dump(), R"({"trec":75.0})");
}

TEST(ScoreLongBench, RefusalsNameTheFile) {
  const Scratch scratch;
  const auto error_of = [&](bool extended, const std::vector<std::string>& tasks) -> std::string {
    try {
      score_longbench(scratch.path(), extended, tasks);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of(false, {}).find("no files of predictions"), std::string::npos);
  scratch.write("vcsum.jsonl", longbench_row("x", {"x"}, 1));
  scratch.write("lcc.jsonl", R"({"pred": "x", "answers": ["x"], "all_classes": []})");
  EXPECT_NE(error_of(false, {}).find("jieba"), std::string::npos);
  EXPECT_EQ(error_of(false, {"lcc"}), "");
  EXPECT_NE(error_of(true, {"lcc"}).find("lcc.jsonl:1"), std::string::npos);
  EXPECT_NE(error_of(true, {"lsht"}).find("'lsht'"), std::string::npos);
  scratch.write("trec.jsonl", longbench_row("x", {"x"}, 1));
  EXPECT_NE(error_of(false, {"trec"}).find("'all_classes'"), std::string::npos);
  scratch.write("passage_retrieval_en.jsonl", longbench_row("1", {"paragraph 1"}, 1));
  EXPECT_NE(error_of(false, {"passage_retrieval_en"}).find("passage_retrieval_en.jsonl:1"),
            std::string::npos);
}

std::string ruler_row(int64_t index, const std::string& pred,
                      const std::vector<std::string>& outputs, const json& others) {
  return json({{"index", index},
               {"pred", pred},
               {"input", ""},
               {"outputs", outputs},
               {"others", others}})
             .dump() +
         "\n";
}

TEST(ScoreRuler, PartsSharesAndNulls) {
  const Scratch scratch;
  scratch.write("qa_1.jsonl",
                ruler_row(0, " It is PARIS\x01,\"so\" ", {"rome", "Paris"}, {{"id", "q7"}}) +
                    ruler_row(3, "\x1f\t\n", {"x"}, json::object()));
  scratch.write("vt.jsonl", ruler_row(0, "a b", {"A", "B", "C"}, json::object()));
  scratch.write("elastron-vt.jsonl", ruler_row(0, "c", {"c"}, json::object()));
  scratch.write("other.jsonl", "not read");
  const ScoredRuler scored = score_ruler(scratch.path(), {});
  EXPECT_EQ(scored.published.dump(), R"({"vt":66.67,"qa_1":50.0,"elastron-vt":100.0})");
  EXPECT_EQ(scored.summary_csv,
            "0,1,2,3\nTasks,vt,qa_1,elastron-vt\nScore,66.67,50.0,100.0\nNulls,0/1,1/2,0/1\n");
  EXPECT_EQ(scored.submission_csv,
            "Task,ID,Prediction\nvt,0,a b\nqa_1,q7,\"It is PARIS\n,\"\"so\"\"\"\nqa_1,3,\n"
            "elastron-vt,0,c\n");
  EXPECT_EQ(scored.details["left_out"], json({"other"}));
  EXPECT_EQ(scored.details["mean_of_tasks"]["score"], nullptr);
  EXPECT_EQ(scored.details["mean_of_tasks"]["missing"].size(), 11u);
  EXPECT_EQ(score_ruler(scratch.path(), {"vt"}).published.dump(), R"({"vt":66.67})");
}

TEST(ScoreLongBenchV2, PartsInPercent) {
  const Scratch scratch;
  const auto row = [](const char* difficulty, const char* length, const json& pred, bool judge) {
    return json({{"_id", "i"},
                 {"difficulty", difficulty},
                 {"length", length},
                 {"pred", pred},
                 {"judge", judge}})
               .dump() +
           "\n";
  };
  scratch.write("Model-1.5.jsonl", row("easy", "short", "A", true) +
                                       row("easy", "short", "B", false) +
                                       row("hard", "long", nullptr, false));
  const ScoredFolder scored = score_longbench_v2(scratch.path(), {});
  EXPECT_EQ(scored.published.dump(),
            R"({"Model-1.5":{"overall":33.3,"easy":50.0,"hard":0.0,"short":50.0,"medium":null,)"
            R"("long":0.0}})");
  const auto& details = scored.details["files"]["Model-1.5"];
  EXPECT_EQ(details["unanswered"], 1);
  EXPECT_EQ(details["hard"]["compensated"], 25.0);
  EXPECT_EQ(details["overall"]["compensated"], 41.7);
}

TEST(MeanScore, OfMeansIsMissingWhereOneIs) {
  const std::vector<double> ones(4, 1.0), halves(4, 0.5);
  const std::vector<MeanScore> both = {mean_score(ones, "a"), mean_score(halves, "b")};
  EXPECT_EQ(mean_of(both).percent, 75.0);
  EXPECT_EQ(mean_json(mean_of(both)).dump(), R"({"score":75.0,"interval_95":[75.0,75.0]})");
  const std::vector<MeanScore> one = {both[0], {}};
  EXPECT_FALSE(mean_of(one).percent.has_value());
  EXPECT_EQ(shown(mean_of(one).percent), "missing");
}

}  // namespace
}  // namespace elastron::benchmark
