#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "core/file/atomic_file.h"
#include "core/file/exists.h"
#include "core/log.h"
#include "core/plural.h"
#include "data/sampler.h"
#include "ops/elementwise.h"
#include "parallel/agree.h"
#include "train/checkpoint/checkpoint.h"
#include "train/metrics/reporter.h"
#include "train/plan/memory_check.h"
#include "train/plan/planned_batch.h"
#include "train/session.h"
#include "train/step/frozen_weights.h"
#include "train/step/learning_rates.h"
#include "train/step/step.h"
#include "train/step/step_batches.h"
#include "train/workload/registry.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {

// The memory of micro batches as long as they may be.
std::string memory_plan(const Config& config, Session& session, const parallel::Mesh& mesh,
                        Device& device) {
  return describe(planned_memory(config, session.decoder().config(), mesh.layout(), device),
                  micro_batch_tokens(config));
}

// The order of the run's packs. Collective; throws UsageError where ranks and data do not go with
// the step that the configuration asks for.
std::unique_ptr<data::Sampler> open_sampler(const Config& config, parallel::Mesh& mesh,
                                            const data::BatchSource& source) {
  std::unique_ptr<data::Sampler> sampler;
  parallel::on_all_ranks(mesh.world(), [&] {
    const int64_t micro_batches = config.train.global_batch / config.train.micro_batch;
    if (micro_batches % mesh.data().size() != 0) {
      throw UsageError(
          fmt::format("{} micro batches per step cannot be shared by {} data-parallel ranks",
                      micro_batches, mesh.data().size()),
          "train.global_batch", "make global_batch / micro_batch a multiple of the data ranks");
    }
    sampler =
        std::make_unique<data::Sampler>(source.packs(), source.fingerprint(),
                                        uint64_t(config.train.seed), config.train.global_batch);
  });
  return sampler;
}

class Trainer {
 public:
  Trainer(const Config& config, Run& run, parallel::Mesh& mesh, Device& device,
          parallel::Watchdog& watchdog, const std::function<bool()>& stop_requested)
      : config_(config),
        run_(run),
        mesh_(mesh),
        device_(device),
        watchdog_(watchdog),
        stop_requested_(stop_requested),
        session_(config, true, mesh, device, [&watchdog] { watchdog.beat(); }),
        trained_(session_.model().objective_parameters()),
        frozen_(session_.model().parameters()),
        optimizer_(trained_, config.train.adam, config.train.weight_decay,
                   optimizer_group(config, mesh)),
        routed_(session_.model().training_gates()),
        workload_(objective_of(config).open(config, mesh, device, session_)),
        runner_(config, mesh, device, session_.decoder(), routed_, workload_->loss(),
                session_.objective(), optimizer_) {
    sampler_ = open_sampler(config, mesh, workload_->source());
    parallel::on_all_ranks(mesh.world(), [&] {
      batches_ = std::make_unique<StepBatches>(config, workload_->source(),
                                               MicroBatchCost(config, session_.decoder().config()),
                                               workload_->loss(), mesh.data());
    });
    log_info("data: {}", workload_->source().summary());
    log_info("memory: {}", memory_plan(config, session_, mesh, device));
  }

  // Takes what the checkpoint holds from which the run goes on or begins. The folder is not
  // touched.
  void restore() {
    if (!run_.from()) return;
    const auto& [path, header] = *run_.from();
    parallel::on_all_ranks(mesh_.world(), [&] { check_header(header, path); });
    load_tensors(path, tensors(), mesh_, [this] { watchdog_.beat(); });
    for (Parameter* p : trained_) {
      if (p->master.defined() && p->value.raw() != p->master.raw()) {
        ops::cast_into(p->master, p->value);
      }
    }
    parallel::on_all_ranks(mesh_.world(), [&] { restore_state(header); });
    step_ = header.step;
    tokens_ = header.tokens_seen;
    if (run_.goes_on()) saved_step_ = step_;
    log_info("resumed from {} at step {}", path, step_);
    parallel::on_all_ranks(mesh_.world(), [&] { tell_changes(header, path); });
  }

