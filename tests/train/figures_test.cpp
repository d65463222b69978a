// The table of figures: sums that reduce themselves, and what the metrics file, the event file, the
// progress line and docs/figures.md say.
#include "train/metrics/figures.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "train/evaluate/evaluate.h"
#include "train/metrics/reduce.h"
#include "train/workload/registry.h"
#include "train/workload/reward_loss.h"

namespace elastron::train {
namespace {

struct WithCount {
  double sum = 0;
  int64_t count = 0;  // as many bytes, other bits
};
static_assert(Sums<StepSums> && Sums<DocumentFigures> && Sums<PairSums>);
static_assert(!Sums<WithCount>);

TEST(Sums, EveryMemberTakesPart) {
  StepSums sums;
  auto all = numbers(sums);
  for (size_t i = 0; i < all.size(); ++i) all[i] = double(i + 1);
  const auto a = from_numbers<StepSums>(all);
  EXPECT_EQ(a.data_loss, 1);
  EXPECT_EQ(a.selected_pairs, 7);
  EXPECT_EQ(a.task[0].documents, 8);
  EXPECT_EQ(a.task[0].figures.msr, 9);
  EXPECT_EQ(a.task.back().figures.entropy, double(all.size()));
  StepSums twice = a;
  add(twice, a);
  const auto b = numbers(twice);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(b[i], 2 * all[i]) << i;
}

TEST(Sums, MeansAreOverDocuments) {
  DocumentSums sums;
  EXPECT_EQ(sums.means().documents, 0);
  EXPECT_EQ(sums.means().msr, 0);
  sums.count({{.msr = 0.25, .esr_tiles = 1}, 0.5});
  sums.count({{.msr = 0.75, .esr_tiles = 0}, 0.25});
  const DocumentMeans means = sums.means();
  EXPECT_EQ(means.documents, 2);
  EXPECT_EQ(means.msr, 0.5);
  EXPECT_EQ(means.esr_tiles, 0.5);
  EXPECT_EQ(means.entropy, 0.375);
}

class FigureTable : public ::testing::Test {
 protected:
  FigureTable() {
    config_.train.steps = 40;
    result_.loss = 2.5;
    result_.sums.data_loss = 2.25;
    result_.sums.sparsity_loss = 0.25;
    result_.sums.tokens = 300;
    result_.sums.tokens_apart = 400;
    result_.sums.labels = 30;
    result_.sums.task[1].count({{.msr = 0.5}, 0.125});
    result_.task[1] = result_.all = result_.sums.task[1].means();
    result_.grad_norm = 1.5;
    result_.tau = 0.75;
    for (const auto& [group, name] : kGroups) result_.lr[group] = 1e-3;
  }
  static constexpr std::pair<ParameterGroup, const char*> kGroups[] = {
      {ParameterGroup::lora, "lr_lora"},
      {ParameterGroup::backbone, "lr_backbone"},
      {ParameterGroup::head, "lr_head"},
      {ParameterGroup::router, "lr_router"},
      {ParameterGroup::lambda, "lr_lambda"}};

  StepReport report(const router::SparsityObjective* objective) const {
    return {.step = 7,
            .config = config_,
            .result = result_,
            .objective = objective,
            .passes = {},
            .seconds = 2,
            .steps = 4,
            .tokens = 1000,
            .loss_sums = {8, 4, 2, 1, 1},
            .seconds_per_step = 0.5,
            .peak_bytes = 3 << 20,
            .flops_done_fraction = {},
            .dense_equivalent_tflops = {}};
  }
  std::vector<Figure> table() const { return step_figures(objective_of(config_).figures()); }

