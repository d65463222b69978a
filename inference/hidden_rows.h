// Hidden states of a prompt's rows, of which the ranks of a context group may have some each.
#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "parallel/communicator.h"

namespace elastron::inference {

class HiddenRows {
 public:
  // All rows are here: [T, E].
  explicit HiddenRows(Tensor all);
  // own [R, E] of T rows: where this rank has each of them, or -1. Every row is on one rank of the
  // group, which must outlive this.
  HiddenRows(Tensor own, std::vector<int32_t> own_rows, parallel::Communicator& context);

  int64_t count() const { return count_; }  // T
  // -> [end - begin, E], on every rank the same. Collective over the group where it shares the rows.
  Tensor rows(int64_t begin, int64_t end) const;

 private:
  Tensor own_;
  std::vector<int32_t> own_rows_;
  parallel::Communicator* context_ = nullptr;
  int64_t count_;
};

}  // namespace elastron::inference
