#include "benchmark/running/answering.h"

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file/checksum.h"
#include "inference/prompt_summary.h"

namespace elastron::benchmark {

namespace {

using Json = nlohmann::json;

// Names a text among all that are drawn with one seed.
uint64_t stream_of(const RowOfTask& row, size_t question) {
  const std::string name = row.task->folder() + "/" + row.task->name();
  const auto task = uint32_t(std::stoul(checksum(name).substr(0, 8), nullptr, 16));
  return uint64_t(task) << 32 | uint32_t(2 * row.row + int64_t(question));
}

}  // namespace

std::string answer_text(const Answer& answer) {
  return Json{{"texts", answer.texts}, {"figures", Json(row_figures_json(answer.figures))}}.dump();
}

Answer read_answer(const std::string& text) {
  Json object = Json::parse(text);
  return {object["texts"].get<std::vector<std::string>>(),
          row_figures({std::move(object["figures"]), "a row that was answered"})};
}

Answering::Answering(inference::Engine& engine, const Prompter& prompter,
                     const AnswerOptions& options, const std::vector<RowOfTask>& rows)
    : engine_(engine),
      prompter_(prompter),
      options_(options),
      rows_(rows),
      next_(engine.mesh().data().rank()),
      scheduler_(engine, {.slots = options.texts,
                          .cache_bytes = options.cache_bytes,
                          .cache = options.cache,
                          .vocab_size = prompter.vocab_size()}) {}

void Answering::submit(Open open, Question question) {
  const RowOfTask& row = rows_[size_t(open.place)];
  open.figures = {.truncated = question.truncated};
  open.generated.clear();
  inference::Sampling sampling{.temperature = options_.temperature, .seed = options_.seed};
  sampling.stream = stream_of(row, open.answer.texts.size());
  const int64_t number = scheduler_.submit({.prompt = std::move(question.ids),
                                            .max_tokens = question.max_tokens,
                                            .sampling = sampling,
                                            .min_tokens = question.min_tokens,
                                            .stop_ids = std::move(question.stop_ids)});
  open_.emplace(number, std::move(open));
}

std::vector<FinishedRow> Answering::step() {
  const auto n = int64_t(rows_.size());
  while (next_ < n && scheduler_.waiting() + scheduler_.running() < options_.texts + 1) {
    const RowOfTask& row = rows_[size_t(next_)];
    submit({.place = next_}, row.task->question(row.row));
    next_ += engine_.mesh().data().size();
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<inference::Event> events = scheduler_.step();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const auto prompts = std::ranges::count_if(events, [](const auto& e) { return bool(e.prompt); });
  const double share = took.count() / double(prompts > 0 ? prompts : std::ranges::ssize(events));
  std::vector<FinishedRow> finished;
  for (const inference::Event& event : events) {
    if (event.error != nullptr) std::rethrow_exception(event.error);
    Open& open = open_.at(event.request);
    if (event.prompt) {
      add_prompt(open, *event.prompt);
      open.figures.prompt_seconds = share;
    } else if (prompts == 0) {
      open.figures.decoding_seconds += share;
      ++open.figures.decoded_tokens;
    }
    if (event.token) open.generated.push_back(event.token->id);
    if (event.finish) finish(event.request, finished);
  }
  return finished;
}

void Answering::add_prompt(Open& open, const inference::PromptFigures& prompt) const {
  const auto all = inference::summary_of(prompt, engine_.mesh());
  open.figures.prompt_tokens = prompt.tokens;
  open.figures.msr = all.msr;
  open.figures.esr = all.esr_tiles;
  open.figures.cache_bytes = all.cache_bytes;
  open.figures.full_cache_bytes = all.full_cache_bytes;
}

void Answering::finish(int64_t request, std::vector<FinishedRow>& finished) {
  Open open = std::move(open_.extract(request).mapped());
  open.figures.new_tokens = int64_t(open.generated.size());
  open.answer.figures.add(open.figures, int64_t(open.answer.texts.size()));
  open.answer.texts.push_back(prompter_.text_of(open.generated));
  const RowOfTask& row = rows_[size_t(open.place)];
  if (auto more = row.task->next_question(row.row, open.answer.texts)) {
    submit(std::move(open), std::move(*more));
  } else {
    finished.push_back({open.place, answer_text(open.answer)});
  }
}

}  // namespace elastron::benchmark
