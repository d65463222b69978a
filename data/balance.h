// Which data rank computes which micro batches of a step.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace elastron::data {

// Indices into `costs` per rank, ascending, as many for each; `ranks` divides their number. The
// largest sum of a rank is made small: costs go, largest first, to the rank that has least and has
// room, then pairs are exchanged while that lowers the larger of two ranks' sums. Round robin where
// costs are equal or each rank has one. A function of its arguments alone: the same on every rank.
std::vector<std::vector<int64_t>> balance(std::span<const double> costs, int ranks);

// The largest sum of a rank over the mean; 1 where nothing costs anything.
double imbalance(std::span<const double> costs, const std::vector<std::vector<int64_t>>& of_rank);

// Rank r's are r, r + ranks, and so on.
std::vector<std::vector<int64_t>> round_robin(int64_t count, int ranks);

}  // namespace elastron::data
