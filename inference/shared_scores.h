// Scored tokens of a prompt, whose rows of logits the ranks of a context group share.
#pragma once
#include <span>
#include <vector>

#include "inference/request.h"
#include "parallel/communicator.h"

namespace elastron::inference {

// -> those of all ranks, one rank's behind the other's, on every rank the same. Collective.
std::vector<ScoredToken> scores_of_ranks(std::span<const ScoredToken> own,
                                         parallel::Communicator& ranks);

}  // namespace elastron::inference
