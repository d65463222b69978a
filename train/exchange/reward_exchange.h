// Trained reward models as files of the Hugging Face libraries (docs/reward-models.md).
#pragma once
#include <map>
#include <optional>
#include <string>

#include "core/device.h"
#include "core/tensor.h"
#include "parallel/mesh.h"
#include "train/checkpoint/header.h"
#include "train/config.h"
#include "train/workload/reward.h"

namespace elastron::train {

struct StoredReward {
  Config config;  // of the run
  std::string backbone_fingerprint;
  std::map<std::string, Tensor> tensors;  // what trained: whole, by logical name, on the CPU
  std::optional<RewardScale> scale;
};

// One rank, of a verified checkpoint of the objective `reward`. Throws CheckpointError for another.
StoredReward read_reward(const std::string& path, const CheckpointHeader& header, Device& device);

// One rank. `model`: the folder it was trained from. `dtype`: default the folder's own. Trained
// routers go to `folder`/router (router_exchange.h). Throw InputError, UsageError.
//
// A folder of its own: a ...ForSequenceClassification with one label, adapters merged; with
// reward.loss: simpo a causal language model.
void write_reward_model(const std::string& folder, const StoredReward& reward,
                        const std::string& model, std::optional<DType> dtype, Device& device);
// Adapters and head apart from the backbone, as the peft library reads them. `base`: what they call
// their base model.
void write_reward_adapter(const std::string& folder, const StoredReward& reward,
                          const std::string& model, const std::string& base,
                          std::optional<DType> dtype);

}  // namespace elastron::train
