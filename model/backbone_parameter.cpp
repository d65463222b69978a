#include "model/backbone_parameter.h"

namespace elastron::model {

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

}  // namespace elastron::model
