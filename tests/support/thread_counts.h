// Results that do not depend on the number of threads.
#pragma once
#include <gtest/gtest.h>
#include <omp.h>

#include <cstring>
#include <functional>
#include <vector>

#include "core/tensor.h"

namespace elastron::test {

// The same bits with 1, 2 and 3 threads; the number that was set is set again.
inline void expect_same_on_any_threads(const std::function<std::vector<Tensor>()>& compute) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto one = compute();
  for (const int threads : {2, 3}) {
    omp_set_num_threads(threads);
    const auto many = compute();
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_EQ(std::memcmp(one[i].raw(), many[i].raw(), one[i].bytes()), 0) << i << " " << threads;
    }
  }
  omp_set_num_threads(before);
}

}  // namespace elastron::test
