#include "model/backbone_parameter.h"

namespace elastron::model {

WeightStorage matrix_storage(const ModelConfig& config, const DecoderOptions& options) {
  if (!options.storage || options.train_backbone) return options.dtype;
  if (*options.storage != DType::e4m3) return *options.storage;
  return {DType::e4m3, config.fp8_blocks.value_or(WeightBlocks{})};
}

Parameter replicated_weight(const std::string& name, const Shape& shape,
                            const DecoderOptions& options, Device& device) {
  Parameter p;
  p.name = name;
  p.logical_shape = shape;
  p.group = ParameterGroup::backbone;
  p.trainable = options.train_backbone;
  p.value = Tensor::empty(shape, options.dtype, device);
  if (p.trainable) {
    const DType master = accumulator_dtype(options.dtype);
    p.master = master == options.dtype ? p.value : Tensor::empty(shape, master, device);
    p.grad = Tensor::zeros(shape, master, device);
  }
  return p;
}

Parameter layer_norm(const ModelConfig& config, int64_t layer, NormId id,
                     const DecoderOptions& options, Device& device) {
  const NamedShape norm = norm_shape(config, layer, id);
  return replicated_weight(norm.name, norm.shape, options, device);
}

parallel::ShardedLinear layer_linear(const ModelConfig& config, int64_t layer, LinearId id,
                                     const DecoderOptions& options, parallel::Communicator& tensor,
                                     Device& device) {
  parallel::ShardedLinear linear(linear_shape(config, layer, id), options.dtype,
                                 options.train_backbone, tensor, device,
                                 matrix_storage(config, options));
  if (!options.repack) linear.use_as_stored();
  if (options.lora && options.lora->adapts(kLayerLinears[size_t(id)].leaf)) {
    linear.adapt(options.lora->rank, options.lora->scale(), options.train_lora);
  }
  return linear;
}

}  // namespace elastron::model
