#include "train/workload/objective.h"

#include "train/trained_model.h"

namespace elastron::train {

void Objective::check(const Config&, config::Problems&) const {}
bool Objective::has_reward_head(const Config&) const { return false; }
std::string Objective::stored_router(const Config&) const { return {}; }
std::string Objective::result_folder(const Config&) const { return {}; }
double Objective::expected_sparsity(const Config&) const { return 0; }

std::vector<router::RoutedLayer> Objective::training_gates(TrainedModel& model) const {
  return model.evaluation_gates();
}

}  // namespace elastron::train
