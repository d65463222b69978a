// The scalar head of a reward model: score = <score.weight, hidden state of the last real token>,
// in master precision whatever the trunk computes in. Named as in Hugging Face's sequence
// classifiers with one label; replicated over the tensor group. (docs/method.md, Reward head)
#pragma once
#include <cstdint>
#include <span>

#include "core/parameter.h"

namespace elastron::reward {

inline constexpr const char* kHeadName = "score.weight";

class RewardHead {
 public:
  // `dtype`: float32, or float64 under a float64 trunk. Normal, standard deviation 1 / (hidden +
  // 1).
  RewardHead(int64_t hidden, DType dtype, uint64_t seed, bool trainable, Device& device);

  Parameter& parameter() { return weight_; }

  // Backward needs these.
  struct Saved {
    Tensor rows;  // [N] int32
    Tensor x;     // [N, hidden] master dtype
    int64_t tokens = 0;
    DType trunk = DType::f32;
  };
  // hidden [T, E] after the final norm; last_tokens [N]: the rows that are scored, none
  // included. -> [N].
  Tensor forward(const Tensor& hidden, std::span<const int32_t> last_tokens, Saved& saved) const;
  // d_scores [N] -> d_hidden [T, E] in the trunk's dtype, zero but for the scored rows; adds to the
  // weight's gradient if it is trainable. `need_hidden` false: an undefined tensor.
  Tensor backward(const Tensor& d_scores, const Saved& saved, bool need_hidden);

 private:
  Parameter weight_;  // [1, hidden]
};

}  // namespace elastron::reward
