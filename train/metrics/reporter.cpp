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

namespace elastron::train {

namespace {

// ISO 8601, with milliseconds.
std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const auto since = now.time_since_epoch() % std::chrono::seconds(1);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)),
                     std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

}  // namespace

class Reporter::Sinks {
 public:
  Sinks(const OutputSection& output, std::string run, int64_t last_step,
        std::vector<FigureText> figures)
      : run_(std::move(run)),
        figures_(std::move(figures)),
        metrics_((cut_metrics(metrics_path(output), last_step), metrics_path(output))) {
    if (output.tensorboard) events_.emplace(output.dir + "/tensorboard", last_step);
  }
  // Every line says when it was written and by which run.
  void write(int64_t step, FigureValue object) {
    object["time"] = utc_now();
    object["run"] = run_;
    metrics_.append(object.dump() + "\n");
    if (!events_) return;
    const auto scalars = scalars_by_tag(object, figures_);
    if (!scalars.empty()) events_->scalars(step, scalars);
  }

 private:
  static std::string metrics_path(const OutputSection& output) {
    return output.dir + "/metrics.jsonl";
  }

  std::string run_;
  std::vector<FigureText> figures_;
  AppendFile metrics_;
  std::optional<EventFile> events_;
};

Reporter::Reporter(const Config& config, const ObjectiveFigures& figures, std::string run,
                   bool speaks, int64_t first_step, const Device& device,
                   const model::Decoder& decoder, int ranks)
    : config_(config),
      table_(step_figures(figures)),
      device_(device),
      decoder_(decoder),
      ranks_(ranks),
      work_(config, decoder.config()),
      last_(std::chrono::steady_clock::now()),
      begin_(last_),
      first_step_(first_step) {
  if (!speaks) return;
  std::vector<FigureText> texts(table_.begin(), table_.end());
  texts.insert(texts.end(), figures.of_evaluation.begin(), figures.of_evaluation.end());
  sinks_ = std::make_unique<Sinks>(config.output, std::move(run), first_step, std::move(texts));
}

Reporter::~Reporter() = default;

void Reporter::add(const StepResult& r) {
  since_.tokens += int64_t(r.sums.tokens);
  ++since_.steps;
  since_.loss_sums.resize(r.loss_sums.size(), 0.0);
  for (size_t i = 0; i < r.loss_sums.size(); ++i) since_.loss_sums[i] += r.loss_sums[i];
  const WorkAmounts amounts{.tokens = r.sums.tokens,
                            .labels = r.sums.labels,
                            .documents = double(r.all.documents),
                            .both_pairs = r.sums.full_pairs,
                            .selected_pairs = r.sums.selected_pairs};
  since_.done += work_.done(amounts);
  since_.dense_equivalent += work_.dense_equivalent(amounts, r.sums.full_pairs);
}

void Reporter::step(int64_t step, const StepResult& r, const router::SparsityObjective* objective,
                    std::optional<double> passes) {
  if (!sinks_) return;
  add(r);
  if (step % config_.log.every != 0 && step != config_.train.steps) return;
  const auto now = std::chrono::steady_clock::now();
  const double seconds = std::chrono::duration<double>(now - last_).count();
  StepReport report{.step = step,
                    .config = config_,
                    .result = r,
                    .objective = objective,
                    .passes = passes,
                    .seconds = seconds,
                    .steps = since_.steps,
                    .tokens = since_.tokens,
                    .loss_sums = since_.loss_sums,
                    .seconds_per_step = std::chrono::duration<double>(now - begin_).count() /
                                        double(step - first_step_),
                    .peak_bytes = device_.memory().peak_bytes,
                    .flops_done_fraction = {},
                    .dense_equivalent_tflops = {}};
  if (device_.kind() == DeviceKind::cuda && seconds > 0) {
    const double rank_seconds = seconds * ranks_;
    const double peak = device_.peak_flops(decoder_.options().dtype);
    if (peak > 0) report.flops_done_fraction = since_.done / (rank_seconds * peak);
    report.dense_equivalent_tflops = since_.dense_equivalent / rank_seconds / 1e12;
  }
  log_info("{}", progress_line(table_, report));
  sinks_->write(step, metrics_object(table_, report));
  last_ = now;
  since_ = {};
}

void Reporter::evaluation(int64_t step, const Workload::Evaluated& result) {
  if (!sinks_) return;
  log_info("eval at step {} | {}", step, result.line);
  FigureValue object = {{"step", step}, {"event", "eval"}};
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
