// Rows answered by an engine: many texts side by side, prompts made when there is room for them.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "benchmark/running/figures.h"
#include "benchmark/running/prompter.h"
#include "benchmark/running/shared_rows.h"
#include "benchmark/running/task.h"
#include "inference/scheduler.h"

namespace elastron::benchmark {

struct AnswerOptions {
  double temperature = 0;  // 0: the likeliest token
  uint64_t seed = 0;
  inference::CacheOptions cache;
  int64_t texts = 1;        // side by side, of a data rank
  int64_t cache_bytes = 0;  // of a rank; 0: as the device has
};

// A row of a task.
struct RowOfTask {
  const Task* task = nullptr;
  int64_t row = 0;
};

// What came of a row.
struct Answer {
  std::vector<std::string> texts;
  RowFigures figures;
};
std::string answer_text(const Answer& answer);
Answer read_answer(const std::string& text);

class Answering {
 public:
  // Of this data rank's part of `rows`. All but the options must outlive it. What is drawn is a
  // function of the seed, the task and the row.
  Answering(inference::Engine& engine, const Prompter& prompter, const AnswerOptions& options,
            const std::vector<RowOfTask>& rows);

  // SharedRows::step. Throws NumericalError where a logit is not a number.
  std::vector<FinishedRow> step();

 private:
  struct Open {
    int64_t place = 0;
    Answer answer;
    RowFigures figures;  // of the question that is asked now
    std::vector<int32_t> generated;
  };

  void submit(Open open, Question question);
  void add_prompt(Open& open, const inference::PromptFigures& prompt) const;
  void finish(int64_t request, std::vector<FinishedRow>& finished);

  inference::Engine& engine_;
  const Prompter& prompter_;
  AnswerOptions options_;
  const std::vector<RowOfTask>& rows_;
  int64_t next_;
  inference::Scheduler scheduler_;
  std::map<int64_t, Open> open_;  // by the request's number
};

}  // namespace elastron::benchmark
