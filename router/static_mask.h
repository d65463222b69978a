// The static gates of one layer that L0 regularisation trains, as in PruLong (router.kind:
// static-l0): a log-alpha per kv head, a hard-concrete gate of it for every document.
//
// Other than there the gate is hard in training too, with the value's gradient (straight-through,
// as the routers have it); PruLong mixes the outputs of both branches by the value.
#pragma once
#include "core/parameter.h"
#include "ops/hard_concrete.h"
#include "router/config.h"

namespace elastron::router {

// Which kv heads of the model a rank has.
struct KvHeads {
  int64_t all = 0;    // of the model
  int64_t first = 0;  // [first, first + own)
  int64_t own = 0;

  static KvHeads whole(int64_t all) { return {all, 0, all}; }
};

class StaticMask {
 public:
  // Owns "router.layers.<layer>.log_alpha" [kv heads of the model], of which each rank of a tensor
  // group has its own heads' part. dtype: float32, or float64 for checks.
  StaticMask(int64_t layer, const KvHeads& heads, const L0Config& config, DType dtype,
             bool trainable, Device& device);

  static constexpr const char* kLeaf = "log_alpha";

  void append_parameters(ParameterList& list) { list.push_back(&log_alpha_); }
  bool trainable() const { return log_alpha_.trainable; }

  // [S, own heads]; the value v in place of the probability (ops/hard_concrete.h).
  ops::GateOutput sample(const ops::GateSampling& sampling) const;
  ops::GateOutput decide(int64_t documents) const;
  // Accumulates the log-alphas' gradient. Trainable masks only.
  void backward(const Tensor& d_gate, const Tensor& value);

 private:
  ops::HardConcrete rule_;
  Parameter log_alpha_;
};

}  // namespace elastron::router
