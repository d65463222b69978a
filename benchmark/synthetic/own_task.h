// Tasks of RULER's thirteen kinds in words of our own, for those who do not have its data. They are
// written in its form, and are no part of it: scores on them are not to be compared with its tables
// (docs/benchmarks.md, Tasks of our own).
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "benchmark/ruler/rows.h"
#include "benchmark/ruler/tasks.h"
#include "data/tokenizer.h"

namespace elastron::benchmark {

struct OwnTaskOptions {
  uint64_t seed = 1;
  int64_t length =
      4096;  // tokens of the prompt, of what its answer begins with, and for the answer
  // Where in the text the first fact stands that is asked for, in percent; nothing: drawn. Lists of
  // words (cwe, fwe) have no such place.
  std::optional<int64_t> depth_percent;
};

// Row `index` of a task: a pure function of its arguments. As much text as fits, but for at most
// one part in 128. UsageError for a length that the shortest text of the kind does not fit into.
RulerRow own_ruler_row(const RulerTask& task, int64_t index, const OwnTaskOptions& options,
                       const data::Tokenizer& tokenizer);

}  // namespace elastron::benchmark
