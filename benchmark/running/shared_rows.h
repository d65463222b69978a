// Work on rows that the data ranks share, and whose results one rank keeps in the rows' order.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/long_run.h"
#include "parallel/mesh.h"

namespace elastron::benchmark {

struct FinishedRow {
  int64_t place = 0;  // of the row among those that are worked on
  std::string result;
};

struct SharedRows {
  int64_t rows = 0;
  // How many rows a data rank finishes between two exchanges with the others, who wait for it then.
  int64_t between_exchanges = 1;
  // Goes on with this rank's rows, which are those whose place leaves its data rank when divided by
  // the number of data ranks, and gives those that are finished by now, in any order. Collective over
  // the tensor group. It is called while some are not finished.
  std::function<std::vector<FinishedRow>()> step;
  // Called on the first rank of the world, in the order of the places.
  std::function<void(const FinishedRow&)> keep;
};

// Collective over the world. -> false where it was stopped on request before the end; rows that were
// kept by then are the first ones.
bool work_on(const SharedRows& work, const parallel::Mesh& mesh, const LongRun& around);

}  // namespace elastron::benchmark
