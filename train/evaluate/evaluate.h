// Evaluation with hard routing: loss, accuracy of the answer, sparsity, by kind of document.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/progress.h"
#include "data/source.h"
#include "model/decoder.h"
#include "parallel/mesh.h"
#include "router/routed_layer.h"
#include "train/config.h"

namespace elastron::train {

// Means over documents, but for the accuracy.
struct EvalFigures {
  int64_t documents = 0;
  int64_t labels = 0;
  double loss = 0;      // over labelled tokens, nats
  int64_t answers = 0;  // documents that have an answer
  // Of those, the share whose whole answer is the teacher-forced argmax; none where there are none.
  std::optional<double> accuracy;
  double msr = 0;
  double esr_last_layer_last_query = 0;
  double esr_all_layers_last_query = 0;
  double esr_all_layers_area = 0;
  double esr_tiles = 0;  // of tiles really visited
};

struct EvalResult {
  EvalFigures all;
  std::map<std::string, EvalFigures> by_task;  // the paper's names
  std::map<std::string, EvalFigures> by_kind;  // the source's finer names
  // [layers][kv_heads]: share of tiles that the head skipped, mean over documents.
  std::vector<std::vector<double>> esr_by_head;
};

// "0.875", or "-" where no document has an answer.
std::string accuracy_text(const EvalFigures& figures);
// The number, or null.
nlohmann::ordered_json accuracy_json(const EvalFigures& figures);

// Collective over the mesh: data ranks share the documents; the result is the same on all ranks.
// `routed` decides the gates (a router without noise, or forced gates). on_progress is called
// before each forward pass, with this rank's share of the source's packs.
EvalResult evaluate(const Config& config, parallel::Mesh& mesh, Device& device,
                    model::Decoder& decoder, std::vector<router::RoutedLayer>& routed,
                    const data::PackSource& source, const OnProgress& on_progress);

}  // namespace elastron::train
