#include "parallel/cross_entropy.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/trace.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/gathered_read.h"
#include "ops/rows.h"
#include "parallel/linear.h"
#include "parallel/region.h"
#include "parallel/shard.h"

namespace elastron::parallel {

VocabParallelHead::VocabParallelHead(const std::string& name, int64_t vocab, int64_t hidden,
                                     DType dtype, bool trainable, Communicator& tensor,
                                     Device& device, const std::optional<WeightStorage>& storage)
    : owned_(std::make_unique<Parameter>(make_sharded_weight(
          name, {vocab, hidden}, ceil_partition(0, vocab, tensor.rank(), tensor.size()),
          storage.value_or(dtype), trainable, device))),
      parameter_(owned_.get()),
      weight_(read_weight(*parameter_, ops::weight_form(trainable))),
      tensor_(&tensor) {}

VocabParallelHead::VocabParallelHead(Parameter& table, Communicator& tensor)
    : parameter_(&table),
      weight_(read_weight(table, ops::weight_form(table.trainable))),
      tensor_(&tensor) {}

void VocabParallelHead::use_as_stored() {
  weight_ = read_weight(*parameter_, ops::WeightForm::as_stored);
}

ops::CrossEntropyWhole VocabParallelHead::whole_rows(const Tensor& logits,
                                                     const Tensor& labels) const {
  const int64_t n = labels.size(0);
  Tensor parts;
  if (logits.size(1) > 0) {
    parts = ops::cross_entropy_rows(logits, labels, parameter_->partition.offset).parts;
  } else {
    std::vector<double> nothing(size_t(4 * n), 0.0);
    std::fill_n(nothing.begin(), n, -std::numeric_limits<double>::infinity());
    parts = Tensor::from(nothing, {4, n}, logits.device());
  }
  parts = parts.view({1, 4, n});
  // One small gather rather than a maximum, a sum and an argmax.
  if (tensor_->size() > 1) {
    Tensor all = Tensor::empty({tensor_->size(), 4, n}, DType::f64, logits.device());
    tensor_->all_gather(parts, all).wait();
    parts = all;
  }
  // The same on every rank of the group: each adds up the same numbers in the same order.
  return ops::cross_entropy_combine(parts, accumulator_dtype(logits.dtype()));
}

CrossEntropyResult VocabParallelHead::loss(const Tensor& hidden, std::span<const int32_t> targets,
                                           const CrossEntropyOptions& options) {
  const TraceRange range("head and loss");
  const Parameter& p = *parameter_;
  const int64_t vocab = p.logical_shape[0];
  ELASTRON_CHECK(hidden.rank() == 2 && hidden.size(0) == int64_t(targets.size()) &&
                     hidden.size(1) == p.logical_shape[1],
                 "hidden states " + hidden.shape().str() + " for " +
                     std::to_string(targets.size()) + " targets");
  ELASTRON_CHECK(options.chunk_rows >= 1, "at least one row at a time");

  CrossEntropyResult result;
  std::vector<int32_t> rows;
  for (size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] == ops::kIgnoreLabel) continue;
    ELASTRON_CHECK(targets[t] >= 0 && targets[t] < vocab,
                   fmt::format("target {} is not in a vocabulary of {}", targets[t], vocab));
    rows.push_back(int32_t(t));
  }
  result.count = int64_t(rows.size());
  Device& device = hidden.device();
  if (options.need_gradient) {
    result.d_hidden = Tensor::zeros(hidden.shape(), hidden.dtype(), device);
  }

  if (result.count == 0) return result;
  // Everything stays on the device: it never waits for the host.
  std::vector<int32_t> labels_of_rows;
  for (const int32_t row : rows) labels_of_rows.push_back(targets[size_t(row)]);
  const Tensor all_rows = Tensor::from(rows, {result.count}, device);
  const Tensor all_labels = Tensor::from(labels_of_rows, {result.count}, device);
  Tensor row_loss = Tensor::empty({result.count}, DType::f64, device);
  Tensor argmax;
  if (options.per_row) argmax = Tensor::empty({result.count}, DType::i32, device);

  const auto logits_of = [&](const Tensor& x) {
    const TraceRange of_logits("logits");
    if (p.partition.size > 0) return ops::linear_forward(x, weight_);
    return Tensor::empty({x.size(0), 0}, x.dtype(), device);  // more ranks than vocabulary
  };
  for (int64_t begin = 0; begin < result.count; begin += options.chunk_rows) {
    const int64_t end = std::min(begin + options.chunk_rows, result.count);
    const Tensor chunk_rows = all_rows.slice(0, begin, end);
    const Tensor labels = all_labels.slice(0, begin, end);
    const Tensor x = ops::gather_rows(hidden, chunk_rows);
    const bool empty = p.partition.size == 0;
    Tensor logits = logits_of(x);
    const auto whole = whole_rows(logits, labels);
    row_loss.slice(0, begin, end).copy_from(whole.loss);
    if (options.per_row) argmax.slice(0, begin, end).copy_from(whole.argmax);
    if (!options.need_gradient) continue;

    Tensor dx;
    if (empty) {
      dx = Tensor::zeros(x.shape(), x.dtype(), device);
    } else {
      ops::cross_entropy_backward(logits, labels, whole.lse, p.partition.offset,
                                  options.gradient_scale);
      dx = ops::linear_dgrad(logits, weight_);
    }
    // The sum over the group travels while the weight gradient is computed.
    Pending sum = tensor_->all_reduce(dx, ReduceOp::sum);
    if (p.trainable && !empty) ops::linear_wgrad(logits, x, parameter_->grad);
    sum.wait();
    ops::scatter_rows(dx, chunk_rows, result.d_hidden);
  }
  result.sum = ops::sum(row_loss);
  if (options.per_row) {
    result.rows = std::move(rows);
    const Tensor parts[] = {row_loss, argmax};
    ops::GatheredRead read(parts);
    const auto losses = read.part<double>(0);
    const auto ids = read.part<int32_t>(1);
    result.row_loss.assign(losses.begin(), losses.end());
    result.argmax.assign(ids.begin(), ids.end());
  }
  return result;
}

Tensor VocabParallelHead::logits(const Tensor& hidden) const {
  const Parameter& p = *parameter_;
  if (tensor_->size() == 1) return ops::linear_forward(hidden, weight_);
  const int64_t vocab = p.logical_shape[0], n = hidden.size(0);
  const int64_t widest = ceil_partition(0, vocab, 0, tensor_->size()).size;
  // Padded to the first rank's width, gathered, and the padding cut off.
  Tensor mine = Tensor::zeros({n, widest}, hidden.dtype(), hidden.device());
  if (p.partition.size > 0) {
    mine.slice(1, 0, p.partition.size).copy_from(ops::linear_forward(hidden, weight_));
  }
  return gather_slices(mine, 1, *tensor_).slice(1, 0, vocab).clone();
}

}  // namespace elastron::parallel