  Config config_;
  StepResult result_;
};

TEST_F(FigureTable, RouterTraining) {
  CpuDevice cpu;
  const router::SparsityObjective objective(
      config_.router.reg, router::task_targets(config_.router.reg, data::kTaskNames), DType::f32, 1,
      true, cpu);
  const auto object = metrics_object(table(), report(&objective));
  std::vector<std::string> names;
  for (const auto& [name, value] : object.items()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"step",
                                             "loss",
                                             "lm_loss",
                                             "sparsity_loss",
                                             "msr",
                                             "msr_by_task",
                                             "esr_last_layer_last_query",
                                             "esr_all_layers_last_query",
                                             "esr_all_layers_area",
                                             "esr_tiles",
                                             "esr_by_task",
                                             "entropy_by_task",
                                             "target_by_task",
                                             "lambda1",
                                             "lambda2",
                                             "tau",
                                             "lr",
                                             "lr_router",
                                             "lr_lambda",
                                             "grad_norm",
                                             "tokens",
                                             "labels",
                                             "tokens_per_second",
                                             "predicted_imbalance",
                                             "imbalance",
                                             "step_seconds",
                                             "peak_memory_bytes"}));
  // Whole numbers are written as such, and tasks without documents are left out.
  EXPECT_EQ(object["tokens"].dump(), "300");
  EXPECT_EQ(object["peak_memory_bytes"].dump(), "3145728");
  EXPECT_EQ(object["entropy_by_task"].dump(), R"({"MultiHop QA":0.125})");
  EXPECT_EQ(object["target_by_task"].size(), size_t(data::kTaskCount));
  EXPECT_EQ(object["tokens_per_second"], 500.0);
  EXPECT_EQ(object["step_seconds"], 0.5);
  EXPECT_EQ(progress_line(table(), report(&objective)),
            "step 7/40 | loss 2.5000 | lm 2.2500 | sparsity 0.2500 | msr 0.50 (MultiHop QA 0.50) | "
            "lr 1.0e-03 | grad_norm 1.50 | 500 tok/s | peak 3 MiB | eta 0:00:17");
}

TEST_F(FigureTable, RewardTrainingWithoutRouters) {
  config_.train.objective = kReward;
  result_.loss_sums = {2, 1, 1.5, 0.5, 1.5};
  auto r = report(nullptr);
  r.passes = 0.25;
  const auto object = metrics_object(table(), r);
  EXPECT_FALSE(object.contains("lm_loss") || object.contains("tau") || object.contains("lambda1"));
  EXPECT_FALSE(object.contains("entropy_by_task"));
  EXPECT_TRUE(object.contains("msr_by_task"));
  EXPECT_EQ(object["pair_loss"], 2.25);
  EXPECT_EQ(object["accuracy"], 0.5);
  EXPECT_EQ(object["margin_mean"], 0.5);
  EXPECT_EQ(object["pairs"].dump(), "2");
  EXPECT_EQ(object["pairs_per_second"], 4.0);
  EXPECT_EQ(object["prompt_tokens_saved"].dump(), "100");
  EXPECT_EQ(object["epoch"], 0.25);
  EXPECT_TRUE(object.contains("lr_head") && !object.contains("lr_router"));
  EXPECT_EQ(progress_line(table(), r),
            "step 7/40 | loss 2.5000 | bradley_terry 2.2500 | accuracy 0.500 | margin 0.500 | msr "
            "0.50 | lr 1.0e-03 | grad_norm 1.50 | 500 tok/s | peak 3 MiB | eta 0:00:17");
}

TEST_F(FigureTable, OneTagForEachFigure) {
  const auto rows = table();
  const std::vector<FigureText> figures(rows.begin(), rows.end());
  const auto scalars = scalars_by_tag({{"step", 3},
                                       {"loss", 2.0},
                                       {"lr", 0.1},
                                       {"lr_router", 0.1},
                                       {"grad_norm", nullptr},
                                       {"event", "eval"},
                                       {"esr_tiles", 0.5},
                                       {"msr", 0.5},
                                       {"msr_by_task", {{"Code", 1.0}, {"Single QA", 0.25}}}},
                                      figures);
  const std::map<std::string, double> expected = {{"train/loss", 2.0},
                                                  {"train/lr/router", 0.1},
                                                  {"router/msr", 0.5},
                                                  {"router/msr/Code", 1.0},
                                                  {"router/msr/Single QA", 0.25}};
  EXPECT_EQ(scalars, expected);
}

// What `elastron eval` writes has every mean over documents that training has.
TEST(Evaluation, HasTheMeansOfTheTable) {
  EvalFigures figures;
  figures.documents = 3;
  figures.msr = 0.5;
  figures.esr_tiles = 0.25;
  std::vector<std::string> names;
  const auto object = eval_json(figures);
  for (const auto& [name, value] : object.items()) names.push_back(name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"documents", "labels", "loss", "answers", "accuracy", "msr",
                                      "esr_last_layer_last_query", "esr_all_layers_last_query",
                                      "esr_all_layers_area", "esr_tiles"}));
  EXPECT_EQ(object["documents"].dump(), "3");
  EXPECT_TRUE(object["accuracy"].is_null());
  EXPECT_EQ(object["msr"], 0.5);
  EXPECT_EQ(object["esr_tiles"], 0.25);
}

