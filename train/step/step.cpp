#include "train/step/step.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/trace.h"
#include "router/tau.h"
#include "train/step/learning_rates.h"

namespace elastron::train {

StepRunner::StepRunner(const Config& config, parallel::Mesh& mesh, Device& device,
                       model::Decoder& decoder, std::vector<router::RoutedLayer>& routed,
                       TrainingLoss& loss, router::SparsityObjective* objective,
                       Optimizer& optimizer)
    : config_(config),
      mesh_(mesh),
      device_(device),
      decoder_(decoder),
      routed_(routed),
      loss_(loss),
      objective_(objective),
      optimizer_(optimizer),
      trains_decoder_(
          std::ranges::any_of(optimizer.parameters(),
                              [](const Parameter* p) { return p->group != ParameterGroup::head; })),
      reducer_(optimizer.parameters(), mesh, config.parallel.bucket_bytes) {}

void StepRunner::micro_batch(int64_t step, const data::PackedBatch& batch, const Scales& scales,
                             bool last, StepFigures& figures) {
  const TraceRange range("micro batch");
  const LocalBatch local(batch, config_, mesh_, device_, step,
                         router::gate_temperature(config_.router, step, config_.train.steps),
                         objective_ != nullptr);
  const auto on_gradient = [&](Parameter& p) {
    if (last) reducer_.ready(p);
  };

  model::SavedForward saved;
  model::RoutedHeads heads;
  Tensor hidden = decoder_.forward(local.device(), local.router(), routed_,
                                   {.saved = trains_decoder_ ? &saved : nullptr, .heads = &heads});
  auto loss = loss_.evaluate(hidden, local.device(), scales.loss, trains_decoder_, on_gradient);
  hidden = {};

  StepFigures::OnDevice numbers{.loss = std::move(loss.device_sum), .objective = {}};
  const auto objective = sparsity_objective(batch, heads, scales.sparsity);
  if (objective) numbers.objective = objective->value;
  if (objective_ != nullptr) {
    for (const auto& layer : saved.layers) {
      numbers.probabilities.push_back(layer.attention.route.probability);
    }
  }
  figures.add({.batch = &batch,
               .labels = loss_.labels(batch),
               .loss = loss.sum,
               .loss_scale = scales.loss,
               .objective_scale = scales.sparsity,
               .rows = local.rows()},
              numbers, heads, local.exchange());
  if (trains_decoder_) {
    // The same gradient to the gates of every layer.
    const auto d_gate =
        objective ? std::vector(saved.layers.size(), objective->d_gate) : std::vector<Tensor>();
    decoder_.backward(std::move(loss.d_hidden), local.device(), local.router(), routed_, saved,
                      d_gate, on_gradient);
  }
  // By now the device has enough to do.
  figures.read(/*but=*/1);
}

std::optional<ops::SparsityObjectiveOutput> StepRunner::sparsity_objective(
    const data::PackedBatch& batch, const model::RoutedHeads& heads, double scale) {
  // The attention's gradient to a gate is the sum of what the context group's ranks have; so is
  // this one, all of it on one rank.
  if (objective_ == nullptr || !trains_decoder_ || mesh_.context().rank() != 0) return {};
  const TraceRange range("router");
  const double gates = double(decoder_.config().num_layers * decoder_.config().kv_heads);
  Tensor closed = ops::count_closed_gates(heads.gates);
  mesh_.tensor().all_reduce(closed, parallel::ReduceOp::sum).wait();
  return objective_->evaluate(batch.task_ids,
                              {.closed = closed, .of = gates, .heads = heads.gates.front().size(1)},
                              batch.pack_ends, {.lambdas = scale, .gates = -scale});
}

double StepRunner::loss_divisor(int64_t own_terms, int64_t step_terms,
                                int64_t micro_batches) const {
  switch (config_.train.loss.norm) {
    case LossNorm::global: return double(step_terms);
    case LossNorm::per_rank: return double(own_terms) * double(micro_batches);
    case LossNorm::token_scaled:
      // The running mean is of the whole run, not of a rank's calls: the same on any layout.
      return double(counters_.labels) / double(counters_.micro_batches) * double(micro_batches);
  }
  throw LogicError("unknown loss norm");
}

StepResult StepRunner::run(int64_t step, MicroBatches& micro_batches, const StepTotals& totals,
                           const std::function<void()>& beat) {
  counters_.labels += totals.terms;
  counters_.micro_batches += totals.micro_batches;
  const double accumulation =
      config_.train.accum == Accumulation::sum ? double(micro_batches.size()) : 1.0;

  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  reducer_.zero();
  loss_.reset();
  StepFigures figures(decoder_.config(), config_.router, mesh_);
  for (int64_t i = 0; i < micro_batches.size(); ++i) {
    beat();
    const auto& batch = micro_batches[i];
    // One divisor for the whole step, so that the loss does not depend on how labels are spread
    // over micro batches and ranks.
    const double divisor = loss_divisor(loss_.terms(batch), totals.terms, totals.micro_batches);
    const Scales scales{.loss = divisor > 0 ? accumulation / divisor : 0.0,
                        .sparsity = accumulation / double(totals.packs)};
    micro_batch(step, batch, scales, i + 1 == micro_batches.size(), figures);
  }
  figures.read(/*but=*/0);  // the device has done its part
  const double own_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  reducer_.finish();

  StepResult result;
  reduce(figures, accumulation, result);
  result.imbalance = imbalance(own_seconds);
  result.grad_norm = reducer_.norm();
  const double scheduled = router::gate_temperature(config_.router, step, config_.train.steps);
  for (const auto& layer : routed_) result.tau += layer.temperature(scheduled);
  result.tau /= double(routed_.size());
  result.lr = learning_rates(config_.train, step);
  update(result);
  return result;
}

void StepRunner::reduce(StepFigures& figures, double accumulation, StepResult& result) {
  const auto own = numbers(figures.sums());
  result.experts = figures.expert_loads().balance(mesh_.grad());
  std::vector<double> totals(own.begin(), own.end());
  const auto of_loss = loss_.sums();
  totals.insert(totals.end(), of_loss.begin(), of_loss.end());
  mesh_.grad().all_reduce_host(std::span<double>(totals), parallel::ReduceOp::sum);

  result.sums = from_numbers<StepSums>(totals);
  result.loss_sums.assign(totals.begin() + own.size(), totals.end());
  result.sums.data_loss /= accumulation;
  result.sums.sparsity_loss /= accumulation;
  result.loss = result.sums.data_loss + result.sums.sparsity_loss;
  DocumentSums all;
  for (size_t t = 0; t < result.task.size(); ++t) {
    result.task[t] = result.sums.task[t].means();
    add(all, result.sums.task[t]);
  }
  result.all = all.means();
}

double StepRunner::imbalance(double own_seconds) {
  double most[] = {own_seconds}, sum[] = {own_seconds};
  mesh_.data().all_reduce_host(most, parallel::ReduceOp::max);
  mesh_.data().all_reduce_host(sum, parallel::ReduceOp::sum);
  return sum[0] > 0 ? most[0] * mesh_.data().size() / sum[0] : 1.0;
}

void StepRunner::update(StepResult& result) {
  // Loss and norm are the same bits on every rank, so every rank takes the same branch.
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    result.skipped = true;
    return;
  }
  const TraceRange range("optimizer");
  optimizer_.step(counters_.updates + 1, result.lr,
                  clip_factor(result.grad_norm, config_.train.clip));
  ++counters_.updates;
  if (objective_ != nullptr) objective_->clamp();
}

}  // namespace elastron::train
