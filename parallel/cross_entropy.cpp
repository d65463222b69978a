#include "parallel/cross_entropy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/dispatch.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "parallel/region.h"
#include "parallel/shard.h"

namespace elastron::parallel {

namespace {

// Appends a tensor's values (float64, float32 or int32) as doubles.
void append(std::vector<double>& values, const Tensor& t) {
  const auto add = [&values](const auto& source) {
    values.insert(values.end(), source.begin(), source.end());
  };
  if (t.dtype() == DType::i32) {
    add(t.to_vector<int32_t>());
  } else {
    with_master_dtype(t.dtype(), [&]<class T>() { add(t.to_vector<T>()); });
  }
}

Tensor from_doubles(const std::vector<double>& values, DType dtype, Device& device) {
  return with_master_dtype(dtype, [&]<class T>() {
    return Tensor::from(std::vector<T>(values.begin(), values.end()),
                        {static_cast<int64_t>(values.size())}, device);
  });
}

}  // namespace

// The same on every rank of the group: each adds up the same numbers in the same order.
struct VocabParallelHead::Rows {
  std::vector<double> lse, target;
  std::vector<int32_t> argmax;
};

VocabParallelHead::VocabParallelHead(const std::string& name, int64_t vocab, int64_t hidden,
                                     DType dtype, bool trainable, Communicator& tensor,
                                     Device& device)
    : owned_(std::make_unique<Parameter>(make_sharded_weight(
          name, {vocab, hidden}, ceil_partition(0, vocab, tensor.rank(), tensor.size()), dtype,
          trainable, device))),
      parameter_(owned_.get()),
      weight_(parameter_->value, /*frozen=*/!trainable),
      tensor_(&tensor) {}

VocabParallelHead::VocabParallelHead(Parameter& table, Communicator& tensor)
    : parameter_(&table), weight_(table.value, /*frozen=*/!table.trainable), tensor_(&tensor) {}

VocabParallelHead::Rows VocabParallelHead::whole_rows(const Tensor& logits,
                                                      const Tensor& labels) const {
  const int64_t n = labels.size(0);
  const auto rows = static_cast<size_t>(n);
  std::vector<double> mine;
  mine.reserve(4 * rows);
  if (logits.size(1) > 0) {
    const auto part = ops::cross_entropy_rows(logits, labels, parameter_->partition.offset);
    append(mine, part.max);
    append(mine, part.sum_exp);
    append(mine, part.target);
    append(mine, part.argmax);
  } else {
    mine.assign(rows, -std::numeric_limits<double>::infinity());
    mine.resize(4 * rows, 0.0);
  }
  // One small gather rather than a maximum, a sum and an argmax.
  std::vector<double> all = std::move(mine);
  if (tensor_->size() > 1) {
    const Tensor in = Tensor::from(all, {1, 4 * n}, logits.device());
    Tensor out = Tensor::empty({tensor_->size(), 4 * n}, DType::f64, logits.device());
    tensor_->all_gather(in, out).wait();
    all = out.to_vector<double>();
  }

  Rows whole{std::vector<double>(rows), std::vector<double>(rows), std::vector<int32_t>(rows)};
  for (size_t i = 0; i < rows; ++i) {
    const auto field = [&](int rank, size_t f) { return all[(size_t(rank) * 4 + f) * rows + i]; };
    double max = field(0, 0);
    whole.argmax[i] = int32_t(field(0, 3));
    for (int r = 1; r < tensor_->size(); ++r) {
      // Ids grow with the rank, so that the first largest keeps the smallest id.
      if (field(r, 0) > max) {
        max = field(r, 0);
        whole.argmax[i] = int32_t(field(r, 3));
      }
    }
    double sum = 0, target = 0;
    for (int r = 0; r < tensor_->size(); ++r) {
      sum += field(r, 1) * std::exp(field(r, 0) - max);
      target += field(r, 2);
    }
    whole.lse[i] = max + std::log(sum);
    whole.target[i] = target;
  }
  return whole;
}

CrossEntropyResult VocabParallelHead::loss(const Tensor& hidden, std::span<const int32_t> targets,
                                           const CrossEntropyOptions& options) {
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

  for (int64_t begin = 0; begin < result.count; begin += options.chunk_rows) {
    const int64_t n = std::min(options.chunk_rows, result.count - begin);
    const std::span<const int32_t> chunk(rows.data() + begin, size_t(n));
    std::vector<int32_t> chunk_labels;
    for (const int32_t row : chunk) chunk_labels.push_back(targets[size_t(row)]);

    const Tensor chunk_rows = Tensor::from(chunk, {n}, device);
    const Tensor labels = Tensor::from(chunk_labels, {n}, device);
    const Tensor x = ops::gather_rows(hidden, chunk_rows);
    const bool empty = p.partition.size == 0;  // more ranks than vocabulary
    Tensor logits =
        empty ? Tensor::empty({n, 0}, x.dtype(), device) : ops::linear_forward(x, weight_);
    const Rows whole = whole_rows(logits, labels);
    for (size_t i = 0; i < size_t(n); ++i) {
      const double loss = whole.lse[i] - whole.target[i];
      result.loss_sum += loss;
      if (options.per_row) result.row_loss.push_back(loss);
    }
    if (options.per_row) {
      result.argmax.insert(result.argmax.end(), whole.argmax.begin(), whole.argmax.end());
    }
    if (!options.need_gradient) continue;

    Tensor dx;
    if (empty) {
      dx = Tensor::zeros(x.shape(), x.dtype(), device);
    } else {
      const Tensor lse = from_doubles(whole.lse, accumulator_dtype(x.dtype()), device);
      ops::cross_entropy_backward(logits, labels, lse, p.partition.offset, options.gradient_scale);
      dx = ops::linear_dgrad(logits, weight_);
    }
    // The sum over the group travels while the weight gradient is computed.
    Pending sum = tensor_->all_reduce(dx, ReduceOp::sum);
    if (p.trainable && !empty) ops::linear_wgrad(logits, x, parameter_->grad);
    sum.wait();
    ops::scatter_rows(dx, chunk_rows, result.d_hidden);
  }
  if (options.per_row) result.rows = std::move(rows);
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
