// Sizes of the rows that are scored, as tokenising tells them.
#pragma once
#include <cstdint>
#include <vector>

#include "parallel/communicator.h"
#include "reward/judging/evaluation_rows.h"
#include "reward/pair_reader.h"

namespace elastron::reward {

struct RowSize {
  // Tokens before anything is cut; of several rejected responses the longest. The sequences are
  // prompt and response.
  int64_t prompt = 0, chosen = 0, rejected = 0;
  int64_t longest = 0;  // sequence as it is fed
  bool truncated = false;
  DropReason dropped = DropReason::none;

  // By which a row belongs to a length class.
  int64_t all() const { return prompt + chosen + rejected; }
};

struct SizedRow {
  const EvaluationFile* file = nullptr;
  const PreferenceRow* row = nullptr;
  RowSize size;
};

// Collective. All usable rows of the files, which must outlive the result, in their order; the
// ranks share the tokenising. Warns of control tokens. Throws InputError on all ranks for a row
// over the limit under Overlong::error.
std::vector<SizedRow> measure_rows(const std::vector<EvaluationFile>& files,
                                   const PairReader& reader, int64_t limit, Overlong policy,
                                   BadRows bad_rows, parallel::Communicator& everyone);

}  // namespace elastron::reward