  ExitCode run() {
    store_.emplace(config_.output.dir + "/checkpoints", config_.checkpoint.keep, mesh_,
                   [this] { watchdog_.beat(); });
    store_->mark_best(best_step_);  // it may have been killed before it did
    Reporter reporter(config_, objective_of(config_).figures(), run_.id(),
                      mesh_.world().rank() == 0, step_, device_, session_.decoder(),
                      mesh_.world().size());
    while (step_ < config_.train.steps) {
      const StepResult result = one_step();
      ++step_;
      tokens_ += int64_t(result.sums.tokens);
      count_skips(result, reporter);
      reporter.step(step_, result, session_.objective(), sampler_->passes());
      const bool best = is_due(config_.eval.every) && evaluate(reporter);
      const bool stop = asked_to_stop();
      if (is_due(config_.checkpoint.every) || stop || best) save();
      if (best) store_->mark_best(step_);
      if (stop) {
        log_info("stopped on request at step {}: {}", step_, written());
        return ExitCode::stopped;
      }
    }
    expect_updates();
    save();
    workload_->finish();
    log_info("done at step {}: {}", step_, written());
    return ExitCode::ok;
  }

 private:
  StepResult one_step() {
    const parallel::Watchdog::Scope scope(watchdog_, fmt::format("step {}", step_ + 1));
    StepBatches::Own own = batches_->of_step(sampler_->next_step());
    if (step_ + 1 < config_.train.steps) batches_->prepare(sampler_->upcoming_step());
    StepResult result = runner_.run(step_, own.batches, own.totals, [this] { watchdog_.beat(); });
    result.predicted_imbalance = own.imbalance;
    return result;
  }

  bool is_due(int64_t every) const { return every > 0 && step_ % every == 0; }

  bool asked_to_stop() {
    const parallel::Watchdog::Scope scope(watchdog_, fmt::format("agreeing after step {}", step_));
    return parallel::on_any_rank(mesh_.world(), stop_requested_());
  }

  // Ends the run where too many steps in a row were skipped.
  void count_skips(const StepResult& result, Reporter& reporter) {
    skips_ = result.skipped ? skips_ + 1 : 0;
    if (!result.skipped) return;
    reporter.skipped(step_, result, skips_);
    if (skips_ <= config_.train.max_skips) return;
    parallel::on_all_ranks(mesh_.world(), [&] {
      throw NumericalError(fmt::format("{} in a row had a loss or gradient that is not finite",
                                       plural(skips_, "step")),
                           fmt::format("step {}", step_),
                           "lower the learning rate and resume from the last checkpoint");
    });
  }

  void expect_updates() {
    if (skips_ == 0 || runner_.counters().updates > 0) return;
    parallel::on_all_ranks(mesh_.world(), [&] {
      throw NumericalError("no step had a finite loss and gradient: nothing was trained",
                           fmt::format("step {}", step_),
                           "look for weights that are not finite, or lower the learning rate");
    });
  }

  // -> whether it is the best so far.
  bool evaluate(Reporter& reporter) {
    const Workload::Evaluated evaluated = [&] {
      const parallel::Watchdog::Scope scope(watchdog_, fmt::format("evaluation at step {}", step_));
      return workload_->evaluate([this] { watchdog_.beat(); });
    }();
    reporter.evaluation(step_, evaluated);
    if (evaluated.loss >= best_loss_) return false;
    best_loss_ = evaluated.loss;
    best_step_ = step_;
    return true;
  }

  CheckpointTensors tensors() {
    return {optimizer_.parameters(), &optimizer_.moments(), optimizer_.owners()};
  }

