#include "train/step/step.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/trace.h"
#include "ops/elementwise.h"
#include "router/tau.h"
#include "train/step/attention_pairs.h"
#include "train/step/head_counts.h"
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

namespace {

// Mean binary entropy of the gates' probability per document, over layers and heads, nats.
std::vector<double> gate_entropy(const std::vector<model::SavedLayer>& layers, int64_t kv_heads,
                                 parallel::Communicator& tensor) {
  const int64_t sequences = layers.front().attention.route.gate.size(0);
  std::vector<double> sum(size_t(sequences), 0.0);
  std::vector<Tensor> probabilities;
  for (const auto& layer : layers) probabilities.push_back(layer.attention.route.probability);
  const int64_t heads = probabilities.front().size(1);
  const auto values = ops::cast(Tensor::stack(probabilities), DType::f64).to_vector<double>();
  for (size_t i = 0; i < values.size(); ++i) {
    const double v = values[i];
    const double h = (v > 0 ? -v * std::log(v) : 0) + (v < 1 ? -(1 - v) * std::log1p(-v) : 0);
    sum[i / size_t(heads) % size_t(sequences)] += h;
  }
  tensor.all_reduce_host(std::span<double>(sum), parallel::ReduceOp::sum);
  for (double& v : sum) v /= double(int64_t(layers.size()) * kv_heads);
  return sum;
}

// The same gradient to the gates of every layer: `d` [D, K] as `dtype`.
std::vector<Tensor> for_all_layers(const std::vector<double>& d, const Shape& shape, DType dtype,
                                   size_t layers, Device& device) {
  const Tensor tensor = dtype == DType::f64
                            ? Tensor::from(d, shape, device)
                            : Tensor::from(std::vector<float>(d.begin(), d.end()), shape, device);
  return std::vector<Tensor>(layers, tensor);
}

}  // namespace

void StepRunner::micro_batch(int64_t step, const data::PackedBatch& batch, const Scales& scales,
                             bool last, StepSums& sums) {
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
  sums.data_loss += loss.sum * scales.loss;

  const auto figures = document_figures(local, heads, saved.layers);
  if (counts_batch()) count(batch, figures, sums);
  if (!trains_decoder_) return;

  const auto d_gate = objective(batch, figures, scales.sparsity, saved.layers, sums);
  decoder_.backward(std::move(loss.d_hidden), local.device(), local.router(), routed_, saved,
                    d_gate, on_gradient);
}

std::vector<DocumentFigures> StepRunner::document_figures(
    const LocalBatch& local, const model::RoutedHeads& heads,
    const std::vector<model::SavedLayer>& layers) {
  const model::ModelConfig& m = decoder_.config();
  const data::PackedBatch& batch = local.whole();
  const HeadCounts counts = count_heads(
      heads, batch, local.exchange(), config_.router.head_pattern(), m.q_heads / m.kv_heads, mesh_);
  std::vector<double> entropy(size_t(batch.documents()), 0.0);
  if (objective_ != nullptr) entropy = gate_entropy(layers, m.kv_heads, mesh_.tensor());
  const auto work = document_work(batch);
  std::vector<DocumentFigures> figures;
  for (size_t i = 0; i < work.size(); ++i) {
    figures.push_back({router::sparsity_figures(counts.documents[i], m.num_layers, m.kv_heads,
                                                work[i].longest, config_.router.head_pattern()),
                       entropy[i]});
  }
  return figures;
}

void StepRunner::count(const data::PackedBatch& batch, const std::vector<DocumentFigures>& figures,
                       StepSums& sums) const {
  sums.tokens += double(batch.tokens());
  sums.tokens_apart += double(batch.tokens_apart());
  sums.labels += double(loss_.labels(batch));
  const auto work = document_work(batch);
  for (size_t i = 0; i < figures.size(); ++i) {
    sums.full_pairs += work[i].pairs;
    sums.selected_pairs += work[i].pairs * (1 - figures[i].esr_all_layers_area);
    sums.task[size_t(batch.task_ids[i])].count(figures[i]);
  }
}

std::vector<Tensor> StepRunner::objective(const data::PackedBatch& batch,
                                          const std::vector<DocumentFigures>& figures, double scale,
                                          const std::vector<model::SavedLayer>& layers,
                                          StepSums& sums) {
  // The attention's gradient to a gate is the sum of what the context group's ranks have; so is
  // this one, all of it on one rank.
  if (objective_ == nullptr || !counts_batch()) return {};
  std::vector<double> msr;
  for (const DocumentFigures& f : figures) msr.push_back(f.msr);
  const auto value = objective_->evaluate(batch.task_ids, msr, batch.pack_ends, scale);
  sums.sparsity_loss += value.value * scale;
  // It is the same for every layer and head of a document.
  const model::ModelConfig& m = decoder_.config();
  const Tensor& probability = layers.front().attention.route.probability;
  const int64_t kv_heads = probability.size(1);
  std::vector<double> d(size_t(batch.documents() * kv_heads));
  for (size_t i = 0; i < d.size(); ++i) {
    d[i] = -scale * value.d_msr[i / size_t(kv_heads)] / double(m.num_layers * m.kv_heads);
  }
  return for_all_layers(d, {batch.documents(), kv_heads}, probability.dtype(), layers.size(),
                        device_);
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

StepRunner::Terms StepRunner::count_terms(const std::vector<data::PackedBatch>& micro_batches) {
  int64_t counts[] = {0, 0};
  for (const auto& batch : micro_batches) {
    counts[0] += loss_.terms(batch);
    counts[1] += batch.packs();
  }
  mesh_.data().all_reduce_host(counts, parallel::ReduceOp::sum);
  return {counts[0], counts[1]};
}

StepResult StepRunner::run(int64_t step, const std::vector<data::PackedBatch>& micro_batches,
                           int64_t global_micro_batches, const std::function<void()>& beat) {
  // One divisor for the whole step, so that the loss does not depend on how labels are spread over
  // micro batches and ranks.
  const Terms terms = count_terms(micro_batches);
  counters_.labels += terms.losses;
  counters_.micro_batches += global_micro_batches;
  const double accumulation =
      config_.train.accum == Accumulation::sum ? double(micro_batches.size()) : 1.0;

  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  reducer_.zero();
  loss_.reset();
  StepSums sums;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    beat();
    const auto& batch = micro_batches[i];
    const double divisor = loss_divisor(loss_.terms(batch), terms.losses, global_micro_batches);
    const Scales scales{.loss = divisor > 0 ? accumulation / divisor : 0.0,
                        .sparsity = accumulation / double(terms.packs)};
    micro_batch(step, batch, scales, i + 1 == micro_batches.size(), sums);
  }
  device_.synchronize();
  const double own_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  reducer_.finish();

  StepResult result;
  reduce(sums, accumulation, result);
  result.imbalance = imbalance(own_seconds);
  result.grad_norm = reducer_.norm();
  const double scheduled = router::gate_temperature(config_.router, step, config_.train.steps);
  for (const auto& layer : routed_) result.tau += layer.temperature(scheduled);
  result.tau /= double(routed_.size());
  result.lr = learning_rates(config_.train, step);
  update(result);
  return result;
}

void StepRunner::reduce(StepSums sums, double accumulation, StepResult& result) {
  const auto own = numbers(sums);
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
