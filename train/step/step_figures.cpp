#include "train/step/step_figures.h"

#include <cmath>

#include "core/trace.h"
#include "train/step/attention_pairs.h"

namespace elastron::train {

namespace {

double binary_entropy(double p) {
  return (p > 0 ? -p * std::log(p) : 0) + (p < 1 ? -(1 - p) * std::log1p(-p) : 0);
}

}  // namespace

void StepFigures::add(const MicroBatch& micro_batch, const OnDevice& on_device,
                      const model::RoutedHeads& heads, const model::AttentionExchange& exchange) {
  std::vector<Tensor> others;
  for (const Tensor* t : {&on_device.loss, &on_device.objective}) {
    if (t->defined()) others.push_back(*t);
  }
  others.insert(others.end(), on_device.probabilities.begin(), on_device.probabilities.end());
  // Experts have rows of padding too, which are counted out again.
  bool padded = false;
  for (const model::ExpertLoad& load : heads.experts) {
    const int64_t rows = load.chosen.size(0);
    padded = rows > micro_batch.rows;
    others.push_back(load.bounds);
    if (padded) others.push_back(load.chosen.slice(0, micro_batch.rows, rows));
  }
  pending_.push_back({.micro_batch = micro_batch,
                      .loss = on_device.loss.defined(),
                      .objective = on_device.objective.defined(),
                      .probabilities = on_device.probabilities.size(),
                      .layers_with_experts = heads.experts.size(),
                      .padded = padded,
                      .reading = HeadReading(heads, *micro_batch.batch, exchange, others)});
}

void StepFigures::read(size_t but) {
  if (pending_.size() <= but) return;
  const TraceRange range("figures");
  while (pending_.size() > but) {
    read(pending_.front());
    pending_.erase(pending_.begin());
  }
}

void StepFigures::read(Pending& p) {
  const MicroBatch& micro_batch = p.micro_batch;
  const data::PackedBatch& batch = *micro_batch.batch;
  size_t next = 0;
  double loss = micro_batch.loss;
  if (p.loss) loss += p.reading.other(next++).front();
  sums_.data_loss += loss * micro_batch.loss_scale;
  if (p.objective) {
    sums_.sparsity_loss += p.reading.other(next++).front() * micro_batch.objective_scale;
  }

  const HeadNumbers numbers = p.reading.numbers();
  const auto full = full_tiles(batch, routing_.head_pattern(), model_.q_heads / model_.kv_heads);
  std::vector<double> entropy(full.size(), 0.0);
  for (size_t layer = 0; layer < p.probabilities; ++layer) {
    const auto probabilities = p.reading.other(next++);
    // Of a layer that decides as one every head has the decision's.
    const size_t decisions = probabilities.size() / full.size();
    const double heads = double(model_.kv_heads / mesh_.tensor().size()) / double(decisions);
    for (size_t i = 0; i < probabilities.size(); ++i) {
      entropy[i / decisions] += heads * binary_entropy(probabilities[i]);
    }
  }
  for (size_t layer = 0; layer < p.layers_with_experts; ++layer) {
    expert_loads_.add(layer, p.reading.whole_numbers(next++));
    if (p.padded) expert_loads_.take_out(layer, p.reading.whole_numbers(next++));
  }
  const auto documents = document_heads(numbers, full);
  for (size_t d = 0; d < documents.size(); ++d) {
    documents_.push_back({&batch, int64_t(d), documents[d], entropy[d]});
  }
  if (!counts_batches()) return;
  sums_.tokens += double(batch.tokens());
  sums_.tokens_apart += double(batch.tokens_apart());
  sums_.labels += double(micro_batch.labels);
}

// Ranks of the context group counted tiles of their own rows; ranks of the tensor group have some
// of the heads each. Counts are exact in double.
void StepFigures::reduce_documents() {
  std::vector<int64_t> visited;
  for (const Document& d : documents_) {
    visited.insert(visited.end(), {d.heads.visited, d.heads.visited_last});
  }
  mesh_.context().all_reduce_host(std::span<int64_t>(visited), parallel::ReduceOp::sum);
  std::vector<double> numbers;
  for (size_t i = 0; i < documents_.size(); ++i) {
    const Document& d = documents_[i];
    numbers.insert(numbers.end(), {double(d.heads.sparse), double(d.heads.sparse_last),
                                   double(visited[2 * i]), double(visited[2 * i + 1]), d.entropy});
  }
  mesh_.tensor().all_reduce_host(std::span<double>(numbers), parallel::ReduceOp::sum);
  auto next = numbers.begin();
  for (Document& d : documents_) {
    for (int64_t* count :
         {&d.heads.sparse, &d.heads.sparse_last, &d.heads.visited, &d.heads.visited_last}) {
      *count = int64_t(*next++);
    }
    d.entropy = *next++;
  }
}

void StepFigures::count(StepSums& sums) const {
  const double gates = double(model_.num_layers * model_.kv_heads);
  std::vector<DocumentWork> work;
  for (const Document& d : documents_) {
    if (d.index == 0) work = document_work(*d.batch);
    const DocumentWork& of = work[size_t(d.index)];
    const DocumentFigures figures = {
        router::sparsity_figures(d.heads, model_.num_layers, model_.kv_heads, of.longest,
                                 routing_.head_pattern()),
        d.entropy / gates};
    sums.full_pairs += of.pairs;
    sums.selected_pairs += of.pairs * (1 - figures.esr_all_layers_area);
    sums.task[size_t(d.batch->task_ids[size_t(d.index)])].count(figures);
  }
}

StepSums StepFigures::sums() {
  read(0);
  reduce_documents();
  if (counts_batches()) count(sums_);
  return sums_;
}

}  // namespace elastron::train
