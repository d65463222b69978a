// Which token comes next.
#pragma once
#include <cstdint>
#include <span>

namespace elastron::inference {

// The rules are applied one after the other: top_k, then top_p among those, then min_p.
struct Sampling {
  double temperature = 0;  // 0: the most likely token
  int64_t top_k = 0;       // among so many of the likeliest tokens; 0: all
  double top_p = 1;        // among the likeliest tokens that have this probability together
  double min_p = 0;        // among those that have this share of the likeliest one's probability
  uint64_t seed = 0;
  uint64_t stream = 0;  // which text of several that are drawn with one seed
};

// logits [vocab]. Greedy: the largest, the first of equals. Otherwise drawn with a number that is a
// function of (seed, stream, position), so that every rank draws the same. Throws NumericalError
// when a logit is not a number.
int32_t next_token(std::span<const float> logits, const Sampling& sampling, int64_t position);

}  // namespace elastron::inference
