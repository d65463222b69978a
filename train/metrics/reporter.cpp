#include "train/metrics/reporter.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "core/file/append_file.h"
#include "core/json.h"
#include "core/log.h"
#include "train/metrics/event_file.h"
#include "train/metrics/metrics_file.h"
#include "train/metrics/scalar_tags.h"
#include "train/step/learning_rates.h"
#include "train/step/reward_loss.h"

namespace elastron::train {

namespace {

using Json = nlohmann::ordered_json;

// ISO 8601, with milliseconds.
std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const auto since = now.time_since_epoch() % std::chrono::seconds(1);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                     std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

std::string duration(double seconds) {
  const auto s = int64_t(seconds + 0.5);
  return fmt::format("{}:{:02d}:{:02d}", s / 3600, s / 60 % 60, s % 60);
}

Json task_map(const StepResult& r, double TaskFigures::*figure) {
  Json map = Json::object();
  for (size_t t = 0; t < r.task.size(); ++t) {
    if (r.task[t].documents > 0) map[data::kTaskNames[t]] = r.task[t].*figure;
  }
  return map;
}

Json named(const std::vector<double>& values) {
  Json map = Json::object();
  for (size_t t = 0; t < values.size(); ++t) map[data::kTaskNames[t]] = values[t];
  return map;
}

// Whose rate stands for the run's.
ParameterGroup leading_group(const Config& config) {
  for (const auto& [group, name] : kRates) {
    if (trains_group(config, group)) return group;
  }
  return ParameterGroup::backbone;
}

}  // namespace

class Reporter::Sinks {
 public:
  Sinks(const OutputSection& output, std::string run, int64_t last_step)
      : run_(std::move(run)),
        metrics_((cut_metrics(metrics_path(output), last_step), metrics_path(output))) {
    if (output.tensorboard) events_.emplace(output.dir + "/tensorboard", last_step);
  }
  // Every line says when it was written and by which run.
  void write(int64_t step, Json object) {
    object["time"] = utc_now();
    object["run"] = run_;
    metrics_.append(object.dump() + "\n");
    if (!events_) return;
    const auto scalars = scalars_by_tag(object);
    if (!scalars.empty()) events_->scalars(step, scalars);
  }

 private:
  static std::string metrics_path(const OutputSection& output) {
    return output.dir + "/metrics.jsonl";
  }

  std::string run_;
  AppendFile metrics_;
  std::optional<EventFile> events_;
};

Reporter::Reporter(const Config& config, std::string run, bool speaks, int64_t first_step,
                   const Device& device, const model::Decoder& decoder, int ranks)
    : config_(config),
      device_(device),
      decoder_(decoder),
      ranks_(ranks),
      work_(config, decoder.config()),
      last_(std::chrono::steady_clock::now()),
      begin_(last_),
      first_step_(first_step) {
  if (speaks) sinks_ = std::make_unique<Sinks>(config.output, std::move(run), first_step);
}

Reporter::~Reporter() = default;

void Reporter::step(int64_t step, const StepResult& r, const router::SparsityObjective* objective,
                    std::optional<double> passes) {
  std::optional<RewardFigures> pairs;
  if (config_.train.objective == Objective::reward) pairs = RewardLoss::figures(r.loss_sums);
  tokens_since_ += r.tokens;
  pairs_since_ += pairs ? pairs->pairs : 0;
  ++steps_since_;
  if (!sinks_) return;
  const WorkAmounts amounts{.tokens = double(r.tokens),
                            .labels = double(r.labels),
                            .documents = double(r.documents),
                            .both_pairs = r.full_pairs,
                            .selected_pairs = r.selected_pairs};
  done_since_ += work_.done(amounts);
  dense_since_ += work_.dense_equivalent(amounts, r.full_pairs);
  if (step % config_.log.every != 0 && step != config_.train.steps) return;
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - last_).count();
  const double rate = seconds > 0 ? double(tokens_since_) / seconds : 0;
  const double per_step =
      std::chrono::duration<double>(now - begin_).count() / double(step - first_step_);
  const bool routed = objective != nullptr;
  const double lr = r.lr.at(leading_group(config_));

