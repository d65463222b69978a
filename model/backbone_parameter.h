// The weights of the decoder, as its options want them: allocated, not filled; with
// options.train_backbone also with a master and a gradient.
#pragma once
#include <string>

#include "core/parameter.h"
#include "model/decoder_config.h"
#include "model/layer_shape.h"

namespace elastron::model {

// How matrices are kept: as options.storage says where they are frozen. In e4m3 they have a scale per
// block, of the folder's own size where it is in FP8.
WeightStorage matrix_storage(const ModelConfig& config, const DecoderOptions& options);

// The same on every rank of the tensor group.
Parameter replicated_weight(const std::string& name, const Shape& shape,
                            const DecoderOptions& options, Device& device);

// The entries of the tables in model/layer_shape.h. The linear has its adapter, if options.lora
// says so.
Parameter layer_norm(const ModelConfig& config, int64_t layer, NormId id,
                     const DecoderOptions& options, Device& device);
parallel::ShardedLinear layer_linear(const ModelConfig& config, int64_t layer, LinearId id,
                                     const DecoderOptions& options, parallel::Communicator& tensor,
                                     Device& device);

// Where a weight's gradient goes; nullptr for a frozen one.
inline Tensor* gradient_of(Parameter& p) { return p.trainable ? &p.grad : nullptr; }

}  // namespace elastron::model
