#include "train/step/step_batches.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <span>
#include <utility>

#include "core/error.h"
#include "data/balance.h"
#include "router/objective.h"
#include "train/plan/planned_step.h"
#include "train/step/attention_pairs.h"
#include "train/workload/registry.h"

namespace elastron::train {

MicroBatchCost::MicroBatchCost(const Config& config, const model::ModelConfig& model)
    : config_(config), work_(config, model) {
  if (config.has_routers()) {
    targets_ = router::task_targets(config.router.reg, data::kTaskNames);
  }
}

double MicroBatchCost::expected_msr(int64_t task) const {
  if (!targets_.empty()) return targets_[size_t(task)];
  return objective_of(config_).expected_sparsity(config_);
}

double MicroBatchCost::operator()(const data::PackedBatch& batch) const {
  WorkAmounts amounts{.tokens = double(batch.tokens()),
                      .labels = double(batch.labels()),
                      .documents = double(batch.documents())};
  const auto work = document_work(batch);
  for (size_t d = 0; d < work.size(); ++d) {
    const auto shares = pair_shares(config_.router, work[d].longest,
                                    expected_msr(batch.task_ids[d]), Expected{}.xattention);
    amounts.both_pairs += work[d].pairs * shares.both;
    amounts.selected_pairs += work[d].pairs * shares.selected;
  }
  return work_.done(amounts);
}

std::vector<std::vector<int64_t>> deal(std::span<const double> costs, int ranks, Balance balance) {
  const auto count = int64_t(costs.size());
  return balance == Balance::cost && count % ranks == 0 ? data::balance(costs, ranks)
                                                        : data::round_robin(count, ranks);
}

StepBatches::StepBatches(const Config& config, const data::BatchSource& source, MicroBatchCost cost,
                         const TrainingLoss& loss, parallel::Communicator& data)
    : config_(config),
      source_(source),
      cost_(std::move(cost)),
      loss_(loss),
      data_(data),
      maker_(1, [this](const std::vector<int64_t>& packs) { return make(packs); }) {}

StepBatches::Made StepBatches::make(const std::vector<int64_t>& packs) const {
  Made made{.batch = source_.batch(packs)};
  made.cost = cost_(made.batch);
  made.terms = loss_.terms(made.batch);
  return made;
}

void StepBatches::begin(const std::vector<int64_t>& packs, int64_t index) {
  const int64_t size = config_.train.micro_batch;
  const auto first = packs.begin() + index * size;
  maker_.give({first, first + size});
}

std::vector<int64_t> StepBatches::share(const std::vector<int64_t>& packs) const {
  const auto micro_batches = int64_t(packs.size()) / config_.train.micro_batch;
  return data::round_robin(micro_batches, data_.size())[size_t(data_.rank())];
}

void StepBatches::prepare(const std::vector<int64_t>& packs) {
  ELASTRON_CHECK(!prepared_, "one step ahead at most");
  for (const int64_t index : share(packs)) begin(packs, index);
  prepared_ = packs;
}

StepBatches::Own StepBatches::of_step(const std::vector<int64_t>& packs) {
  if (!prepared_) prepare(packs);
  ELASTRON_CHECK(packs == *prepared_, "another step was prepared");
  prepared_.reset();
  // Costs, terms, and how many documents there are, follow from what only a pack itself tells: each
  // rank has some made, and keeps those that it is dealt.
  const auto turns = share(packs);
  ELASTRON_CHECK(maker_.pending() == turns.size(), "the step before left micro batches");
  const auto count = packs.size() / size_t(config_.train.micro_batch);
  std::map<int64_t, data::PackedBatch> made;
  std::vector<double> costs(count, 0.0);
  std::vector<int64_t> counts(2 * count, 0);
  const auto documents = std::span(counts).first(count), terms = std::span(counts).last(count);
  for (const int64_t index : turns) {
    Made one = maker_.take();
    costs[size_t(index)] = one.cost;
    documents[size_t(index)] = one.batch.documents();
    terms[size_t(index)] = one.terms;
    made[index] = std::move(one.batch);
  }
  data_.all_reduce_host(std::span<double>(costs), parallel::ReduceOp::sum);
  data_.all_reduce_host(std::span<int64_t>(counts), parallel::ReduceOp::sum);

  const auto dealt = deal(costs, data_.size(), config_.parallel.balance);
  const auto& own = dealt[size_t(data_.rank())];
  std::erase_if(made, [&](const auto& one) { return !std::ranges::binary_search(own, one.first); });
  std::vector<int64_t> before(count, 0);  // documents
  std::exclusive_scan(documents.begin(), documents.end(), before.begin(), int64_t(0));
  for (const int64_t index : own) {
    if (!made.contains(index)) begin(packs, index);
  }
  auto next = [this, own, before = std::move(before), made = std::move(made)](int64_t i) mutable {
    const int64_t index = own[size_t(i)];
    const auto at = made.find(index);
    data::PackedBatch batch = at != made.end() ? std::move(at->second) : maker_.take().batch;
    batch.place_in_step(before[size_t(index)]);
    return batch;
  };
  return {.batches = {int64_t(own.size()), std::move(next)},
          .totals = {.micro_batches = int64_t(count),
                     .terms = std::reduce(terms.begin(), terms.end()),
                     .packs = int64_t(packs.size())},
          .imbalance = data::imbalance(costs, dealt)};
}

}  // namespace elastron::train
