// eval-reward with the model that was trained: scores of both responses, row by row.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "launch/evaluation_rows.h"
#include "launch/runtime.h"
#include "reward/judged_rows.h"

namespace elastron::launch {

struct ScoreOptions {
  std::string checkpoint;  // empty: the folder has a head
  int64_t limit = 131072;  // tokens of a sequence
  bool untrained = true;   // also by a new head on the backbone as it was
};

// Collective over the world. `out`: the folder with rows.jsonl, where rows that are there already
// are not judged again; `identity` of the caller's part is completed here. -> on rank 0 all rows in
// canonical order, elsewhere none; nothing on all ranks where it was stopped on request
// (launch/signals.h) before the end.
std::optional<std::vector<reward::JudgedRow>> score_rows(
    const train::Config& config, parallel::World& world, const std::vector<EvaluationFile>& files,
    const std::string& out, const ScoreOptions& options, reward::EvaluationIdentity identity);

}  // namespace elastron::launch
