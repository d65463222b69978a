#include "train/workload/text.h"

#include <fmt/format.h>

#include <algorithm>

#include "parallel/agree.h"
#include "train/evaluate/evaluate.h"
#include "train/positions.h"

namespace elastron::train {

namespace {

const Figure kLoss[] = {
    {{"lm_loss", "train/lm_loss", "nats", "cross-entropy per label"},
     Sum{&StepSums::data_loss},
     [](const StepReport& r) { return fmt::format("lm {:.4f}", r.result.sums.data_loss); }},
};

FigureValue accuracy_by_kind(const EvalResult& result) {
  FigureValue accuracy = FigureValue::object();
  for (const auto& [kind, f] : result.by_kind) accuracy[kind] = accuracy_json(f);
  return accuracy;
}

const FigureOf<EvalResult> kEvaluation[] = {
    {{"eval_loss", "eval/loss", "nats", "cross-entropy per label; the lowest one is the best"},
     [](const EvalResult& r) -> FigureValue { return r.all.loss; }},
    {{"eval_accuracy", "eval/accuracy", "share",
      "of the documents that have an answer; `null` where none has"},
     [](const EvalResult& r) { return accuracy_json(r.all); }},
    {{"eval_documents", "", "documents", "evaluated"},
     [](const EvalResult& r) -> FigureValue { return r.all.documents; }},
    {{"eval_answers", "", "documents", "that have an answer"},
     [](const EvalResult& r) -> FigureValue { return r.all.answers; }},
    {{"eval_msr", "eval/msr", "share", "(layer, kv head) pairs that ran sparse"},
     [](const EvalResult& r) -> FigureValue { return r.all.msr; }},
    {{"eval_accuracy_by_kind", "eval/accuracy", "share", "by kind of document"}, accuracy_by_kind},
};

// "loss 2.3979 | accuracy 0.125 | msr 0.50 | recall 0.250".
std::string line_of(const EvalResult& result) {
  std::string line = fmt::format("loss {:.4f} | accuracy {} | msr {:.2f}", result.all.loss,
                                 accuracy_text(result.all), result.all.msr);
  const int64_t unanswered = result.all.documents - result.all.answers;
  if (unanswered > 0) line += fmt::format(" | {} without an answer", unanswered);
  for (const auto& [kind, f] : result.by_kind) {
    line += fmt::format(" | {} {}", kind, accuracy_text(f));
  }
  return line;
}

}  // namespace

std::unique_ptr<TrainingLoss> TextObjective::make_loss(const Config&, model::Decoder& decoder,
                                                       reward::RewardHead*,
                                                       parallel::Communicator&) const {
  return std::make_unique<LanguageModelLoss>(decoder);
}

ObjectiveFigures TextObjective::figures() const {
  return {.loss = kLoss,
          .of_step = {},
          .of_evaluation = texts_of(std::span<const FigureOf<EvalResult>>(kEvaluation))};
}

std::unique_ptr<Workload> TextObjective::open(const Config& config, parallel::Mesh& mesh,
                                              Device& device, Session& session) const {
  return std::make_unique<TextWorkload>(config, mesh, device, session);
}

TextWorkload::TextWorkload(const Config& config, parallel::Mesh& mesh, Device& device,
                           Session& session)
    : config_(config),
      mesh_(mesh),
      device_(device),
      session_(session),
      loss_(session.model().make_loss()) {
  parallel::on_all_ranks(mesh.world(), [&] {
    const int32_t eos = session.decoder().config().end_of_document();
    source_ = data::open_training_source(config.data, session.tokenizer(), eos, config.model.path);
    if (config.eval.every > 0) {
      evaluation_ =
          data::open_evaluation_source(config.data, session.tokenizer(), eos, config.model.path);
    }
    check_positions(config, session.decoder().config(), "the longest document",
                    {source_.get(), evaluation_.get()}, /*trains=*/true);
  });
}

Workload::Evaluated TextWorkload::evaluate(const std::function<void()>& beat) {
  auto gates = session_.model().evaluation_gates();
  const EvalResult result = train::evaluate(config_, mesh_, device_, session_.decoder(), gates,
                                            *evaluation_, [&](uint64_t, uint64_t) { beat(); });
  return {.loss = result.all.loss,
          .line = line_of(result),
          .figures = figures_of<EvalResult>(kEvaluation, result)};
}

}  // namespace elastron::train