  void check_header(const CheckpointHeader& header, const std::string& path) const {
    require_objective(header, config_.train.objective, path,
                      "resume with its configuration, or use --resume none");
    require_backbone(header, session_.backbone_fingerprint(), path);
    StepRunner::Counters counters;
    for (const auto& [name, value] : counters.named()) {
      if (header.state.contains(name)) continue;
      throw CheckpointError(std::string("the checkpoint lacks its counter ") + name, path,
                            "use another checkpoint");
    }
  }

  void restore_state(const CheckpointHeader& header) {
    // An imported router comes without a place in the data: it begins at the start.
    if (!header.data.empty()) sampler_->restore(header.data);
    StepRunner::Counters counters;
    for (const auto& [name, value] : counters.named()) {
      *value = std::stoll(header.state.at(name));
    }
    runner_.restore(counters);
    workload_->restore(header.state);
    const auto loss = header.state.find("best_eval_loss"), at = header.state.find("best_step");
    // Another run's best checkpoint is not this one's.
    if (run_.goes_on() && loss != header.state.end() && at != header.state.end()) {
      best_loss_ = std::strtod(loss->second.c_str(), nullptr);
      best_step_ = std::stoll(at->second);
    }
  }

  void tell_changes(const CheckpointHeader& header, const std::string& path) const {
    const Config before = config::parse_config<Config>(header.config, path);
    for (const auto& d : config::config_differences(before, config_)) {
      log_info("{} is {} now, {} in the checkpoint", d.key, d.after, d.before);
    }
    if (step_ == 0 || step_ >= config_.train.steps) return;
    for (const std::string& line : rate_jumps(before, config_, step_)) log_info("{}", line);
  }

  NamedValues state() const {
    NamedValues values = {{"best_eval_loss", fmt::format("{}", best_loss_)},
                          {"best_step", std::to_string(best_step_)}};
    StepRunner::Counters counters = runner_.counters();
    for (const auto& [name, value] : counters.named()) {
      values[name] = std::to_string(*value);
    }
    workload_->add_state(values);
    return values;
  }

  void save() {
    if (saved_step_ == step_) return;
    const parallel::Watchdog::Scope scope(watchdog_, fmt::format("saving step {}", step_));
    // Nothing that was trained beside damaged weights is worth keeping.
    parallel::on_all_ranks(mesh_.world(), [&] { frozen_.check(mesh_.world().rank()); });
    const std::string path = store_->save(
        {.step = step_,
         .tokens_seen = tokens_,
         .objective = config_.train.objective,
         .backbone_fingerprint = session_.backbone_fingerprint(),
         .config = config::dump_config(config_),
         .run = run_.id(),
         .state = state(),
         .data = sampler_->state(),
         .random = {{"generator", "philox4x32-10"}, {"seed", std::to_string(config_.train.seed)}}},
        tensors());
    saved_step_ = step_;
    run_.saved();
    log_info("saved {}", path);
  }

  // Tells people where the run's files are.
  std::string written() const {
    const std::string& folder = config_.output.dir;
    std::string text = fmt::format("checkpoint {}/checkpoints/{}", folder, checkpoint_name(step_));
    if (best_step_ >= 0) text += fmt::format(", best {}", checkpoint_name(best_step_));
    text += fmt::format(", metrics {}/metrics.jsonl", folder);
    return text;
  }

  const Config& config_;
  Run& run_;
  parallel::Mesh& mesh_;
  Device& device_;
  parallel::Watchdog& watchdog_;
  const std::function<bool()>& stop_requested_;
  Session session_;
  ParameterList trained_;
  FrozenWeights frozen_;
  Optimizer optimizer_;
  std::vector<router::RoutedLayer> routed_;
  std::unique_ptr<Workload> workload_;
  StepRunner runner_;
  std::optional<CheckpointStore> store_;
  std::unique_ptr<data::Sampler> sampler_;
  std::unique_ptr<StepBatches> batches_;  // behind what its thread reads
  int64_t step_ = 0, tokens_ = 0, saved_step_ = -1;
  double best_loss_ = std::numeric_limits<double>::infinity();  // of the evaluations so far
  int64_t best_step_ = -1;
  int64_t skips_ = 0;  // steps in a row, up to the last one
};

