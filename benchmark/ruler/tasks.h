// The thirteen tasks of RULER (Hsieh et al., COLM 2024) and how each is scored.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::benchmark {

struct RulerTask {
  std::string_view name;
  int64_t new_tokens = 0;
  bool any_counts = false;  // "part": one of the outputs is enough; else "all": their share
};

// Before the names of tasks that this program makes in RULER's form with words of its own.
inline constexpr std::string_view kOwnTask = "elastron-";

// In the order of the published configuration.
std::span<const RulerTask> ruler_tasks();
// By name, with or without kOwnTask; nullptr for any other.
const RulerTask* ruler_task(std::string_view name);
// The place of a task's name among those of ruler_tasks() and, behind them, ours.
size_t ruler_place(std::string_view name);

// A prediction as it is scored: without white space at its ends, with a newline for each of the
// characters 0x00 to 0x1f, and again without white space at its ends.
std::string ruler_answer(std::string_view prediction);
// In [0, 1], of a ruler_answer: the outputs that it has in it, in small letters. `outputs` has one
// at least.
double ruler_score(const RulerTask& task, std::string_view answer,
                   const std::vector<std::string>& outputs);

}  // namespace elastron::benchmark
