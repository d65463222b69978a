// Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011) of its authors' library
// Random123, on the CPU and on the GPU. A number is a pure function
// of (seed, purpose, what is being sampled), never of rank, thread or order, so that a run is the
// same on any layout and recomputation draws the same noise.
#pragma once
#include <Random123/philox.h>

#include <cstdint>
#include <string_view>

#include "core/host_device.h"

namespace elastron {

using PhiloxBlock = r123::Philox4x32::ctr_type;  // .v: four words

ELASTRON_HD inline PhiloxBlock philox_block(const PhiloxBlock& counter, uint32_t key0,
                                            uint32_t key1) {
  return r123::Philox4x32()(counter, {{key0, key1}});
}

enum class RandomPurpose : uint32_t {
  gate_noise = 1,
  router_init,
  lambda_init,
  backbone_init,
  shuffle,
  synthetic_data,
  static_gate,
  training_gate,  // random gates while a backbone is pretrained
  test,
  next_token,  // sampling in generation
  head_init,
  adapter_init,
  judge_order,  // which response a generative judge sees first
  planning,     // costs of packs that a plan supposes
  simulation,   // of many ranks: train/plan/simulate.h
};

// The stream of numbers for one sampled thing, named by up to three 32-bit coordinates, e.g.
// (step, sample, layer << 16 | kv_head). Random access by index; also usable as a sequence.
class RandomStream {
 public:
  ELASTRON_HD RandomStream(uint64_t seed, RandomPurpose purpose, uint32_t a = 0, uint32_t b = 0,
                           uint32_t c = 0)
      : key0_(uint32_t(seed) ^ (uint32_t(purpose) * 0x9E3779B9u)),
        key1_(uint32_t(seed >> 32)),
        a_(a),
        b_(b),
        c_(c) {}

  // Number `index` of the stream: 32 uniform bits.
  ELASTRON_HD uint32_t bits_at(uint64_t index) const {
    // The low two bits choose a lane; bits above 2^34 go into the key so that none is dropped.
    const PhiloxBlock block =
        philox_block({{uint32_t(index >> 2), a_, b_, c_}}, key0_, key1_ ^ uint32_t(index >> 34));
    return block.v[index & 3];
  }
  // Uniform in [0, 1), a multiple of 2^-24 (exact in float).
  ELASTRON_HD float uniform_at(uint64_t index) const {
    return float(bits_at(index) >> 8) * 0x1p-24f;
  }
  // Standard normal, Box-Muller over lanes 2*index and 2*index + 1.
  double normal_at(uint64_t index) const;

  uint32_t next_bits() { return bits_at(next_++); }
  float next_uniform() { return uniform_at(next_++); }
  // Uniform integer in [0, n), n > 0, without modulo bias.
  uint32_t next_below(uint32_t n);

 private:
  uint32_t key0_, key1_, a_, b_, c_;
  uint64_t next_ = 0;
};

// A stable 32-bit name for a string coordinate (FNV-1a), e.g. a parameter's logical name.
uint32_t random_coordinate(std::string_view name);

}  // namespace elastron
