// The runtime's calls that have to do with streams: copies, events, captures.
#include <cuda_runtime.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "tests/support/cuda_emulator/scheduler.h"
#include "tests/support/cuda_emulator/stream.h"

namespace elastron::emulator {

namespace {

[[noreturn]] void wait_for_ever() {
  for (;;) pause();
}
std::vector<CUstream_st*> stalled_streams;

bool captures(const CUstream_st* stream) { return stream != nullptr && stream->capture != nullptr; }
// A call that no capture allows.
cudaError_t spoilt(CUstream_st* stream) {
  stream->capture->valid = false;
  return cudaErrorStreamCaptureUnsupported;
}

void give(CUstream_st* stream, Work work) {
  if (captures(stream)) {
    stream->capture->works.push_back(std::move(work));
  } else {
    perform(stream, work);
  }
}

}  // namespace

Calls& calls() {
  static Calls counted;
  return counted;
}

void issue(CUstream_st* stream, const char* name, std::function<void()> work) {
  give(stream, {{name}, {}, std::move(work)});
}
void issue(CUstream_st* stream, const char* name, std::vector<Bytes> touched,
           std::function<void()> work) {
  give(stream, {{name}, std::move(touched), std::move(work)});
}

void launch_kernel(dim3 grid, dim3 block, size_t shared_bytes, CUstream_st* stream,
                   const void* kernel, std::function<void()> thread) {
  ++calls().launches;
  give(stream, {{.kernel = kernel}, {}, [grid, block, shared_bytes, thread = std::move(thread)] {
                  run_kernel(grid, block, shared_bytes, thread);
                }});
}

void stall(CUstream_st* stream) {
  if (!stream->stalled) stalled_streams.push_back(stream);
  stream->stalled = true;
}
void resume_streams() {
  for (CUstream_st* stream : stalled_streams) stream->stalled = false;
  stalled_streams.clear();
}
bool is_stalled(CUstream_st* stream) { return stream != nullptr && stream->stalled; }

}  // namespace elastron::emulator

using namespace elastron::emulator;

// --- Streams and events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  static int streams = 0;
  *s = new CUstream_st{.number = ++streams};
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* s, unsigned flags, int) {
  return cudaStreamCreateWithFlags(s, flags);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
  std::erase(stalled_streams, s);
  delete s;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  ++calls().host_waits;
  if (captures(s)) return spoilt(s);
  if (is_stalled(s)) wait_for_ever();
  if (s != nullptr) host_clock().join(s->clock);
  return cudaSuccess;
}
// A capture that spans streams is more than the emulator knows.
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
  if (captures(s)) return spoilt(s);
  if (e->captured) return cudaErrorCapturedEvent;
  if (e->stalled) stall(s);
  s->clock.join(e->clock);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) {
  *e = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
  delete e;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  e->captured = captures(s);
  if (e->captured) return cudaSuccess;
  e->stalled = is_stalled(s);
  e->clock = s->clock;
  e->clock.join(host_clock());  // what came before on the host came before the record
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  if (e->captured) return cudaErrorCapturedEvent;
  if (e->stalled) wait_for_ever();
  host_clock().join(e->clock);
  return cudaSuccess;
}
// Orders nothing: on a GPU the answer may be that it is not over.
cudaError_t cudaEventQuery(cudaEvent_t e) { return e->stalled ? cudaErrorNotReady : cudaSuccess; }

// --- Copies

cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s) {
  ++calls().copies;
  if (kind == cudaMemcpyDeviceToHost) ++calls().host_waits;
  issue(s, "a copy", {{src, bytes}, {dst, bytes, true}}, [=] { std::memmove(dst, src, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpy2DAsync(void* dst, size_t dst_pitch, const void* src, size_t src_pitch,
                              size_t width, size_t height, cudaMemcpyKind, cudaStream_t s) {
  ++calls().copies;
  if (height == 0) return cudaSuccess;
  issue(s, "a copy of rows",
        {{src, width, false, height, src_pitch}, {dst, width, true, height, dst_pitch}}, [=] {
          for (size_t i = 0; i < height; ++i) {
            std::memmove(static_cast<char*>(dst) + i * dst_pitch,
                         static_cast<const char*>(src) + i * src_pitch, width);
          }
        });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t s) {
  ++calls().copies;
  issue(s, "clearing", {{p, bytes, true}}, [=] { std::memset(p, value, bytes); });
  return cudaSuccess;
}

// --- Captures and graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
  if (captures(s)) return cudaErrorInvalidValue;
  s->capture = std::make_unique<Capture>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!captures(s)) return cudaErrorInvalidValue;
  const std::unique_ptr<Capture> capture = std::move(s->capture);
  if (!capture->valid) return cudaErrorStreamCaptureInvalidated;
  *graph = new CUgraph_st{std::move(capture->works)};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  *executable = new CUgraphExec_st{graph->works};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t s) {
  ++calls().graphs;
  if (captures(s)) return spoilt(s);
  for (const Work& work : executable->works) perform(s, work);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
