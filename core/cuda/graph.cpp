// Recorded work as a CUDA graph. The first time the work is done as usual, with memory that is kept
// for it; that is also when libraries choose their algorithms. The second time it is captured, with
// the same memory.
#include <cuda_runtime.h>

#include <cstdlib>
#include <string_view>

#include "core/cuda/device.h"
#include "core/cuda/status.h"
#include "core/error.h"
#include "core/log.h"
#include "core/recorded_memory.h"

namespace elastron::cuda {

class Graph final : public RecordedWork {
 public:
  explicit Graph(CudaDevice& device) : device_(device) {}
  ~Graph() override {
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
    for (const RecordedMemory::Block& block : memory_.blocks()) {
      if (block.free) device_.release(block.begin, block.bytes);  // others have a tensor yet
    }
  }

  void run() override { check(cudaGraphLaunch(executable_, device_.stream()), "cudaGraphLaunch"); }

  void do_once(const std::function<void()>& issue) {
    {
      const Recording recording(*this, /*captured=*/false);
      issue();
    }
    ELASTRON_CHECK(memory_.all_free(), "work that is recorded keeps memory");
  }

  void capture(const std::function<void()>& issue) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(device_.stream(), cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
    try {
      const Recording recording(*this, /*captured=*/true);
      issue();
    } catch (...) {
      // The first failure is the one to tell.
      if (cudaStreamEndCapture(device_.stream(), &graph) == cudaSuccess) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(device_.stream(), &graph), "cudaStreamEndCapture");
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
  }

 private:
  // What the device is told while `issue` runs.
  class Recording {
   public:
    Recording(Graph& graph, bool captured) : device_(graph.device_) {
      ELASTRON_CHECK(device_.recorded_memory_ == nullptr, "work is recorded within recorded work");
      device_.recorded_memory_ = &graph.memory_;
      device_.capturing_ = captured;
    }
    ~Recording() {
      device_.recorded_memory_ = nullptr;
      device_.capturing_ = false;
    }
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

   private:
    CudaDevice& device_;
  };

  CudaDevice& device_;
  RecordedMemory memory_;
  cudaGraphExec_t executable_ = nullptr;
};

std::unique_ptr<RecordedWork> CudaDevice::record(const std::function<void()>& issue) {
  const char* wanted = std::getenv("ELASTRON_CUDA_GRAPHS");
  if (wanted != nullptr && std::string_view(wanted) == "0") {
    issue();
    return nullptr;
  }
  auto graph = std::make_unique<Graph>(*this);
  graph->do_once(issue);
  try {
    graph->capture(issue);
  } catch (const LogicError& e) {
    static_cast<void>(cudaGetLastError());  // forget it
    log_warning_once(std::string("no CUDA graph: ") + e.what());
    return nullptr;
  }
  return graph;
}

}  // namespace elastron::cuda
