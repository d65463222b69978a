// What a run is made of: which parts there are, which of them train, and whose weights a checkpoint
// belongs to.
#include "train/session.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/json.h"
#include "data/synthetic/tasks.h"
#include "model/weights/model_folder.h"
#include "parallel/agree.h"
#include "train/trained_model.h"
#include "train/workload/registry.h"

namespace elastron::train {
namespace {

namespace fs = std::filesystem;

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    std::string pattern = (fs::temp_directory_path() / "elastron-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    fs::create_directory(shapes());
    fs::copy(ELASTRON_TEST_FIXTURES "/tiny_model/config.json", shapes());
    std::ofstream(shapes() + "/tokenizer.json") << data::synthetic_tokenizer_json();
    config_.model.path = shapes();
    config_.data.max_tokens = 64;
    config_.router.ssa = {.sink = 8, .local = 16, .block = 8};
    config_.train.lora.rank = 2;
  }
  ~SessionTest() override { fs::remove_all(folder_); }

  std::string shapes() const { return folder_ + "/shapes"; }
  // A folder with the weights of `seed`.
  std::string written(const std::string& name, int64_t seed) {
    const std::string folder = folder_ + "/" + name;
    Config config = config_;
    config.model.path = shapes();
    config.model.weights = WeightSource::random;
    config.train.objective = kPretrain;
    config.train.seed = seed;
    Session session(config, true, mesh_, cpu_);
    std::map<std::string, Tensor> tensors;
    for (Parameter* p : session.decoder().parameters()) tensors[p->name] = p->value;
    model::write_model_folder(folder, shapes(), tensors);
    return folder;
  }
  static std::map<ParameterGroup, int> groups(const ParameterList& list) {
    std::map<ParameterGroup, int> count;
    for (const Parameter* p : list) ++count[p->group];
    return count;
  }
  void expect_refused(ExitCode kind, const std::string& fragment) {
    try {
      const Session session(config_, true, mesh_, cpu_);
      ADD_FAILURE() << "no error: " << fragment;
    } catch (const parallel::AgreedFailure& failure) {
      EXPECT_EQ(failure.kind(), kind);
      EXPECT_NE(failure.line().value_or("").find(fragment), std::string::npos);
    }
  }
  // The gates of eight documents, in all layers.
  std::vector<uint8_t> gates(const std::vector<router::RoutedLayer>& routed,
                             const std::vector<int32_t>& tasks = std::vector<int32_t>(8, 0)) {
    const std::vector<uint32_t> keys = {0, 1, 2, 3, 4, 5, 6, 7};
    router::RouterBatch batch;
    batch.segments.assign(8, {0, 4});
    batch.sample_keys = keys;
    batch.task_ids = tasks;
    batch.sample = true;
    const Tensor no_keys = Tensor::zeros({4, 8, 16}, DType::f32, cpu_);
    std::vector<uint8_t> all;
    for (const auto& layer : routed) {
      router::SavedRoute route;
      layer.decide(no_keys, 8, batch, route);
      const auto z = route.gate.to_vector<uint8_t>();
      all.insert(all.end(), z.begin(), z.end());
    }
    return all;
  }

