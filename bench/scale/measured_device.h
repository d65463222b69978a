// Rates of a device as the planner counts them, measured with the ops of a model.
#pragma once
#include "core/device.h"
#include "model/weights/model_config.h"
#include "parallel/communicator.h"
#include "train/plan/device_spec.h"

namespace elastron::bench {

// Wall time, the best of several windows: what others leave of a machine is what is measured.
// `tokens`: of a sequence; `links`: whose memory and links the result has. The shares are those of
// the fastest kind of operation.
train::DeviceSpec measure_device(const model::ModelConfig& model, int64_t tokens, DType dtype,
                                 const train::DeviceSpec& links, Device& device);

// Sums over a group: bandwidth with 8 MiB, latency with a few numbers. All its ranks call it.
train::DeviceLink measure_link(parallel::Communicator& group, Device& device);

}  // namespace elastron::bench
