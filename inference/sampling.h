// Which token comes next.
#pragma once
#include <cstdint>
#include <span>

namespace elastron::inference {

struct Sampling {
  double temperature = 0;  // 0: the most likely token
  double top_p = 1;        // among the likeliest tokens that have this probability together
  uint64_t seed = 0;
  uint64_t stream = 0;  // which text of several that are drawn with one seed
};

// logits [vocab]. Greedy: the largest, the first of equals. Otherwise drawn with a number that is a
// function of (seed, stream, position), so that every rank draws the same. Throws NumericalError
// when a logit is not a number.
int32_t next_token(std::span<const float> logits, const Sampling& sampling, int64_t position);

}  // namespace elastron::inference
