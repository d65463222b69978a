// One or more packs laid end to end: what a forward pass sees. Host memory, plain data.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace elastron::data {

inline constexpr int32_t kNoLabel = -100;

// Inclusive (first, last) pairs of first_token, ctx, q, a: docs/method.md, Pooling and Documents.
// Document-relative.
using RangeIds = std::array<int64_t, 8>;

// A judged pair of a batch: the sequences of its responses.
struct PackedPair {
  int32_t chosen = 0;
  std::vector<int32_t> rejected;  // one or more
  double margin = 0;
};

// T rows of tokens in S sequences, of D documents. A document is one sequence; a judged pair is one
// document of several sequences, with one routing decision: the gates depend on the prompt, which
// its responses share.
struct PackedBatch {
  std::vector<int32_t> token_ids;  // [T]
  std::vector<int32_t> targets;  // [T] label of position i is token i + 1 of the same document, or
                                 // -100: already shifted, so loss needs no neighbour
  std::vector<int32_t> positions;   // [T] restart at 0 in each whole sequence
  std::vector<int32_t> cu_seqlens;  // [S + 1]
  std::vector<RangeIds> range_ids;  // [D] relative to the document's first sequence
  std::vector<int32_t> task_ids;    // [D] 0..4: docs/method.md, Documents
  // [D] How many documents stand before it in its step. It keys the gate's noise (docs/method.md,
  // Stochastic gate), however a step is cut into batches.
  std::vector<uint32_t> sample_keys;
  std::vector<int64_t> sample_ids;      // [D] which record it was, for reports
  std::vector<int32_t> kind_ids;        // [D] into the source's kind names, for reports
  std::vector<int64_t> answer_offsets;  // [D] tokens between the user's part and the answer
  std::vector<int64_t> answer_lengths;  // [D] tokens of the answer, without what ends it
  // [P] Documents up to the end of each pack: the objective is per pack (docs/method.md,
  // Objective).
  std::vector<int32_t> pack_ends;
  // Empty where each document is one sequence. document_of [S]. prefix_of [S]: the sequence whose
  // tokens stand before this one's, a prompt that is computed once; -1 for a whole sequence.
  std::vector<int32_t> document_of, prefix_of;
  // A part of a batch (data/context_shard.h) has [S]: tokens that stand before each sequence's own,
  // which sequence of the whole batch it is of, and whether it has that one's last token. Empty
  // otherwise.
  std::vector<int32_t> offsets, part_of;
  std::vector<bool> ends;
  std::vector<PackedPair> pairs;  // of reward data: one per document; sequences of the whole batch

  int64_t tokens() const { return int64_t(token_ids.size()); }
  int64_t sequences() const { return int64_t(cu_seqlens.size()) - 1; }
  int64_t documents() const { return int64_t(range_ids.size()); }
  int64_t packs() const { return int64_t(pack_ends.size()); }
  int64_t labels() const;  // targets that are not -100
  // Numbers the documents within their step, of which `before` stand before these.
  void place_in_step(int64_t before);
  void pad(int64_t rows);  // with tokens of no sequence behind the last one, to so many rows
  int64_t document(int64_t sequence) const {
    return document_of.empty() ? sequence : document_of[size_t(sequence)];
  }
  int64_t length(int64_t sequence) const {
    return cu_seqlens[size_t(sequence) + 1] - cu_seqlens[size_t(sequence)];
  }
  // Tokens that stand before a sequence's own: of its shared prompt, or on other ranks.
  int64_t offset(int64_t sequence) const {
    if (!offsets.empty()) return offsets[size_t(sequence)];
    const int32_t prefix = prefix_of.empty() ? -1 : prefix_of[size_t(sequence)];
    return prefix < 0 ? 0 : length(prefix);
  }
  std::vector<int32_t> first_sequences() const;  // [D] a document's first sequence
  // The sequence of the whole batch that one of these is, or is of.
  int64_t whole_sequence(int64_t sequence) const {
    return part_of.empty() ? sequence : part_of[size_t(sequence)];
  }
  // By sequence of the whole batch, the row of its last token; no entry: it is not in this part.
  std::map<int64_t, int32_t> last_rows() const;
  // Tokens if every sequence had its prompt to itself.
  int64_t tokens_apart() const;
};

struct Document;  // data/document.h

// Documents laid end to end, as one pack that is first in its step.
PackedBatch make_packed_batch(const std::vector<const Document*>& documents);

// The paper's five tasks, in the order of their ids (docs/method.md, Documents).
inline constexpr int kTaskCount = 5;
extern const std::array<std::string, kTaskCount> kTaskNames;

}  // namespace elastron::data
