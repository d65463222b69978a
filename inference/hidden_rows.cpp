#include "inference/hidden_rows.h"

#include "core/error.h"
#include "ops/rows.h"

namespace elastron::inference {

HiddenRows::HiddenRows(Tensor all) : own_(std::move(all)), count_(own_.size(0)) {}

HiddenRows::HiddenRows(Tensor own, std::vector<int32_t> own_rows, parallel::Communicator& context)
    : own_(std::move(own)),
      own_rows_(std::move(own_rows)),
      context_(&context),
      count_(int64_t(own_rows_.size())) {}

Tensor HiddenRows::rows(int64_t begin, int64_t end) const {
  ELASTRON_CHECK(0 <= begin && begin < end && end <= count_, "rows of the prompt");
  if (context_ == nullptr) return own_.slice(0, begin, end).clone();
  const std::vector<int32_t> wanted(own_rows_.begin() + begin, own_rows_.begin() + end);
  Tensor rows = ops::gather_rows(own_, Tensor::from(wanted, {end - begin}, own_.device()));
  // Each row is on one rank, zeros elsewhere: the sum is exact.
  context_->all_reduce(rows, parallel::ReduceOp::sum).wait();
  return rows;
}

}  // namespace elastron::inference
