#include "train/step/step_batches.h"

#include <map>
#include <numeric>
#include <span>

#include "data/balance.h"
#include "router/objective.h"
#include "train/plan/planned_step.h"
#include "train/step/attention_pairs.h"

namespace elastron::train {

MicroBatchCost::MicroBatchCost(const Config& config, const model::ModelConfig& model)
    : config_(config), work_(config, model) {
  if (config.has_routers()) {
    targets_ = router::task_targets(config.router.reg, data::kTaskNames);
  }
}

double MicroBatchCost::expected_msr(int64_t task) const {
  if (!targets_.empty()) return targets_[size_t(task)];
  const RandomGateSection& random = config_.train.random_gates;
  return config_.train.objective == Objective::pretrain ? random.share * random.sparse : 0;
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
                         parallel::Communicator& data)
    : config_(config), source_(source), cost_(std::move(cost)), data_(data) {}

StepBatches::Own StepBatches::of_step(const std::vector<int64_t>& packs) const {
  const auto size = size_t(config_.train.micro_batch);
  const auto micro_batches = int64_t(packs.size() / size);
  const auto make = [&](int64_t index) {
    return source_.batch(std::span(packs).subspan(size_t(index) * size, size));
  };
  auto dealt = data::round_robin(micro_batches, data_.size());
  // Costs, and how many documents there are, follow from what only a pack itself tells: each rank
  // makes some, and keeps those that it is dealt.
  std::map<int64_t, data::PackedBatch> made;
  std::vector<double> costs(size_t(micro_batches), 0.0);
  std::vector<int64_t> documents(size_t(micro_batches), 0);
  for (const int64_t index : dealt[size_t(data_.rank())]) {
    const data::PackedBatch& batch = made[index] = make(index);
    costs[size_t(index)] = cost_(batch);
    documents[size_t(index)] = batch.documents();
  }
  data_.all_reduce_host(std::span<double>(costs), parallel::ReduceOp::sum);
  data_.all_reduce_host(std::span<int64_t>(documents), parallel::ReduceOp::sum);
  std::vector<int64_t> before(documents.size(), 0);
  std::exclusive_scan(documents.begin(), documents.end(), before.begin(), int64_t(0));
  dealt = deal(costs, data_.size(), config_.parallel.balance);

  Own own{.batches = {}, .imbalance = data::imbalance(costs, dealt)};
  for (const int64_t index : dealt[size_t(data_.rank())]) {
    const auto at = made.find(index);
    own.batches.push_back(at != made.end() ? std::move(at->second) : make(index));
    own.batches.back().place_in_step(before[size_t(index)]);
  }
  return own;
}

}  // namespace elastron::train
