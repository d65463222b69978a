// Documents that reach beyond the positions which a model folder covers: model.beyond_positions.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>

#include "data/source.h"
#include "model/weights/model_config.h"
#include "train/config.h"

namespace elastron::train {

// A model covers max_position_embeddings, or what its rope scaling stretches it to
// (model.covered_positions). `what` names the longest thing ("the longest document") of `longest`
// tokens; `shorter`: what the user can do to have
// shorter ones ("lower data.max_tokens"). Throws UsageError, or warns once, or does nothing, as
// `policy` says; `trains` decides what automatic means.
void check_positions(BeyondPositions policy, const model::ModelConfig& model,
                     const std::string& what, int64_t longest, const std::string& shorter,
                     bool trains);

// The same of the longest thing in sources, some of which may be null.
void check_positions(const Config& config, const model::ModelConfig& model, const std::string& what,
                     std::initializer_list<const data::BatchSource*> sources, bool trains);

}  // namespace elastron::train
