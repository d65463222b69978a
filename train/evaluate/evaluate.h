// Evaluation with hard routing: loss, accuracy of the answer, sparsity, by kind of document.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/progress.h"
#include "data/source.h"
#include "model/decoder.h"
#include "parallel/mesh.h"
#include "router/routed_layer.h"
#include "train/config.h"
#include "train/evaluate/kind_features.h"
#include "train/metrics/figures.h"

namespace elastron::train {

// Figures of some documents, beside the means, which have their number.
struct EvalFigures : DocumentMeans {
  int64_t labels = 0;
  double loss = 0;      // over labelled tokens, nats
  int64_t answers = 0;  // documents that have an answer
  // The share of those whose whole answer is the teacher-forced argmax; none where there are none.
  std::optional<double> accuracy;
};

struct EvalResult {
  EvalFigures all;
  std::map<std::string, EvalFigures> by_task;  // the paper's names
  std::map<std::string, EvalFigures> by_kind;  // the source's finer names
  // [layers][kv_heads]: share of tiles that the head skipped, mean over documents.
  std::vector<std::vector<double>> esr_by_head;
  // [layers][kv_heads]: share of the kind's documents for which the head ran full (gate 1).
  std::map<std::string, std::vector<std::vector<double>>> full_by_kind;
  // Where they were asked for and a router decides.
  std::optional<KindFeatures> features;
};

// Beside the figures.
struct EvalExtras {
  bool features = false;  // EvalResult::features, for which activations of routers are read
};

// "0.875", or "-" where no document has an answer.
std::string accuracy_text(const EvalFigures& figures);
// The number, or null.
FigureValue accuracy_json(const EvalFigures& figures);

// Everything that the JSON of `elastron eval` says of some documents: the evaluation's own figures,
// then the means of the table of figures.
FigureValue eval_json(const EvalFigures& figures);
// Those of its own, described.
std::vector<FigureText> eval_figures();

// Collective over the mesh: data ranks share the documents; the result is the same on all ranks.
// `routed` decides the gates (a router without noise, or forced gates). on_progress is called
// before each forward pass, with this rank's share of the source's packs. Throws NumericalError
// where the loss is not finite.
EvalResult evaluate(const Config& config, parallel::Mesh& mesh, Device& device,
                    model::Decoder& decoder, std::vector<router::RoutedLayer>& routed,
                    const data::PackSource& source, const OnProgress& on_progress,
                    const EvalExtras& extras = {});

}  // namespace elastron::train
