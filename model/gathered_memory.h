// What gathered attention (attention_exchange.h) holds beside a layer's own tensors at most: its
// steps one after the other, in bytes.
#pragma once
#include <cstdint>

namespace elastron::model {

struct GatheredMemory {
  int64_t groups = 0;  // kv_head_groups(); 0: nothing is gathered
  int64_t arriving = 0,
          read = 0;       // a group's keys, or values: all ranks' rows, and as they are read
  int64_t q = 0, kv = 0;  // own queries, and keys or values, of all groups
  int64_t q_part = 0, kv_part = 0;  // and of one
  int64_t rows_part = 0;            // a number per row and query head of a group
  int64_t forward_workspace = 0, backward_workspace = 0;

  // Beside the queries, keys and values and the outputs that are there in the end.
  int64_t forward(bool both) const;
  // Beside the queries, keys, values and outputs: with the outputs' gradient and those that come.
  int64_t backward(bool both) const;
  // Of other ranks' rows alone.
  int64_t others() const;

 private:
  int64_t put_in_order() const;
};

}  // namespace elastron::model
