#include "train/workload.h"

#include <fmt/format.h>

#include <algorithm>

#include "parallel/agree.h"
#include "train/evaluate/evaluate.h"
#include "train/positions.h"
#include "train/reward_workload.h"

namespace elastron::train {

namespace {

// Text: pretraining and router training.
class LanguageWorkload final : public Workload {
 public:
  LanguageWorkload(const Config& config, parallel::Mesh& mesh, Device& device, Session& session)
      : config_(config),
        mesh_(mesh),
        device_(device),
        session_(session),
        loss_(session.decoder(), config.train.loss.chunk_rows) {
    parallel::on_all_ranks(mesh.world(), [&] {
      const int32_t eos = session.decoder().config().end_of_document();
      source_ =
          data::open_training_source(config.data, session.tokenizer(), eos, config.model.path);
      if (config.eval.every > 0) {
        evaluation_ =
            data::open_evaluation_source(config.data, session.tokenizer(), eos, config.model.path);
      }
      check_positions(config, session.decoder().config(), {source_.get(), evaluation_.get()},
                      /*trains=*/true);
    });
  }

  const data::BatchSource& source() const override { return *source_; }
  TrainingLoss& loss() override { return loss_; }

  Evaluated evaluate(const std::function<void()>& beat) override {
    auto gates = session_.model().evaluation_gates();
    const EvalResult result = train::evaluate(config_, mesh_, device_, session_.decoder(), gates,
                                              *evaluation_, [&](uint64_t, uint64_t) { beat(); });
    Evaluated out{.loss = result.all.loss,
                  .line = fmt::format("loss {:.4f} | accuracy {} | msr {:.2f}", result.all.loss,
                                      accuracy_text(result.all), result.all.msr)};
    const int64_t unanswered = result.all.documents - result.all.answers;
    if (unanswered > 0) out.line += fmt::format(" | {} without an answer", unanswered);
    auto accuracy = nlohmann::ordered_json::object();
    for (const auto& [kind, f] : result.by_kind) {
      accuracy[kind] = accuracy_json(f);
      out.line += fmt::format(" | {} {}", kind, accuracy_text(f));
    }
    out.figures = {{"eval_loss", result.all.loss},
                   {"eval_accuracy", accuracy_json(result.all)},
                   {"eval_documents", result.all.documents},
                   {"eval_answers", result.all.answers},
                   {"eval_msr", result.all.msr},
                   {"eval_accuracy_by_kind", accuracy}};
    return out;
  }

 private:
  const Config& config_;
  parallel::Mesh& mesh_;
  Device& device_;
  Session& session_;
  LanguageModelLoss loss_;
  std::unique_ptr<data::PackSource> source_, evaluation_;
};

}  // namespace

std::unique_ptr<Workload> open_workload(const Config& config, parallel::Mesh& mesh, Device& device,
                                        Session& session) {
  if (config.train.objective == Objective::reward) {
    return std::make_unique<RewardWorkload>(config, mesh, device, session);
  }
  return std::make_unique<LanguageWorkload>(config, mesh, device, session);
}

}  // namespace elastron::train
