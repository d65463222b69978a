#include "tests/launch/families.h"

#include <gtest/gtest.h>

#include <sstream>

namespace elastron::test {

std::string train_command(const std::string& config, const std::string& model,
                          const std::string& folder, const std::string& more) {
  return "train " + std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/" + config +
         ".yaml --set model.path=" + model + " --set output.dir=" + folder + " " + more;
}

const std::vector<Layout> kFamilyLayouts = {
    {2, " --set parallel.tensor=2"},
    {2, " --set parallel.context=2"},
    {4, " --set parallel.tensor=4 --set parallel.sequence=true --set train.recompute=layer"}};

void expect_same_on_layouts(const std::string& config, const std::string& model,
                            const std::string& common, const std::vector<Layout>& layouts) {
  const Scratch one;
  const auto golden = elastron(0, train_command(config, model, one.path(), common));
  ASSERT_EQ(golden.code, 0) << golden.err;
  for (const Layout& l : layouts) {
    const Scratch other;
    const auto run = elastron(l.ranks, train_command(config, model, other.path(), common + l.sets));
    ASSERT_EQ(run.code, 0) << run.err;
    expect_same_curve(metrics(one.path()), metrics(other.path()), 1e-5, config + " " + l.sets);
  }
}

void make_benchmark(const std::string& folder) {
  std::filesystem::create_directory(folder);
  const auto made = elastron(0,
                             "synthesize --pairs --form benchmark --lexicon coded --length 128 "
                             "--records 4 --kind sequential-noise --out " +
                                 folder + "/Sequential.jsonl");
  ASSERT_EQ(made.code, 0) << made.err;
}

std::vector<double> row_scores(const std::string& folder) {
  std::vector<double> all;
  std::istringstream rows(read_text(folder + "/rows.jsonl"));
  for (std::string line; std::getline(rows, line);) {
    const auto row = nlohmann::json::parse(line);
    all.push_back(row["score_chosen"]);
    all.push_back(row["score_rejected"]);
  }
  return all;
}

void expect_exported_classifier(const std::string& backbone, const std::string& architecture,
                                const std::string& settings_of_run) {
  const Scratch scratch;
  const auto run = elastron(0, train_command("reward", backbone, scratch / "run",
                                             "--set train.steps=3 " + settings_of_run));
  ASSERT_EQ(run.code, 0) << run.err;
  const auto written = elastron(2, "export --format hf-reference --checkpoint " +
                                       (scratch / "run") + " --out " + (scratch / "model"));
  ASSERT_EQ(written.code, 0) << written.err;
  const auto config = nlohmann::json::parse(read_text(scratch / "model/config.json"));
  EXPECT_EQ(config["architectures"][0], architecture);
  make_benchmark(scratch / "data");
  const auto scores = [&](const std::string& model, const std::string& more,
                          const std::string& out) {
    const auto scored = elastron(2, "eval-reward " + std::string(ELASTRON_SOURCE_DIR) +
                                        "/tests/launch/reward.yaml --set model.path=" + model +
                                        more + " --data " + (scratch / "data") + " --out " + out);
    EXPECT_EQ(scored.code, 0) << scored.err;
    return row_scores(out);
  };
  const auto trained = scores(backbone, " --checkpoint " + (scratch / "run"), scratch / "trained");
  const auto exported =
      scores(scratch / "model", " --set train.trainable=[]", scratch / "exported");
  ASSERT_EQ(trained.size(), 8u);
  ASSERT_EQ(exported.size(), trained.size());
  for (size_t i = 0; i < trained.size(); ++i) EXPECT_NEAR(trained[i], exported[i], 1e-4);
}

}  // namespace elastron::test