// Whether all steps are done and the end of the run has written its result. Collective.
bool is_done(const Config& config, const Run& run, parallel::Mesh& mesh) {
  if (!run.from() || run.from()->header.step < config.train.steps) return false;
  const std::string result = objective_of(config).result_folder(config);
  const bool complete = result.empty() || exists(result + "/config.json");
  return parallel::on_any_rank(mesh.world(), complete && mesh.world().rank() == 0);
}

void say_done(const Config& config, const Run& run, parallel::Mesh& mesh) {
  const auto& [path, header] = *run.from();
  const auto best = header.state.find("best_step");
  if (run.goes_on() && best != header.state.end()) {
    // It may have been killed before it did.
    CheckpointStore(config.output.dir + "/checkpoints", config.checkpoint.keep, mesh)
        .mark_best(std::strtoll(best->second.c_str(), nullptr, 10));
  }
  log_info("already at step {} of {}: nothing to train ({}); raise train.steps to go on",
           header.step, config.train.steps, path);
}

}  // namespace

ExitCode run_training(const Config& config, const ResumeRequest& resume, parallel::Mesh& mesh,
                      Device& device, parallel::Watchdog& watchdog, const TrainingHooks& hooks) {
  std::optional<Run> run;
  {
    const parallel::Watchdog::Scope scope(watchdog, "looking for checkpoints");
    run.emplace(config, resume, mesh, [&watchdog] { watchdog.beat(); });
  }
  std::optional<Trainer> trainer;
  {
    const parallel::Watchdog::Scope scope(watchdog, "loading the model and the data");
    trainer.emplace(config, *run, mesh, device, watchdog, hooks.stop_requested);
  }
  {
    const parallel::Watchdog::Scope scope(watchdog, "resuming");
    trainer->restore();
    if (is_done(config, *run, mesh)) {
      say_done(config, *run, mesh);
      return ExitCode::ok;
    }
    run->begin();
  }
  parallel::on_all_ranks(mesh.world(), [&] {
    hooks.folder_is_ours();
    if (mesh.world().rank() == 0) {
      write_text_atomically(config.output.dir + "/config.yaml", config::dump_config(config));
    }
  });
  return trainer->run();
}

std::string describe_run(const Config& config, parallel::Mesh& mesh, Device& device) {
  Session session(config, true, mesh, device);
  int64_t backbone = 0, trained = 0;
  const parallel::Communicator* sharing = optimizer_group(config, mesh);
  for (const Parameter* p : session.model().parameters()) {
    backbone += int64_t(stored_bytes(*p));
    if (p->trainable) {
      // Gradient, and what may be shared: two moments, and a master where it is another tensor.
      int64_t state = 2 * int64_t(p->grad.bytes());
      if (p->master.raw() != p->value.raw()) state += int64_t(p->master.bytes());
      trained += int64_t(p->grad.bytes()) + state / (sharing != nullptr ? sharing->size() : 1);
    }
  }
  const auto workload = objective_of(config).open(config, mesh, device, session);
  open_sampler(config, mesh, workload->source());
  const auto& layout = mesh.layout();
  return fmt::format(
      "# parameters: {} total, {} trainable\n"
      "# bytes per rank: {} parameters, {} gradients and optimiser state\n"
      "# layout: data {} x context {} x tensor {}, {} packs per step of up to {} tokens\n"
      "# data: {}\n"
      "# {}\n",
      session.parameter_count(false), session.parameter_count(true), backbone, trained, layout.data,
      layout.context, layout.tensor, config.train.global_batch, config.data.max_tokens,
      workload->source().summary(), memory_plan(config, session, mesh, device));
}

}  // namespace elastron::train
