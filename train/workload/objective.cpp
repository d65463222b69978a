#include "train/workload/objective.h"

#include <algorithm>

#include "train/trained_model.h"
#include "train/workload/planned_pack.h"

namespace elastron::train {

void Objective::check(const Config&, config::Problems&) const {}
bool Objective::has_reward_head(const Config&) const { return false; }
std::string Objective::stored_router(const Config&) const { return {}; }
std::string Objective::result_folder(const Config&) const { return {}; }
void Objective::add_planned_pack(const Config& config, int64_t document_tokens,
                                 data::PackedBatch& batch) const {
  const int64_t pack = config.data.max_tokens;
  const int64_t each = document_tokens > 0 ? std::min(document_tokens, pack) : pack;
  for (int64_t begin = 0; begin < pack; begin += each) {
    const int64_t tokens = std::min(each, pack - begin);
    add_planned_sequence(tokens, config.data.label_mode, batch);
    add_planned_document(tokens, batch);
  }
}
int64_t Objective::planned_pack_tokens(const Config& config) const {
  return config.data.max_tokens;
}
double Objective::expected_sparsity(const Config&) const { return 0; }

std::vector<router::RoutedLayer> Objective::training_gates(TrainedModel& model) const {
  return model.evaluation_gates();
}

}  // namespace elastron::train
