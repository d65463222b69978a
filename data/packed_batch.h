// One or more packs laid end to end: what a forward pass sees. Host memory, plain data.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace elastron::data {

// Inclusive (first, last) pairs of first_token, ctx, q, a: spec 1.3 and 9. Document-relative.
using RangeIds = std::array<int64_t, 8>;

struct PackedBatch {
  std::vector<int32_t> token_ids;  // [T]
  std::vector<int32_t> targets;  // [T] label of position i is token i + 1 of the same document, or
                                 // -100: already shifted, so loss needs no neighbour
  std::vector<int32_t> positions;     // [T] restart at 0 in each document
  std::vector<int32_t> cu_seqlens;    // [S + 1]
  std::vector<RangeIds> range_ids;    // [S]
  std::vector<int32_t> task_ids;      // [S] 0..4: spec 9
  std::vector<uint32_t> sample_keys;  // [S] names the document within its step, independent of the
                                      // layout: keys the gate noise (spec 2.1)
  std::vector<int64_t> sample_ids;    // [S] which record it was, for reports
  std::vector<int32_t> kind_ids;      // [S] into the source's kind names, for reports
  std::vector<int64_t> answer_offsets;  // [S] tokens between the user's part and the answer
  std::vector<int64_t> answer_lengths;  // [S] tokens of the answer, without what ends it

  int64_t tokens() const { return int64_t(token_ids.size()); }
  int64_t sequences() const { return int64_t(cu_seqlens.size()) - 1; }
  int64_t labels() const;  // targets that are not -100
};

struct Document;  // data/document.h

// Documents laid end to end. `micro_batch_index` is the global index of the micro batch within its
// step, so that sample_keys do not depend on the layout.
PackedBatch make_packed_batch(const std::vector<const Document*>& documents,
                              uint32_t micro_batch_index);

// The paper's five tasks, in the order of their ids (spec 9).
inline constexpr int kTaskCount = 5;
extern const std::array<std::string, kTaskCount> kTaskNames;

}  // namespace elastron::data
