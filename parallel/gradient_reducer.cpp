#include "parallel/gradient_reducer.h"

#include <cmath>

#include "core/trace.h"
#include "ops/elementwise.h"

namespace elastron::parallel {

namespace {

// Elements between the starts of neighbouring gradients: keeps them aligned for vector code.
int64_t padded(int64_t count, DType dtype) {
  const int64_t line = 64 / static_cast<int64_t>(dtype_size(dtype));
  return (count + line - 1) / line * line;
}

}  // namespace

GradientReducer::GradientReducer(const ParameterList& parameters, Mesh& mesh, int64_t bucket_bytes)
    : tensor_(&mesh.tensor()) {
  ELASTRON_CHECK(bucket_bytes > 0, "buckets hold something");
  for (Parameter* p : parameters) {
    if (p->trainable) parameters_.push_back(p);
  }

  // A bucket is of one group and one dtype; two are filled side by side where parameters of both
  // groups alternate.
  struct Plan {
    std::vector<Parameter*> parameters;
    int64_t elements = 0;
    DType dtype = DType::f32;
    Communicator* group = nullptr;
    bool open = true;
  };
  std::vector<Plan> plans;
  for (size_t i = parameters_.size(); i-- > 0;) {
    Parameter* p = parameters_[i];
    ELASTRON_CHECK(p->grad.defined(), p->name + " is trainable and has no gradient");
    Communicator* group = p->gradient_partial_over_tensor ? &mesh.world() : &mesh.grad();
    Plan* plan = nullptr;
    for (Plan& candidate : plans) {
      if (candidate.open && candidate.group == group && candidate.dtype == p->grad.dtype()) {
        plan = &candidate;
      }
    }
    if (plan == nullptr) {
      plan = &plans.emplace_back();
      plan->group = group;
      plan->dtype = p->grad.dtype();
    }
    plan->parameters.push_back(p);
    plan->elements += padded(p->grad.numel(), plan->dtype);
    plan->open = plan->elements * int64_t(dtype_size(plan->dtype)) < bucket_bytes;
  }

  for (const Plan& plan : plans) {
    Bucket bucket;
    Device& device = plan.parameters.front()->grad.device();
    bucket.flat = Tensor::zeros({plan.elements}, plan.dtype, device);
    bucket.group = plan.group;
    bucket.parameters = bucket.missing = int64_t(plan.parameters.size());
    int64_t offset = 0;
    for (Parameter* p : plan.parameters) {
      const bool distinct = places_.emplace(p, Place{.bucket = buckets_.size()}).second;
      ELASTRON_CHECK(distinct, p->name + " is listed twice");
      Tensor place = bucket.flat.slice(0, offset, offset + p->grad.numel()).view(p->grad.shape());
      place.copy_from(p->grad);
      p->grad = place;
      offset += padded(p->grad.numel(), plan.dtype);
    }
    buckets_.push_back(std::move(bucket));
  }
}

void GradientReducer::ready(const Parameter& parameter) {
  const auto found = places_.find(&parameter);
  ELASTRON_CHECK(found != places_.end(), parameter.name + " is not one of the reducer's");
  Place& place = found->second;
  ELASTRON_CHECK(!place.ready, parameter.name + " was marked ready twice in a step");
  place.ready = true;
  --buckets_[place.bucket].missing;
  start_complete();
}

void GradientReducer::start_complete() {
  while (started_ < buckets_.size() && buckets_[started_].missing == 0) {
    Bucket& bucket = buckets_[started_++];
    pending_.push_back(bucket.group->all_reduce(bucket.flat, ReduceOp::sum));
  }
}

void GradientReducer::finish() {
  const TraceRange range("gradient reduction");
  for (Bucket& bucket : buckets_) bucket.missing = 0;
  start_complete();
  for (Pending& sum : pending_) sum.wait();
  pending_.clear();
  started_ = 0;
  for (Bucket& bucket : buckets_) bucket.missing = bucket.parameters;
  for (auto& [parameter, place] : places_) place.ready = false;
}

void GradientReducer::zero() {
  for (Bucket& bucket : buckets_) bucket.flat.zero();
}

double GradientReducer::norm() const { return gradient_norm(parameters_, *tensor_); }

double gradient_norm(const ParameterList& parameters, Communicator& tensor) {
  double sum = 0;
  for (const Parameter* p : parameters) {
    if (!p->trainable || p->grad.numel() == 0) continue;
    // One rank speaks for all about what all hold alike.
    if (p->partition.replicated() && tensor.rank() != 0) continue;
    sum += ops::sum_of_squares(p->grad);
  }
  tensor.all_reduce_host(std::span<double>(&sum, 1), ReduceOp::sum);
  return std::sqrt(sum);
}

}  // namespace elastron::parallel
