// The registry of objectives, and that each can be planned for without data or weights.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "model/decoder.h"
#include "router/forced_gate.h"
#include "router/layer_routers.h"
#include "train/plan/planned_batch.h"
#include "train/step/local_batch.h"
#include "train/trained_model.h"
#include "train/workload/registry.h"

namespace elastron::train {
namespace {

std::vector<std::string> rows_of_all() {
  std::vector<std::string> names;
  for (const ObjectiveRow& row : kObjectives) names.emplace_back(row.name);
  return names;
}

Config parsed(const std::vector<std::string>& settings) {
  std::vector<std::string> all = settings;
  all.push_back("model.path=somewhere");
  return config::load_config<Config>({}, all);
}
std::string refusal(const std::vector<std::string>& settings) {
  try {
    parsed(settings);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Objectives, ConfigurationsKnowTheRegistry) {
  std::set<const Objective*> distinct;
  for (const std::string& name : rows_of_all()) {
    const Config config = parsed({"train.objective=" + name});
    distinct.insert(&objective_of(config));
    EXPECT_NE(config::dump_config(config).find("objective: " + name), std::string::npos);
  }
  EXPECT_EQ(distinct.size(), std::size(kObjectives));
  const std::string unknown = refusal({"train.objective=dance"});
  for (const std::string& name : rows_of_all()) {
    EXPECT_NE(unknown.find(name), std::string::npos) << unknown;
  }
}

TEST(Objectives, WhatTrains) {
  const auto trained = [](const std::vector<std::string>& settings) {
    const Config config = parsed(settings);
    std::vector<Part> parts;
    for (const Part part : {Part::backbone, Part::router, Part::reward_head, Part::lora}) {
      if (config.trains(part)) parts.push_back(part);
    }
    return parts;
  };
  using Parts = std::vector<Part>;
  EXPECT_EQ(trained({"train.objective=pretrain"}), Parts{Part::backbone});
  EXPECT_EQ(trained({"train.objective=router"}), Parts{Part::router});
  EXPECT_EQ(trained({"train.objective=reward"}), Parts{Part::reward_head});
  EXPECT_EQ(trained({"train.objective=reward", "reward.loss=simpo"}), Parts{Part::lora});
  EXPECT_EQ(trained({"train.objective=reward", "train.trainable=[router]"}), Parts{Part::router});
  EXPECT_NE(refusal({"train.objective=pretrain", "train.trainable=[router]"}).find("[backbone]"),
            std::string::npos);
  EXPECT_NE(refusal({"train.objective=router", "train.trainable=[lora]"}).find("[router]"),
            std::string::npos);
  EXPECT_NE(refusal({"train.objective=reward", "train.trainable=[backbone,lora]"})
                .find("adapters stand beside frozen weights"),
            std::string::npos);
}

TEST(Objectives, WhatTheyReadAndWrite) {
  const std::vector<std::string> settings = {"output.dir=run", "reward.router=there",
                                             "train.random_gates.share=0.5",
                                             "train.random_gates.sparse=0.5"};
  const auto config = [&](std::string_view name) {
    std::vector<std::string> all = settings;
    all.push_back("train.objective=" + std::string(name));
    return parsed(all);
  };
  const Config pretrain = config(kPretrain), router = config(kRouter), reward = config(kReward);
  EXPECT_EQ(objective_of(pretrain).result_folder(pretrain), "run/model");
  EXPECT_EQ(objective_of(router).result_folder(router), "");
  EXPECT_TRUE(pretrain_objective().makes_backbone());
  EXPECT_FALSE(router_objective().makes_backbone() || reward_objective().makes_backbone());
  EXPECT_EQ(objective_of(pretrain).expected_sparsity(pretrain), 0.25);
  const Config robust = parsed({"train.objective=pretrain", "train.random_gates.share=0.5",
                                "train.random_gates.robust_only=true"});
  EXPECT_EQ(objective_of(robust).expected_sparsity(robust), 0);
  EXPECT_EQ(objective_of(reward).expected_sparsity(reward), 0);
  EXPECT_EQ(objective_of(reward).stored_router(reward), "there");
  EXPECT_TRUE(reward.has_routers() && router.has_routers());
  EXPECT_FALSE(pretrain.has_routers());
  EXPECT_NO_THROW(router_objective().check_text_evaluation());
  EXPECT_THROW(reward_objective().check_text_evaluation(), UsageError);
}

// A plan's batch is as long as micro_batch_tokens says, and the loss takes it: no data is opened.
TEST(Objectives, ArePlannedWithoutData) {
  for (const std::string& name : rows_of_all()) {
    for (const std::string loss : {"bradley_terry", "simpo"}) {
      Config config = parsed({"train.objective=" + name, "reward.loss=" + loss,
                              "data.label_mode=all", "train.micro_batch=3", "train.global_batch=3",
                              "data.max_tokens=20", "router.pool_budget=4", "router.ssa.sink=4",
                              "router.ssa.local=4", "router.ssa.block=4", "train.lora.rank=2"});
      const Objective& objective = objective_of(config);
      const data::PackedBatch batch = planned_batch(config, 0);
      EXPECT_EQ(batch.tokens(), micro_batch_tokens(config)) << name;
      EXPECT_EQ(batch.packs(), 3) << name;
      EXPECT_EQ(batch.pack_ends.back(), batch.documents()) << name;

      CpuDevice cpu;
      auto mesh = parallel::Mesh::single();
      model::ModelConfig m;
      m.hidden_size = 16, m.intermediate_size = 16, m.num_layers = 1;
      m.q_heads = m.kv_heads = 2, m.head_dim = 8, m.vocab_size = 12;
      model::Decoder decoder(m, decoder_options(config, true), mesh.tensor(), cpu);
      decoder.initialise(1);
      decoder.initialise_adapters(1);
      std::optional<reward::RewardHead> head;
      if (config.has_reward_head()) head.emplace(m.hidden_size, DType::f32, 1, true, cpu);
      const auto all =
          objective.make_loss(config, decoder, head ? &*head : nullptr, mesh.context());
      const LocalBatch local(batch, config, mesh, cpu, 0, 1.0, false);
      auto gates = router::routed_by_gates(router::uniform_gates(m.num_layers, m.kv_heads, 1),
                                           {m.kv_heads, 0, m.kv_heads}, config.router);
      const Tensor hidden = decoder.forward(local.device(), local.router(), gates);
      EXPECT_EQ(all->terms(batch), config.has_reward_head() || name == kReward ? 3 : 3 * 19)
          << name;
      const auto value = all->evaluate(hidden, local.device(), 1.0, true, [](Parameter&) {});
      const double on_device =
          value.device_sum.defined() ? value.device_sum.to_vector<double>()[0] : 0;
      const double sum = value.sum + on_device;
      EXPECT_TRUE(std::isfinite(sum) && sum > 0) << name;
      EXPECT_EQ(value.d_hidden.shape(), hidden.shape()) << name;
      if (all->labels(batch) == 0) continue;
      // Everything but the first token of each sequence is predicted.
      EXPECT_EQ(all->labels(batch), batch.tokens() - batch.sequences()) << name;
    }
  }
}

}  // namespace
}  // namespace elastron::train
