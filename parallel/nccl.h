// Collectives of GPU tensors over NCCL, with an NCCL communicator per group. What concerns the
// host, and tensors in its memory, go on over MPI, which also carries NCCL's unique ids at the
// start.
//
// Streams: every operation waits, on the GPU, for what the device's own stream has been given so
// far, runs on a second stream, and holds the first one back only in Pending::wait(). So work
// issued between start and wait() overlaps it; the host waits for nothing. All groups share the
// one second stream: operations run in the order they are issued, which is the same on all ranks,
// and groups that overlap cannot wait for each other in a circle. The price is that a gradient sum
// goes before the tensor group's next sum where both are under way.
//
// Sums of bfloat16: each rank receives all ranks' values of its part as they are, adds them in
// float32 in the order of the ranks, rounds once, and gathers the parts. This moves as many bytes
// as a ring in bfloat16 would, half of one in float32, and gives the same bits on every rank and
// every time, whichever algorithm NCCL picks.
//
// Failures: a thread looks at ncclCommGetAsyncError and at the oldest operation that has not ended.
// An error of NCCL becomes one line with rank, axis and operation, and ends all ranks with exit
// code 6. A collective that never ends is the Watchdog's business, which reads here what the GPU is
// waiting in.
#pragma once
#include <memory>
#include <string>

#include "core/cuda/device.h"
#include "parallel/collective_backend.h"

namespace elastron::parallel {

class World;

// Loads NCCL; null when there is none, and `why` then says so. World and device must outlive it.
std::unique_ptr<CollectiveBackend> open_nccl(World& world, cuda::CudaDevice& device,
                                             std::string& why);

}  // namespace elastron::parallel
