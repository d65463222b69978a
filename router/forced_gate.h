// Gates that no router decides: baselines in evaluation, and random gates while a backbone is
// pretrained.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "router/config.h"
#include "router/gate_file.h"

namespace elastron::router {

StaticGates uniform_gates(int64_t layers, int64_t kv_heads, uint8_t gate);

// round(msr * layers * kv_heads) sparse heads, drawn without replacement; a function of the seed.
StaticGates random_static_gates(int64_t layers, int64_t kv_heads, double msr, uint64_t seed);

// The words of `router.force`, read. none: the router decides.
struct Force {
  bool active = false;
  StaticGates gates;
};

// "full", "sparse", "none", "static:FILE" (gates), "scores:FILE:MSR" (gates_of_scores; gate_file.h
// says what files may be) or "random:MSR:SEED". Throws UsageError for another form, InputError for
// a bad file. Routing by layer has a gate per layer: a file must give all heads of a layer the same
// one, random gates are drawn for layers, and scores of heads order no layers.
Force parse_force(const std::string& text, int64_t layers, int64_t kv_heads,
                  Granularity granularity = Granularity::head);

// Gates of pretraining: a share of the sequences runs with each head sparse with some probability,
// so that the backbone learns to work under both.
struct RandomGates {
  double sequence_share = 0;      // of sequences that have random gates at all
  double sparse_probability = 0;  // per (layer, kv head) of such a sequence
  uint64_t seed = 0;
  std::vector<int32_t> tasks;  // whose sequences these are of; empty: all

  // The gate of one head; sample_key and step name the document. Of a layer as a whole: head 0's.
  uint8_t gate(uint32_t step, uint32_t sample_key, int64_t layer, int64_t kv_head) const;
};

}  // namespace elastron::router
