#include "router/objective.h"

#include <algorithm>
#include <cmath>

#include "core/dispatch.h"
#include "core/philox.h"
#include "ops/elementwise.h"

namespace elastron::router {

std::vector<double> task_targets(const RegConfig& config, std::span<const std::string> task_names) {
  std::vector<double> targets;
  for (const std::string& name : task_names) {
    const bool sensitive = name == "Single QA" || name == "MultiHop QA";
    targets.push_back(sensitive ? config.t_sen : config.t_rob);
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

// t [tasks] += values
void add_to(Tensor& t, const std::vector<double>& values) {
  ops::add_into(t, ops::cast(Tensor::from(values, t.shape(), t.device()), t.dtype()));
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

ObjectiveValue SparsityObjective::evaluate(std::span<const int32_t> tasks,
                                           std::span<const double> msr,
                                           std::span<const int32_t> pack_ends,
                                           double accumulate_scale) {
  ELASTRON_CHECK(tasks.size() == msr.size(), "one MSR per document");
  ELASTRON_CHECK(!pack_ends.empty() && size_t(pack_ends.back()) == tasks.size(),
                 "every document is in a pack");
  const auto l1 = lambda1(), l2 = lambda2();
  const bool accumulate = config_.enabled && accumulate_scale != 0 && lambda1_.trainable;
  std::vector<double> d_lambda1(targets_.size(), 0.0), d_lambda2 = d_lambda1;
  ObjectiveValue out;
  size_t begin = 0;
  for (const int32_t pack_end : pack_ends) {
    const auto end = size_t(pack_end);
    const auto weights = document_weights(tasks.subspan(begin, end - begin));
    for (size_t b = begin; b < end; ++b) {
      const auto task = size_t(tasks[b]);
      const double w = weights[b - begin];
      const double gap = msr[b] - targets_[task];
      const double sign = gap > 0 ? 1.0 : (gap < 0 ? -1.0 : 0.0);
      if (!config_.enabled) {
        out.reg.push_back(std::abs(gap));
        out.d_msr.push_back(w * sign);
      } else {
        const bool absolute = config_.diff == DiffKind::abs;
        const double f = absolute ? std::abs(gap) : gap;
        const double slope = absolute ? sign : 1.0;
        out.reg.push_back(l1[task] * f + l2[task] * gap * gap);
        out.d_msr.push_back(w * (l1[task] * slope + 2.0 * l2[task] * gap));
        d_lambda1[task] += accumulate_scale * w * f;
        d_lambda2[task] += accumulate_scale * w * gap * gap;
      }
      out.value += w * out.reg.back();
    }
    begin = end;
  }
  if (accumulate) {
    add_to(lambda1_.grad, d_lambda1);
    add_to(lambda2_.grad, d_lambda2);
  }
  return out;
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
    with_master_dtype(p->value.dtype(), [&]<class A>() {
      std::vector<A> values = p->value.to_vector<A>();
      for (A& v : values) v = std::clamp(v, A(0), A(*config_.lambda_clamp));
      p->value.copy_from(Tensor::from(values, p->value.shape(), p->value.device()));
    });
  }
}

}  // namespace elastron::router
