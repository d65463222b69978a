// Generative judges: a model that is asked which response of a preference row is better, and whose
// text holds the verdict (reward/judge_prompt.h; docs/method.md, Generative judges). What is drawn
// - the order of the responses and the tokens - is a function of the seed, the file's name, the
// row's number in it and the order, so that the texts are the same on any layout, and the same
// whether rows are judged in one call or in several.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "inference/generation.h"
#include "reward/judge_prompt.h"

namespace elastron::reward {

struct JudgeOptions {
  JudgePromptOptions prompt;
  JudgeOrder order = JudgeOrder::drawn;
  // As published. sampling.seed is the order's too; sampling.stream is set per text.
  inference::GenerationOptions generation = {
      .max_tokens = 16384, .sampling = {.temperature = 0.7, .top_p = 0.95, .seed = 42}};
  int64_t texts = 1;  // that a data rank writes side by side, each with a cache of its own
};

// The row must outlive its use. `index`: the row's number in the file, from 0.
struct JudgeTask {
  const PreferenceRow* row = nullptr;
  std::string file;
  int64_t index = 0;
};

// A row judged in one order.
struct JudgeAnswer {
  bool chosen_is_a = false;
  int64_t prompt_tokens = 0;  // before a cut
  bool truncated = false;     // the prompt lost its middle
  bool skipped = false;       // too long even so: there is no text
  int64_t output_tokens = 0;  // max_tokens: the text may be unfinished
  std::string text;           // UTF-8
};

// The drawn order's answer first; under JudgeOrder::both the other order's behind it.
using JudgeOutput = std::vector<JudgeAnswer>;

class Judge {
 public:
  // Reads the model folder's configuration, tokenizer and chat template. No communication. Throws
  // what JudgePrompts throws.
  Judge(const std::string& model_folder, JudgeOptions options);
  const JudgeOptions& options() const { return options_; }

  // Positions of the longest sequence that judging the tasks may take, for the engine. Tokenises
  // every prompt, the ranks sharing the work, so that what is wrong with a row is said before the
  // model is loaded. Collective over `everyone`.
  int64_t longest(parallel::Communicator& everyone, std::span<const JudgeTask> tasks) const;

  // Collective. One output per task, in order, on every rank; task i is judged by data rank i % n.
  // longest() must have passed the tasks. `beat` is called before each step. To be able to stop
  // and go on, call it for some tasks after another.
  std::vector<JudgeOutput> judge(inference::Engine& engine, std::span<const JudgeTask> tasks,
                                 const std::function<void()>& beat) const;

 private:
  std::vector<bool> orders(const JudgeTask& task) const;
  // Of this rank's tasks.
  std::vector<JudgeOutput> answers(inference::Engine& engine, std::span<const JudgeTask> tasks,
                                   const std::function<void()>& beat) const;

  JudgeOptions options_;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  JudgePrompts prompts_;
  int64_t model_vocab_, vocab_size_;
};

}  // namespace elastron::reward
