// eval-reward with generative judges: a model is asked for verdicts, or what one wrote before is
// read.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "launch/evaluation_rows.h"
#include "launch/inference.h"
#include "launch/judge.h"
#include "reward/judged_rows.h"

namespace elastron::launch {

// Collective over the world, as score_rows. A row is judged in one order, or in both.
std::optional<std::vector<reward::JudgedRow>> judge_rows(const InferenceArguments& arguments,
                                                         parallel::World& world,
                                                         const std::vector<EvaluationFile>& files,
                                                         const std::string& out,
                                                         const JudgeOptions& options,
                                                         reward::EvaluationIdentity identity);

}  // namespace elastron::launch
