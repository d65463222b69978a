#include "router/objective.h"

#include <algorithm>
#include <cmath>

#include "core/philox.h"
#include "ops/elementwise.h"

namespace elastron::router {

bool is_sensitive_task(std::string_view name) {
  return name == "Single QA" || name == "MultiHop QA";
}

std::vector<double> task_targets(const RegConfig& config, std::span<const std::string> task_names) {
  std::vector<double> targets;
  for (const std::string& name : task_names) {
    targets.push_back(is_sensitive_task(name) ? config.t_sen : config.t_rob);
  }
  for (const auto& [name, target] : config.targets) {
    const auto it = std::ranges::find(task_names, name);
    if (it == task_names.end()) {
      std::string known;
      for (const std::string& n : task_names) known += (known.empty() ? "" : ", ") + n;
      throw UsageError("unknown task '" + name + "'", "router.reg.targets", "use " + known);
    }
    if (!(target >= 0 && target <= 1)) {
      throw UsageError("target of '" + name + "' is not in [0, 1]", "router.reg.targets",
                       "give a share of sparse heads");
    }
    targets[size_t(it - task_names.begin())] = target;
  }
  return targets;
}

namespace {

Parameter make_lambda(const std::string& name, int64_t tasks, DType dtype, uint64_t seed,
                      bool trainable, Device& device) {
  Parameter p;
  p.name = name;
  p.logical_shape = {tasks};
  p.group = ParameterGroup::lambda;
  p.trainable = trainable;
  p.maximize = true;
  const RandomStream stream(seed, RandomPurpose::lambda_init, random_coordinate(name));
  std::vector<float> values(static_cast<size_t>(tasks));
  for (size_t t = 0; t < values.size(); ++t) values[t] = 0.5f * stream.uniform_at(t);
  p.value = ops::cast(Tensor::from(values, {tasks}, device), dtype);
  if (trainable) {
    p.master = p.value;
    p.grad = Tensor::zeros({tasks}, dtype, device);
  }
  return p;
}

}  // namespace

SparsityObjective::SparsityObjective(const RegConfig& config, std::vector<double> targets,
                                     DType dtype, uint64_t seed, bool trainable, Device& device)
    : config_(config),
      targets_(std::move(targets)),
      lambda1_(make_lambda("objective.lambda1", int64_t(targets_.size()), dtype, seed,
                           trainable && config.enabled, device)),
      lambda2_(make_lambda("objective.lambda2", int64_t(targets_.size()), dtype, seed,
                           trainable && config.enabled, device)) {}

void SparsityObjective::append_parameters(ParameterList& list) {
  if (!config_.enabled) return;  // not trained, not read
  list.push_back(&lambda1_);
  list.push_back(&lambda2_);
}

std::vector<double> SparsityObjective::host(const Parameter& p) {
  return ops::cast(p.value, DType::f64).to_vector<double>();
}

ops::SparsityObjectiveOutput SparsityObjective::evaluate(std::span<const int32_t> tasks,
                                                         const GateCounts& gates,
                                                         std::span<const int32_t> pack_ends,
                                                         const ObjectiveScales& scales) {
  ELASTRON_CHECK(!pack_ends.empty() && size_t(pack_ends.back()) == tasks.size(),
                 "every document is in a pack");
  std::vector<ops::ObjectiveDocument> documents;
  size_t begin = 0;
  for (const int32_t pack_end : pack_ends) {
    const auto end = size_t(pack_end);
    const auto weights = document_weights(tasks.subspan(begin, end - begin));
    for (size_t b = begin; b < end; ++b) {
      const int32_t task = tasks[b];
      documents.push_back({targets_[size_t(task)], weights[b - begin], task});
    }
    begin = end;
  }
  ops::ObjectiveMultipliers multipliers{lambda1_.value, lambda2_.value, {}, {}};
  if (config_.enabled && scales.lambdas != 0 && lambda1_.trainable) {
    multipliers.d_lambda1 = lambda1_.grad;
    multipliers.d_lambda2 = lambda2_.grad;
  }
  return ops::sparsity_objective(gates.closed, gates.of, documents, multipliers,
                                 {.multipliers = config_.enabled,
                                  .absolute = config_.diff == DiffKind::abs,
                                  .gate_scale = scales.gates,
                                  .lambda_scale = scales.lambdas},
                                 gates.heads);
}

std::vector<double> SparsityObjective::document_weights(std::span<const int32_t> tasks) const {
  std::vector<int64_t> documents(targets_.size(), 0);
  for (const int32_t t : tasks) {
    ELASTRON_CHECK(t >= 0 && size_t(t) < targets_.size(), "task without a target");
    ++documents[size_t(t)];
  }
  const auto present = double(std::ranges::count_if(documents, [](int64_t n) { return n > 0; }));
  std::vector<double> weights;
  for (const int32_t t : tasks) {
    weights.push_back(config_.enabled ? 1.0 / (present * double(documents[size_t(t)]))
                                      : 1.0 / double(tasks.size()));
  }
  return weights;
}

void SparsityObjective::clamp() {
  if (!config_.lambda_clamp) return;
  for (Parameter* p : {&lambda1_, &lambda2_}) {
    ops::clamp_into(p->value, 0, *config_.lambda_clamp);
  }
}

}  // namespace elastron::router
