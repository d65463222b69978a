// Which tokens of a segment are pooled, and how often each counts (docs/method.md, Pooling): for
// every back end.
#pragma once
#include "core/host_device.h"
#include "ops/boundary_pool.h"

namespace elastron::ops::detail {

// A run of tokens that count `times` each. Runs of one segment do not overlap.
struct PoolRun {
  int64_t begin = 0, end = 0, times = 0;
};

struct PoolRuns {
  PoolRun run[3];
  int64_t count = 0;  // sum of lengths times multiplicities: what the sum is divided by
};

ELASTRON_HD inline PoolRuns pool_runs(const PoolSegment& s, const PoolRule& rule) {
  const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
  const auto most = [](int64_t a, int64_t b) { return a > b ? a : b; };
  PoolRuns runs;
  if (s.end <= s.begin) return runs;
  if (rule.boundary) {
    // pre = [begin, pre_end), suf = [suf_begin, end); where they overlap, tokens are in both.
    const int64_t pre_end = least(s.begin + rule.budget, s.end);
    const int64_t suf_begin = most(s.begin, s.end - rule.budget);
    const int64_t shared_begin = least(pre_end, suf_begin);
    runs.run[0] = {s.begin, shared_begin, 1};
    runs.run[1] = {shared_begin, pre_end, rule.dedup ? 1 : 2};
    runs.run[2] = {most(pre_end, suf_begin), s.end, 1};
  } else {
    runs.run[0] = {s.begin, s.end, 1};
  }
  for (const PoolRun& r : runs.run) runs.count += (r.end - r.begin) * r.times;
  return runs;
}

}  // namespace elastron::ops::detail
