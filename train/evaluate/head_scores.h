// How much each attention head retrieves (Wu et al. 2024, "Retrieval Head Mechanistically Explains
// Long-Context Factuality"; the paper's appendix C).
//
// A document's needle is its answer, which stands in the prompt as well. A head copies a token of
// the answer when, at the position that predicts it, the key it attends to most is that token
// within the needle (or, with `after` N, one of the N tokens behind it, where small models gather
// what stands before). Its score is the share of the answer's tokens that it copies, as a mean over
// the needles. The answer is given, not generated (teacher forcing): deterministic, and the same
// where the model would have generated it anyway.
#pragma once
#include <cstdint>
#include <vector>

#include "core/progress.h"
#include "data/source.h"
#include "data/tokenizer.h"
#include "model/decoder.h"
#include "parallel/mesh.h"
#include "router/gate_file.h"
#include "router/routed_layer.h"
#include "train/config.h"

namespace elastron::train {

// Where the tokens of an answer stand in the prompt: [answer tokens], each ascending, in tokens of
// the document; empty where the answer stands nowhere. Every place where it stands in whole counts,
// with a blank before its first word or without.
std::vector<std::vector<int32_t>> needle_places(const data::Document& document,
                                                const data::Tokenizer& tokenizer,
                                                int64_t after = 0);

struct HeadScoreOptions {
  // Needles count only where every token of the answer is the model's first choice.
  bool answered_only = true;
  int64_t after = 0;
};

struct HeadScoreResult {
  int64_t documents = 0;
  int64_t not_found = 0;     // whose answer does not stand in the prompt
  int64_t not_answered = 0;  // whose answer is not what the model would say
  int64_t needles = 0;       // that count: the rest
  // [layers][query heads] and [layers][kv heads], the mean over each group.
  router::HeadScores scores, kv_scores;
};

// Collective over the mesh: data ranks share the documents, and each rank looks at its own heads;
// the result is the same on all. `routed`: full attention. Without needles the scores
// are empty. on_progress is called before each of this rank's packs.
HeadScoreResult score_heads(const Config& config, parallel::Mesh& mesh, Device& device,
                            model::Decoder& decoder, std::vector<router::RoutedLayer>& routed,
                            const data::PackSource& source, const data::Tokenizer& tokenizer,
                            const HeadScoreOptions& options, const OnProgress& on_progress);

}  // namespace elastron::train