  std::string folder_;
  Config config_;
  CpuDevice cpu_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
};

using Groups = std::map<ParameterGroup, int>;

TEST_F(SessionTest, TrainsWhatTheObjectiveSays) {
  config_.model.path = written("model", 1);
  {
    Session session(config_, true, mesh_, cpu_);
    const int layers = int(session.decoder().config().num_layers);
    const Groups trained = groups(session.model().objective_parameters());
    EXPECT_EQ(trained.size(), 2u);
    EXPECT_EQ(trained.at(ParameterGroup::lambda), 2);
    EXPECT_EQ(trained.at(ParameterGroup::router) % layers, 0);
    EXPECT_EQ(session.head(), nullptr);
    ASSERT_NE(session.objective(), nullptr);
    for (const Parameter* p : session.model().parameters()) {
      EXPECT_EQ(p->trainable, p->group != ParameterGroup::backbone) << p->name;
    }
    EXPECT_LT(session.parameter_count(true), session.parameter_count(false));
  }
  config_.train.objective = kReward;
  config_.train.trainable = {Part::reward_head, Part::lora};
  {
    Session session(config_, true, mesh_, cpu_);
    const Groups trained = groups(session.model().objective_parameters());
    EXPECT_EQ(trained.at(ParameterGroup::head), 1);
    EXPECT_GT(trained.at(ParameterGroup::lora), 0);
    EXPECT_EQ(trained.size(), 2u);
    EXPECT_EQ(session.objective(), nullptr);
    EXPECT_TRUE(session.head_is_new());
  }
  // Nothing has gradients in inference.
  Session session(config_, false, mesh_, cpu_);
  EXPECT_EQ(session.parameter_count(true), 0);
  config_.train.trainable = {Part::lora};
  expect_refused(ExitCode::usage, "no reward head to keep");
}

TEST_F(SessionTest, TheFingerprintIsOfTheWeights) {
  config_.model.path = written("one", 1);
  const std::string one = Session(config_, true, mesh_, cpu_).backbone_fingerprint();
  EXPECT_EQ(Session(config_, false, mesh_, cpu_).backbone_fingerprint(), one);
  config_.model.path = written("same", 1);
  EXPECT_EQ(Session(config_, true, mesh_, cpu_).backbone_fingerprint(), one);
  config_.model.path = written("other", 2);
  EXPECT_NE(Session(config_, true, mesh_, cpu_).backbone_fingerprint(), one);
  // And of the positions, by what they come to.
  config_.model.path = written("one", 1);
  config_.model.rope_scaling = model::parse_rope_override("{type: yarn, factor: 2}", "test");
  EXPECT_NE(Session(config_, true, mesh_, cpu_).backbone_fingerprint(), one);
  config_.model.rope_scaling = model::parse_rope_override("{rope_type: default}", "test");
  EXPECT_EQ(Session(config_, true, mesh_, cpu_).backbone_fingerprint(), one);
  // A backbone that is being made has none, but for positions that are not its folder's.
  config_.train.objective = kPretrain;
  const std::string set = Session(config_, true, mesh_, cpu_).backbone_fingerprint();
  EXPECT_TRUE(set.starts_with("pretrain:")) << set;
  config_.model.rope_scaling = {};
  EXPECT_EQ(Session(config_, true, mesh_, cpu_).backbone_fingerprint(), "pretrain");
}

TEST_F(SessionTest, GatesOfTrainingAndOfEvaluation) {
  config_.model.weights = WeightSource::random;
  config_.train.objective = kPretrain;
  config_.train.random_gates = {.share = 1, .sparse = 0.5};
  Session session(config_, true, mesh_, cpu_);
  const auto random = gates(session.model().training_gates());
  const auto full = gates(session.model().evaluation_gates());
  const int64_t heads = session.decoder().config().num_layers * session.decoder().config().kv_heads;
  ASSERT_EQ(int64_t(random.size()), 8 * heads);
  EXPECT_EQ(full, std::vector<uint8_t>(random.size(), 1));
  const auto sparse = std::ranges::count(random, 0);
  EXPECT_GT(sparse, 8 * heads / 4);
  EXPECT_LT(sparse, 8 * heads * 3 / 4);

  config_.train.random_gates.robust_only = true;
  Session robust(config_, true, mesh_, cpu_);
  const std::vector<int32_t> tasks = {0, 1, 2, 3, 4, 0, 1, 2};
  const auto some = gates(robust.model().training_gates(), tasks);
  const auto per_layer = int64_t(some.size()) / session.decoder().config().num_layers;
  for (size_t i = 0; i < some.size(); ++i) {
    const auto document = size_t(int64_t(i) % per_layer / session.decoder().config().kv_heads);
    EXPECT_EQ(some[i], tasks[document] < 2 ? 1 : random[i]) << i;
  }
}

TEST_F(SessionTest, ATokenizerOfAnotherModel) {
  std::ifstream in(shapes() + "/config.json");
  auto config = nlohmann::json::parse(in);
  config["vocab_size"] = 16;
  std::ofstream(shapes() + "/config.json") << config.dump();
  config_.model.weights = WeightSource::random;
  config_.train.objective = kPretrain;
  expect_refused(ExitCode::input, "use the tokenizer of this model");
}

}  // namespace
}  // namespace elastron::train
