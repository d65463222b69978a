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

std::vector<GradientBucket> gradient_buckets(const std::vector<GradientPart>& parts,
                                             int64_t bucket_bytes) {
  ELASTRON_CHECK(bucket_bytes > 0, "buckets hold something");
  std::vector<GradientBucket> buckets;
  for (size_t i = parts.size(); i-- > 0;) {
    const GradientPart& part = parts[i];
    GradientBucket* bucket = nullptr;
    for (GradientBucket& b : buckets) {
      const bool open = b.elements * int64_t(dtype_size(b.dtype)) < bucket_bytes;
      if (open && b.partial_over_tensor == part.partial_over_tensor && b.dtype == part.dtype) {
        bucket = &b;
      }
    }
    if (bucket == nullptr) {
      bucket = &buckets.emplace_back();
      bucket->dtype = part.dtype;
      bucket->partial_over_tensor = part.partial_over_tensor;
    }
    bucket->places.push_back({i, bucket->elements});
    bucket->elements += padded(part.elements, part.dtype);
  }
  return buckets;
}

GradientReducer::GradientReducer(const ParameterList& parameters, Mesh& mesh, int64_t bucket_bytes)
    : tensor_(&mesh.tensor()) {
  const TraceRange range("gradient buckets");
  std::vector<GradientPart> parts;
  for (Parameter* p : parameters) {
    if (!p->trainable) continue;
    ELASTRON_CHECK(p->grad.defined(), p->name + " is trainable and has no gradient");
    parameters_.push_back(p);
    parts.push_back({p->grad.numel(), p->grad.dtype(), p->gradient_partial_over_tensor});
  }
  for (const GradientBucket& planned : gradient_buckets(parts, bucket_bytes)) {
    Bucket bucket;
    Device& device = parameters_[planned.places.front().part]->grad.device();
    bucket.flat = Tensor::zeros({planned.elements}, planned.dtype, device);
    bucket.group = planned.partial_over_tensor ? &mesh.world() : &mesh.grad();
    bucket.parameters = bucket.missing = int64_t(planned.places.size());
    for (const auto& [part, offset] : planned.places) {
      Parameter* p = parameters_[part];
      const bool distinct = places_.emplace(p, Place{.bucket = buckets_.size()}).second;
      ELASTRON_CHECK(distinct, p->name + " is listed twice");
      Tensor place = bucket.flat.slice(0, offset, offset + p->grad.numel()).view(p->grad.shape());
      place.copy_from(p->grad);
      p->grad = place;
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
  std::vector<Tensor> gradients;
  for (const Parameter* p : parameters) {
    if (!p->trainable || p->grad.numel() == 0) continue;
    // One rank speaks for all about what all hold alike.
    if (p->partition.replicated() && tensor.rank() != 0) continue;
    gradients.push_back(p->grad);
  }
  double sum = ops::sum_of_squares(gradients);
  tensor.all_reduce_host(std::span<double>(&sum, 1), ReduceOp::sum);
  return std::sqrt(sum);
}

}  // namespace elastron::parallel
