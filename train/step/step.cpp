#include "train/step/step.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/trace.h"
#include "ops/elementwise.h"
#include "router/tau.h"
#include "train/step/attention_pairs.h"
#include "train/step/learning_rates.h"
#include "train/step/local_batch.h"

namespace elastron::train {

// What micro batches of this rank add up to; summed over the data ranks at the end of the step.
struct StepRunner::Sums {
  // Per task: documents, msr, three ESR figures, entropy.
  static constexpr size_t kPerTask = 7;
  std::array<double, data::kTaskCount * kPerTask> task{};
  double data_loss = 0;      // already scaled: sums to the step's
  double sparsity_loss = 0;  // likewise
  double tokens = 0, tokens_apart = 0, labels = 0;
  double full_pairs = 0, selected_pairs = 0;
};

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

HeadCounts count_heads(const model::RoutedHeads& routed, const data::PackedBatch& batch,
                       const model::AttentionExchange& exchange, const ops::HeadPattern& pattern,
                       int64_t group, parallel::Mesh& mesh) {
  ELASTRON_CHECK(!routed.gates.empty(), "no layers");
  const int64_t layers = int64_t(routed.gates.size()), documents = batch.documents();
  const int64_t heads = routed.gates.front().size(1);
  // One copy to the host each.
  const auto z = Tensor::stack(routed.gates).to_vector<uint8_t>();
  const auto tiles = Tensor::stack(routed.visited).to_vector<int64_t>();
  // By document, of all rows and heads.
  std::vector<int64_t> visited(size_t(layers * documents * heads), 0);
  const auto& document_of = exchange.documents();
  const int64_t first = exchange.first_kv_head(heads), own = routed.visited.front().size(1);
  size_t next = 0;
  for (int64_t l = 0; l < layers; ++l) {
    for (const int32_t document : document_of) {
      for (int64_t h = 0; h < own; ++h) {
        visited[size_t((l * documents + document) * heads + first + h)] += tiles[next++];
      }
    }
  }
  mesh.context().all_reduce_host(std::span<int64_t>(visited), parallel::ReduceOp::sum);

  constexpr size_t kSums = 4;
  std::vector<int64_t> sums(size_t(documents) * kSums, 0), dense(size_t(documents), 0);
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t length = batch.length(s);
    dense[size_t(batch.document(s))] +=
        ops::dense_tiles(pattern, group, length, batch.offset(s) + length);
  }
  HeadCounts counts;
  for (int64_t l = 0; l < layers; ++l) {
    const bool last = l + 1 == layers;
    for (int64_t h = 0; h < heads; ++h) {
      double skipped = 0;
      for (int64_t d = 0; d < documents; ++d) {
        const size_t at = size_t((l * documents + d) * heads + h);
        const int64_t sparse = z[at] == 0 ? 1 : 0;
        int64_t* sum = &sums[size_t(d) * kSums];
        sum[0] += sparse;
        sum[2] += visited[at];
        if (last) sum[1] += sparse;
        if (last) sum[3] += visited[at];
        if (dense[size_t(d)] > 0) skipped += 1.0 - double(visited[at]) / double(dense[size_t(d)]);
      }
      counts.skipped.push_back(skipped);
    }
  }
  mesh.tensor().all_reduce_host(std::span<int64_t>(sums), parallel::ReduceOp::sum);
  for (int64_t d = 0; d < documents; ++d) {
    const int64_t* sum = &sums[size_t(d) * kSums];
    counts.documents.push_back({.sparse = sum[0],
                                .sparse_last = sum[1],
                                .visited = sum[2],
                                .visited_last = sum[3],
                                .dense = dense[size_t(d)]});
  }
  return counts;
}

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

}  // namespace