  std::string line = fmt::format("step {}/{} | loss {:.4f}", step, config_.train.steps, r.loss);
  if (pairs) {
    line += fmt::format(" | {} {:.4f} | accuracy {:.3f} | margin {:.3f}",
                        config::enum_name(config_.reward.loss), r.data_loss, pairs->accuracy,
                        pairs->margin_mean);
  } else {
    line += fmt::format(" | lm {:.4f}", r.data_loss);
  }
  if (routed) line += fmt::format(" | sparsity {:.4f}", r.sparsity_loss);
  line += fmt::format(" | msr {:.2f}", r.all.msr);
  if (routed) {
    std::string tasks;
    for (size_t t = 0; t < r.task.size(); ++t) {
      if (r.task[t].documents == 0) continue;
      tasks +=
          fmt::format("{}{} {:.2f}", tasks.empty() ? "" : ", ", data::kTaskNames[t], r.task[t].msr);
    }
    line += " (" + tasks + ")";
  }
  line += fmt::format(" | lr {:.1e} | grad_norm {:.2f} | {:.0f} tok/s | peak {:.0f} MiB | eta {}",
                      lr, r.grad_norm, rate, double(device_.memory().peak_bytes) / double(1 << 20),
                      duration(per_step * double(config_.train.steps - step)));
  log_info("{}", line);

  Json object = {{"step", step},
                 {"loss", r.loss},
                 {pairs ? "pair_loss" : "lm_loss", r.data_loss},
                 {"sparsity_loss", r.sparsity_loss},
                 {"msr", r.all.msr},
                 {"msr_by_task", task_map(r, &TaskFigures::msr)},
                 {"esr_last_layer_last_query", r.all.esr_last_layer_last_query},
                 {"esr_all_layers_last_query", r.all.esr_all_layers_last_query},
                 {"esr_all_layers_area", r.all.esr_all_layers_area},
                 {"esr_tiles", r.all.esr_tiles},
                 {"esr_by_task", task_map(r, &TaskFigures::esr_all_layers_area)}};
  if (routed) {
    Json targets = Json::object();
    for (size_t t = 0; t < r.task.size(); ++t) {
      targets[data::kTaskNames[t]] = objective->target(int64_t(t));
    }
    object["entropy_by_task"] = task_map(r, &TaskFigures::entropy);
    object["target_by_task"] = targets;
    object["lambda1"] = named(objective->lambda1());
    object["lambda2"] = named(objective->lambda2());
    object["tau"] = r.tau;
  }
  if (pairs) {
    object["accuracy"] = pairs->accuracy;
    object["margin_mean"] = pairs->margin_mean;
    object["reward_chosen_mean"] = pairs->reward_chosen_mean;
    object["reward_rejected_mean"] = pairs->reward_rejected_mean;
    object["reward_std"] = pairs->reward_std;
    object["pairs"] = pairs->pairs;
    object["pairs_per_second"] = seconds > 0 ? double(pairs_since_) / seconds : 0;
    object["prompt_tokens_saved"] = r.tokens_apart - r.tokens;
  }
  if (passes) object["epoch"] = *passes;
  object["lr"] = lr;
  for (const auto& [group, name] : kRates) {
    if (trains_group(config_, group)) object[name] = r.lr.at(group);
  }
  object["grad_norm"] = r.grad_norm;
  object["tokens"] = r.tokens;
  object["labels"] = r.labels;
  object["tokens_per_second"] = rate;
  object["predicted_imbalance"] = r.predicted_imbalance;
  object["imbalance"] = r.imbalance;
  object["step_seconds"] = seconds / double(std::max<int64_t>(steps_since_, 1));
  object["peak_memory_bytes"] = device_.memory().peak_bytes;
  if (device_.kind() == DeviceKind::cuda && seconds > 0) {
    const double rank_seconds = seconds * ranks_;
    const double peak = device_.peak_flops(decoder_.options().dtype);
    if (peak > 0) object["flops_done_fraction"] = done_since_ / (rank_seconds * peak);
    object["dense_equivalent_tflops"] = dense_since_ / rank_seconds / 1e12;
  }
  sinks_->write(step, object);
  last_ = now;
  tokens_since_ = pairs_since_ = steps_since_ = 0;
  done_since_ = dense_since_ = 0;
}

void Reporter::evaluation(int64_t step, const Workload::Evaluated& result) {
  if (!sinks_) return;
  log_info("eval at step {} | {}", step, result.line);
  Json object = {{"step", step}, {"event", "eval"}};
  object.update(result.figures);
  sinks_->write(step, object);
}

void Reporter::skipped(int64_t step, const StepResult& result, int64_t in_a_row) {
  if (!sinks_) return;
  log_warning("step {} skipped: loss {}, grad_norm {} ({} in a row); nothing was updated", step,
              result.loss, result.grad_norm, in_a_row);
  sinks_->write(step, {{"step", step}, {"event", "skipped"}, {"in_a_row", in_a_row}});
}

}  // namespace elastron::train
