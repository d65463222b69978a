#include "train/step/optimizer.h"

#include <algorithm>
#include <numeric>

#include "core/trace.h"

namespace elastron::train {

std::vector<int> share_parameters(const ParameterList& parameters, int ranks) {
  std::vector<size_t> order(parameters.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return parameters[a]->logical_shape.numel() > parameters[b]->logical_shape.numel();
  });
  std::vector<int64_t> load(size_t(ranks), 0);
  std::vector<int> owners(parameters.size(), 0);
  for (const size_t i : order) {
    const auto least = std::ranges::min_element(load);
    owners[i] = int(least - load.begin());
    *least += parameters[i]->logical_shape.numel();
  }
  return owners;
}

Optimizer::Optimizer(const ParameterList& parameters, const AdamWConfig& config,
                     double weight_decay, parallel::Communicator* sharing)
    : config_(config), weight_decay_(weight_decay), sharing_(sharing) {
  for (Parameter* p : parameters) {
    if (p->trainable) parameters_.push_back(p);
  }
  const TraceRange range("moments");
  owners_ = share_parameters(parameters_, sharing_ == nullptr ? 1 : sharing_->size());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = *parameters_[i];
    ELASTRON_CHECK(p.master.defined(), "trainable parameter without master: " + p.name);
    const DType dtype = p.master.dtype();
    const Shape shape = p.master.shape();
    Device& device = p.master.device();
    if (!p.grad.defined()) p.grad = Tensor::zeros(shape, dtype, device);
    if (!owned(i)) {
      if (p.master.raw() != p.value.raw()) p.master = {};
      moments_.emplace_back();
      continue;
    }
    moments_.push_back({Tensor::zeros(shape, dtype, device), Tensor::zeros(shape, dtype, device)});
  }
}

void Optimizer::step(int64_t update_count, const std::map<ParameterGroup, double>& lr,
                     double grad_scale) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!owned(i)) continue;
    Parameter& p = *parameters_[i];
    const ops::AdamWSettings settings{.lr = lr.at(p.group),
                                      .beta1 = config_.beta1,
                                      .beta2 = config_.beta2,
                                      .eps = config_.eps,
                                      .weight_decay = weight_decay_,
                                      .maximize = p.maximize};
    Tensor* value = p.value.raw() == p.master.raw() ? nullptr : &p.value;
    ops::adamw_step(p.master, p.grad, moments_[i].exp_avg, moments_[i].exp_avg_sq, value, settings,
                    update_count, grad_scale);
  }
  if (sharing_ == nullptr || sharing_->size() == 1) return;
  std::vector<parallel::Pending> pending;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    pending.push_back(sharing_->broadcast(parameters_[i]->value, owners_[i]));
  }
  for (parallel::Pending& p : pending) p.wait();
}

double clip_factor(double global_norm, double max_norm) {
  if (max_norm <= 0) return 1.0;
  const double factor = max_norm / (global_norm + 1e-6);
  return factor < 1.0 ? factor : 1.0;
}

}  // namespace elastron::train