std::string rows(const std::vector<FigureText>& figures) {
  std::string text = "| name | TensorBoard | unit | meaning |\n|---|---|---|---|\n";
  for (const FigureText& f : figures) {
    const std::string tag = f.tag.empty() ? "" : "`" + std::string(f.tag) + "`";
    text += "| `" + std::string(f.name) + "` | " + tag + " | " + std::string(f.unit) + " | " +
            std::string(f.meaning) + " |\n";
  }
  return text + "\n";
}

std::string objectives_with(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "`" : ", `") + name + "`";
  return text;
}

// The whole page: sections of objectives with the same figures are one.
std::string page() {
  std::string text =
      "# Figures of a run\n\n"
      "This page is made from the tables of the program (`train/metrics/figures.cpp` and\n"
      "`train/workload/`): the test `train_test` compares the two and, with "
      "`ELASTRON_WRITE_DOCS=1`, writes it.\n\n"
      "`metrics.jsonl` has an object per line, with `step` (steps done), `time` (when it was "
      "written: UTC, ISO\n8601) and `run` (the run's id). Figures with a tag are in TensorBoard "
      "too; those by task or kind have its\nname behind the tag (`router/msr/Code`). A share is "
      "between 0 and 1.\n\n"
      "## Every logged step\n\n" +
      rows(common_figures());
  std::vector<std::pair<std::string, std::vector<std::string>>> steps, evaluations;
  const auto put = [](auto& sections, const std::string& table, std::string_view objective) {
    for (auto& [known, names] : sections) {
      if (known == table) return names.emplace_back(objective), void();
    }
    sections.push_back({table, {std::string(objective)}});
  };
  for (const ObjectiveRow& row : kObjectives) {
    const ObjectiveFigures own = row.objective().figures();
    std::vector<FigureText> step(own.loss.begin(), own.loss.end());
    step.insert(step.end(), own.of_step.begin(), own.of_step.end());
    put(steps, rows(step), row.name);
    put(evaluations, rows(own.of_evaluation), row.name);
  }
  for (const auto& [table, names] : steps) {
    text += "## Of `train.objective`: " + objectives_with(names) + "\n\n" + table;
  }
  for (const auto& [table, names] : evaluations) {
    text += "## Evaluation (`event: eval`) under " + objectives_with(names) + "\n\n" + table;
  }
  text +=
      "## `elastron eval --out`\n\nAn object, or with `--compare` a list of one per way of "
      "deciding "
      "`gates`. The figures below are of `all` documents,\n`by_task` and `by_kind`. Beside "
      "them:\n\n"
      "| name | meaning |\n|---|---|\n"
      "| `esr_by_head` | share of tiles that each head skipped: [layers][kv heads] |\n"
      "| `full_by_kind` | by kind, share of its documents for which each head ran full (gate 1): "
      "[layers][kv heads] |\n"
      "| `features_by_kind` | where a router decides: cosines between the mean vectors of `kinds`, "
      "`before` the task MLP (the pooled vectors that the router reads) and `after` it, mean over "
      "layers and kv heads; they are not centred |\n"
      "| `made_by` | `program` and whole `command` (from the same folder), `configuration` files "
      "and "
      "`settings`, file of the `checkpoint`, number of `ranks`, fingerprint of the `backbone` "
      "|\n\n";
  std::vector<FigureText> eval = eval_figures();
  for (const FigureText& f : common_figures()) {
    for (const MeanFigure& mean : mean_figures()) {
      if (f.name == mean.name) eval.push_back({f.name, "", f.unit, f.meaning});
    }
  }
  text += rows(eval);
  text.pop_back();
  return text;
}

TEST(Documentation, IsTheTable) {
  const std::string path = ELASTRON_SOURCE_DIR "/docs/figures.md";
  if (std::getenv("ELASTRON_WRITE_DOCS") != nullptr) std::ofstream(path) << page();
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  EXPECT_TRUE(text.str() == page())
      << "docs/figures.md is out of step: run this test with ELASTRON_WRITE_DOCS=1";
}

TEST(Documentation, EveryFigureHasANameOfItsOwnAndAMeaning) {
  for (const ObjectiveRow& row : kObjectives) {
    const ObjectiveFigures own = row.objective().figures();
    ASSERT_EQ(own.loss.size(), 1u) << row.name;
    std::set<std::string_view> names;
    const auto table = step_figures(own);
    std::vector<FigureText> all(table.begin(), table.end());
    all.insert(all.end(), own.of_evaluation.begin(), own.of_evaluation.end());
    for (const FigureText& f : all) {
      EXPECT_TRUE(names.insert(f.name).second) << f.name;
      EXPECT_FALSE(f.meaning.empty()) << f.name;
    }
  }
}

}  // namespace
}  // namespace elastron::train