void StepRunner::micro_batch(int64_t step, const data::PackedBatch& batch, double loss_scale,
                             double objective_scale, bool last, Sums& sums) {
  const TraceRange range("micro batch");
  const model::ModelConfig& m = decoder_.config();
  const LocalBatch local(batch, config_, mesh_, device_, step,
                         router::gate_temperature(config_.router, step, config_.train.steps),
                         objective_ != nullptr);
  // What is the whole batch's is counted by one rank of the context group.
  const bool counts_batch = mesh_.context().rank() == 0;
  const auto on_gradient = [&](Parameter& p) {
    if (last) reducer_.ready(p);
  };

  model::SavedForward saved;
  model::RoutedHeads heads;
  Tensor hidden = decoder_.forward(local.device(), local.router(), routed_,
                                   {.saved = trains_decoder_ ? &saved : nullptr, .heads = &heads});
  auto loss = loss_.evaluate(hidden, local.device(), loss_scale, trains_decoder_, on_gradient);
  hidden = {};
  sums.data_loss += loss.sum * loss_scale;
  if (counts_batch) {
    sums.tokens += double(batch.tokens());
    sums.tokens_apart += double(batch.tokens_apart());
    sums.labels += double(loss_.labels(batch));
  }

  const HeadCounts counts = count_heads(
      heads, batch, local.exchange(), config_.router.head_pattern(), m.q_heads / m.kv_heads, mesh_);
  std::vector<double> msr, entropy(size_t(batch.documents()), 0.0);
  if (objective_ != nullptr) entropy = gate_entropy(saved.layers, m.kv_heads, mesh_.tensor());
  const auto work = document_work(batch);
  for (size_t i = 0; i < work.size(); ++i) {
    const auto figures = router::sparsity_figures(counts.documents[i], m.num_layers, m.kv_heads,
                                                  work[i].longest, config_.router.head_pattern());
    msr.push_back(figures.msr);
    if (!counts_batch) continue;
    sums.full_pairs += work[i].pairs;
    sums.selected_pairs += work[i].pairs * (1 - figures.esr_all_layers_area);
    double* t = &sums.task[size_t(batch.task_ids[i]) * Sums::kPerTask];
    t[0] += 1;
    t[1] += figures.msr;
    t[2] += figures.esr_last_layer_last_query;
    t[3] += figures.esr_all_layers_last_query;
    t[4] += figures.esr_all_layers_area;
    t[5] += figures.esr_tiles;
    t[6] += entropy[i];
  }
  if (!trains_decoder_) return;

  // The objective's gradient to a gate is the same for every layer and head of a document. The
  // attention's is the sum of what the context group's ranks have; so is this one, all on one rank.
  std::vector<Tensor> d_gate;
  if (objective_ != nullptr && counts_batch) {
    const auto value = objective_->evaluate(batch.task_ids, msr, batch.pack_ends, objective_scale);
    sums.sparsity_loss += value.value * objective_scale;
    const int64_t kv_heads = heads.gates.front().size(1);
    std::vector<double> d(size_t(batch.documents() * kv_heads));
    for (size_t i = 0; i < d.size(); ++i) {
      d[i] =
          -objective_scale * value.d_msr[i / size_t(kv_heads)] / double(m.num_layers * m.kv_heads);
    }
    const DType dtype = saved.layers.front().attention.route.probability.dtype();
    const Shape shape{batch.documents(), kv_heads};
    const Tensor tensor =
        dtype == DType::f64 ? Tensor::from(d, shape, device_)
                            : Tensor::from(std::vector<float>(d.begin(), d.end()), shape, device_);
    d_gate.assign(saved.layers.size(), tensor);
  }

  decoder_.backward(std::move(loss.d_hidden), local.device(), local.router(), routed_, saved,
                    d_gate, on_gradient);
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

StepResult StepRunner::run(int64_t step, const std::vector<data::PackedBatch>& micro_batches,
                           int64_t global_micro_batches, const std::function<void()>& beat) {
  // One divisor for the whole step, so that the loss does not depend on how labels are spread over
  // micro batches and ranks.
  int64_t counts[] = {0, 0};
  for (const auto& batch : micro_batches) {
    counts[0] += loss_.terms(batch);
    counts[1] += batch.packs();
  }
  mesh_.data().all_reduce_host(counts, parallel::ReduceOp::sum);
  const int64_t terms = counts[0], packs = counts[1];
  counters_.labels += terms;
  counters_.micro_batches += global_micro_batches;
  const double accumulation =
      config_.train.accum == Accumulation::sum ? double(micro_batches.size()) : 1.0;

  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  reducer_.zero();
  std::ranges::fill(loss_.sums(), 0.0);
  Sums sums;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    beat();
    const auto& batch = micro_batches[i];
    const double divisor = loss_divisor(loss_.terms(batch), terms, global_micro_batches);
    const double loss_scale = divisor > 0 ? accumulation / divisor : 0.0;
    micro_batch(step, batch, loss_scale, accumulation / double(packs),
                i + 1 == micro_batches.size(), sums);
  }
  device_.synchronize();
  const double own_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  reducer_.finish();

  StepResult result;
  std::vector<double> totals(sums.task.begin(), sums.task.end());
  totals.insert(totals.end(), {sums.data_loss, sums.sparsity_loss, sums.tokens, sums.tokens_apart,
                               sums.labels, sums.full_pairs, sums.selected_pairs});
  totals.insert(totals.end(), loss_.sums().begin(), loss_.sums().end());
  mesh_.grad().all_reduce_host(std::span<double>(totals), parallel::ReduceOp::sum);
  auto next = totals.begin() + std::ptrdiff_t(sums.task.size());
  result.data_loss = *next++ / accumulation;
  result.sparsity_loss = *next++ / accumulation;
  result.loss = result.data_loss + result.sparsity_loss;
  result.tokens = int64_t(*next++);
  result.tokens_apart = int64_t(*next++);
  result.labels = int64_t(*next++);
  result.full_pairs = *next++;
  result.selected_pairs = *next++;
  result.loss_sums.assign(next, totals.end());
  const auto add = [](TaskFigures& f, const double* t) {
    f.documents += int64_t(t[0]);
    f.msr += t[1];
    f.esr_last_layer_last_query += t[2];
    f.esr_all_layers_last_query += t[3];
    f.esr_all_layers_area += t[4];
    f.esr_tiles += t[5];
    f.entropy += t[6];
  };
  const auto finish = [](TaskFigures& f) {
    if (f.documents == 0) return;
    for (double* v : {&f.msr, &f.esr_last_layer_last_query, &f.esr_all_layers_last_query,
                      &f.esr_all_layers_area, &f.esr_tiles, &f.entropy}) {
      *v /= double(f.documents);
    }
  };
  for (size_t t = 0; t < size_t(data::kTaskCount); ++t) {
    add(result.task[t], &totals[t * Sums::kPerTask]);
    add(result.all, &totals[t * Sums::kPerTask]);
    finish(result.task[t]);
  }
  finish(result.all);
  result.documents = result.all.documents;

  double most[] = {own_seconds}, sum[] = {own_seconds};
  mesh_.data().all_reduce_host(most, parallel::ReduceOp::max);
  mesh_.data().all_reduce_host(sum, parallel::ReduceOp::sum);
  result.imbalance = sum[0] > 0 ? most[0] * mesh_.data().size() / sum[0] : 1.0;

  result.grad_norm = reducer_.norm();
  const double scheduled = router::gate_temperature(config_.router, step, config_.train.steps);
  for (const auto& layer : routed_) result.tau += layer.temperature(scheduled);
  result.tau /= double(routed_.size());
  result.lr = learning_rates(config_.train, step);

  // Loss and norm are the same bits on every rank, so every rank takes the same branch.
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    result.skipped = true;
    return result;
  }
  const TraceRange range("optimizer");
  optimizer_.step(counters_.updates + 1, result.lr,
                  clip_factor(result.grad_norm, config_.train.clip));
  ++counters_.updates;
  if (objective_ != nullptr) objective_->clamp();
  return result;
}

}  // namespace elastron::train
