// Sums of several groups (train/metrics/sums.h), added up over ranks in one collective.
#pragma once
#include <span>
#include <vector>

#include "parallel/communicator.h"
#include "train/metrics/sums.h"

namespace elastron::train {

template <Sums T>
void all_reduce_sums(std::vector<T>& groups, parallel::Communicator& ranks) {
  std::vector<double> flat;
  for (const T& group : groups) {
    const auto own = numbers(group);
    flat.insert(flat.end(), own.begin(), own.end());
  }
  ranks.all_reduce_host(std::span<double>(flat), parallel::ReduceOp::sum);
  for (size_t i = 0; i < groups.size(); ++i) {
    groups[i] = from_numbers<T>(std::span(flat).subspan(i * kNumbers<T>));
  }
}

}  // namespace elastron::train
