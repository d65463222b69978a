#include "benchmark/ruler/tasks.h"

#include <algorithm>

#include "benchmark/scores/python_text.h"
#include "core/error.h"

namespace elastron::benchmark {

namespace {

constexpr RulerTask kTasks[] = {
    {"niah_single_1", 128},
    {"niah_single_2", 128},
    {"niah_single_3", 128},
    {"niah_multikey_1", 128},
    {"niah_multikey_2", 128},
    {"niah_multikey_3", 128},
    {"niah_multivalue", 128},
    {"niah_multiquery", 128},
    {"vt", 30},
    {"cwe", 120},
    {"fwe", 50},
    {"qa_1", 32, true},
    {"qa_2", 32, true},
};

}  // namespace

std::span<const RulerTask> ruler_tasks() { return kTasks; }

const RulerTask* ruler_task(std::string_view name) {
  if (name.starts_with(kOwnTask)) name.remove_prefix(kOwnTask.size());
  const auto* const task = std::ranges::find(kTasks, name, &RulerTask::name);
  return task == std::end(kTasks) ? nullptr : task;
}

size_t ruler_place(std::string_view name) {
  const RulerTask* const task = ruler_task(name);
  ELASTRON_CHECK(task != nullptr, "a task of RULER");
  return (name.starts_with(kOwnTask) ? std::size(kTasks) : 0) + size_t(task - kTasks);
}

std::string ruler_answer(std::string_view prediction) {
  std::string answer(stripped(prediction));
  std::ranges::replace_if(
      answer, [](unsigned char c) { return c < 0x20; }, '\n');
  return std::string(stripped(answer));
}

double ruler_score(const RulerTask& task, std::string_view answer,
                   const std::vector<std::string>& outputs) {
  ELASTRON_CHECK(!outputs.empty(), "a row of RULER without outputs");
  const std::string small = lower(answer);
  const auto found = std::ranges::count_if(
      outputs, [&](const std::string& output) { return small.find(lower(output)) != small.npos; });
  if (task.any_counts) return found > 0 ? 1.0 : 0.0;
  return double(found) / double(outputs.size());
}

}  // namespace elastron::benchmark
