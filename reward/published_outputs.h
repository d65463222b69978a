// Reads what the published evaluator of MemoryRewardBench writes for a judge: one JSON object
// a line, the benchmark's row with the judge's answer. (docs/method.md, Generative judges)
#pragma once
#include <string>
#include <vector>

#include "reward/judged_rows.h"

namespace elastron::reward {

// Fields by name: index, shuffled_order, task, ctx_length, output; subtask, LEN (tokens of the
// prompt), chosen_length and rejected_length (tokens) where they are there; others are passed over.
// Rows that the evaluator left out, being too long, cannot be seen here. Throws InputError naming
// file:line and the field: missing, mistyped, an order that is none, an unknown length class, an
// index that is there twice.
std::vector<JudgedRow> read_published_outputs(const std::string& path);

}  // namespace elastron::reward
