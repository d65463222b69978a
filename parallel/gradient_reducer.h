// Sums gradients over the ranks that saw different data, in buckets, while the backward pass is
// still running.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/parameter.h"
#include "parallel/mesh.h"

namespace elastron::parallel {

inline constexpr int64_t kDefaultBucketBytes = 25 << 20;

// A gradient of this rank, and the buckets that some of them are summed in.
struct GradientPart {
  int64_t elements = 0;
  DType dtype = DType::f32;
  bool partial_over_tensor = false;  // summed over the world, otherwise over data x context
};
struct GradientBucket {
  DType dtype = DType::f32;
  bool partial_over_tensor = false;
  int64_t elements = 0;  // with what keeps each gradient aligned
  // Which, and where each begins.
  struct Place {
    size_t part = 0;
    int64_t offset = 0;
  };
  std::vector<Place> places;
};
// From the last part to the first: a bucket is of one group and one dtype, and takes no more once
// it has `bucket_bytes`. Two are filled side by side where parts of both groups alternate.
std::vector<GradientBucket> gradient_buckets(const std::vector<GradientPart>& parts,
                                             int64_t bucket_bytes);

class GradientReducer {
 public:
  // `parameters` in forward order; frozen ones are skipped. Buckets are filled from the last
  // parameter to the first. The gradients move into the buckets: from here on each parameter's
  // `grad` is a view of one, with its values kept. Parameters and mesh must outlive the reducer.
  //
  // Summed over mesh.grad() (data x context); gradients that are partial over the tensor group over
  // the world. Other replicated parameters' gradients are the same on all ranks of a tensor group
  // already, and are not touched there.
  GradientReducer(const ParameterList& parameters, Mesh& mesh,
                  int64_t bucket_bytes = kDefaultBucketBytes);
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // The gradient is complete for this step (call it in the step's last micro batch only). Starts
  // the sum of every bucket that is complete and has no incomplete one before it, so that the
  // order is the same on all ranks whatever the order of the calls.
  void ready(const Parameter& parameter);
  // Takes what was not marked as it is, waits, and is ready for the next step.
  void finish();
  // All gradients to zero.
  void zero();

  int64_t buckets() const { return static_cast<int64_t>(buckets_.size()); }
  // L2 norm over all parameters; see gradient_norm().
  double norm() const;

 private:
  struct Bucket {
    Tensor flat;
    Communicator* group = nullptr;
    int64_t parameters = 0;
    int64_t missing = 0;  // not ready yet
  };
  void start_complete();

  ParameterList parameters_;  // trainable ones
  Communicator* tensor_;
  std::vector<Bucket> buckets_;
  struct Place {
    size_t bucket = 0;
    bool ready = false;
  };
  std::unordered_map<const Parameter*, Place> places_;
  size_t started_ = 0;  // buckets whose sum is under way
  std::vector<Pending> pending_;
};

// L2 norm of the gradients of the trainable `parameters`, each logical element counted once: split
// parameters over the whole tensor group, replicated ones once. In double; the same bits on all
// ranks when the gradients are reduced. Collective over `tensor`. The host reads the device once.
double gradient_norm(const ParameterList& parameters, Communicator& tensor);

}  // namespace elastron::parallel
