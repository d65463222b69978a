#include "ops/cuda/attention/full_attention.h"

#include <fmt/format.h>

#include <mutex>
#include <unordered_map>
#include <utility>

#include "core/error.h"

#if ELASTRON_WITH_CUDNN
#include <dlfcn.h>

#include <cstdlib>

#include "core/cuda/device.h"
#include "core/log.h"
#include "ops/cuda/attention/cudnn_graph.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // what the frontend takes cuDNN's functions from
}

namespace elastron::ops::cuda {

namespace {

namespace fe = cudnn_frontend;

struct ShapeHash {
  size_t operator()(const FullAttentionShape& s) const {
    size_t h = s.backward ? 1 : 0;
    for (const int64_t v : {s.sequences, s.longest, s.tokens, s.longest_keys, s.keys, s.q_heads,
                            s.kv_heads, s.head_dim, s.q_stride, s.k_stride, s.v_stride,
                            s.out_stride, s.lse_stride, s.d_out_stride}) {
      h = h * 0x9E3779B97F4A7C15ull + size_t(v);
    }
    return h;
  }
};

class Plan final : public FullAttentionPlan {
 public:
  Plan(cudnnHandle_t handle, std::shared_ptr<fe::graph::Graph> graph,
       const FullAttentionShape& shape)
      : handle_(handle),
        graph_(std::move(graph)),
        backward_(shape.backward),
        own_keys_(shape.own_keys()) {
    auto status = graph_->get_workspace_size(workspace_);
    ELASTRON_CHECK(status.is_good(), "cuDNN: " + status.get_message());
  }
  int64_t workspace_bytes() const override { return workspace_; }

  void run(const FullAttentionTensors& t, void* workspace, Stream stream) override {
    std::unordered_map<int64_t, void*> pack;
    const auto bind = [&pack](GraphTensor name, const PackedHeads& x) {
      pack[name] = const_cast<void*>(x.data);
      pack[kStarts + name] = const_cast<int64_t*>(x.starts);
    };
    pack[kLengths] = const_cast<int32_t*>(t.lengths);
    if (own_keys_) pack[kKeyLengths] = const_cast<int32_t*>(t.key_lengths);
    bind(kQ, t.q);
    bind(kK, t.k);
    bind(kV, t.v);
    bind(kOut, t.out);
    bind(kLse, t.lse);
    if (backward_) {
      bind(kDOut, t.d_out);
      bind(kDQ, t.dq);
      bind(kDK, t.dk);
      bind(kDV, t.dv);
    }
    if (fe::detail::set_stream(handle_, stream) != CUDNN_STATUS_SUCCESS) {
      throw LogicError("cudnnSetStream failed");
    }
    auto status = graph_->execute(handle_, pack, workspace);
    if (status.is_bad()) {
      throw CommunicationError("cuDNN's attention failed: " + status.get_message(), "GPU",
                               "set model.full_attention: own");
    }
  }

 private:
  cudnnHandle_t handle_;
  std::shared_ptr<fe::graph::Graph> graph_;
  bool backward_, own_keys_;
  int64_t workspace_ = 0;
};

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// What a device keeps. The handle is never given back: the driver may be gone by then.
class Library {
 public:
  Library() {
    const char* chosen = std::getenv("ELASTRON_CUDNN_LIBRARY");
    static std::mutex loading;
    const std::lock_guard lock(loading);
    if (fe::cudnn_dlhandle == nullptr) {
      fe::cudnn_dlhandle = dlopen(chosen != nullptr ? chosen : "libcudnn.so.9", RTLD_NOW);
    }
    if (fe::cudnn_dlhandle == nullptr) {
      why_ = fmt::format("no cuDNN ({})", dlerror());
      return;
    }
    try {
      const auto status = fe::detail::create_handle(&handle_);
      if (status != CUDNN_STATUS_SUCCESS) {
        handle_ = nullptr;
        why_ = std::string("cuDNN does not start: ") + fe::detail::get_error_string(status);
        return;
      }
      const size_t version = fe::detail::get_backend_version();
      name_ = fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
    } catch (const std::exception& error) {
      // It also wants the CUDA runtime as a shared library.
      handle_ = nullptr;
      why_ = std::string("cuDNN does not start: ") + error.what();
    }
  }

  const std::string& name() const { return name_; }
  const std::string& why() const { return why_; }

  bool supports(const FullAttentionShape& shape, std::string& why) {
    if (handle_ == nullptr) {
      why = why_;
      return false;
    }
    const std::lock_guard lock(mutex_);
    auto status = offer(*attention_graph(shape), handle_);
    if (status.is_bad()) why = first_line(status.get_message());
    return status.is_good();
  }

  FullAttentionPlan* plan(const FullAttentionShape& shape) {
    if (handle_ == nullptr) return nullptr;
    const std::lock_guard lock(mutex_);
    const auto [at, is_new] = plans_.try_emplace(shape);
    if (is_new) at->second = make(shape);
    return at->second.get();
  }

 private:
  std::unique_ptr<FullAttentionPlan> make(const FullAttentionShape& shape) {
    std::string problem;
    const auto made = [&](const std::shared_ptr<fe::KernelCache>& kernels) {
      try {
        auto graph = attention_graph(shape, kernels);
        auto status = compile(*graph, handle_);
        if (status.is_good()) return std::make_unique<Plan>(handle_, std::move(graph), shape);
        problem = status.get_message();
      } catch (const std::exception& error) {
        problem = error.what();
      }
      return std::unique_ptr<Plan>();
    };
    // cuDNN compiles a backward pass for each size, and perhaps a forward pass that it has no
    // kernels for all sizes of.
    if (!shape.backward) {
      auto& kernels = kernels_[without_sizes(shape)];
      if (!kernels) kernels = std::make_shared<fe::KernelCache>();
      if (auto plan = made(kernels)) return plan;
    }
    if (auto plan = made(nullptr)) return plan;
    if (!std::exchange(reported_, true)) {
      log_warning("full attention by our own kernels: {} has none for {} heads of {} ({})", name_,
                  shape.backward ? "the backward pass of" : "the forward pass of", shape.head_dim,
                  first_line(problem));
    }
    return nullptr;
  }

  cudnnHandle_t handle_ = nullptr;
  std::string name_, why_;
  std::mutex mutex_;
  bool reported_ = false;
  std::unordered_map<FullAttentionShape, std::unique_ptr<FullAttentionPlan>, ShapeHash> plans_;
  std::unordered_map<FullAttentionShape, std::shared_ptr<fe::KernelCache>, ShapeHash> kernels_;
};

}  // namespace

FullAttentionPlan* full_attention_plan(Device& device, const FullAttentionShape& shape) {
  return device.attached<Library>().plan(shape);
}

bool full_attention_supported(Device& device, const FullAttentionShape& shape, std::string& why) {
  return device.attached<Library>().supports(shape, why);
}

std::string full_attention_library(Device& device, std::string& why) {
  auto& library = device.attached<Library>();
  why = library.why();
  return library.name();
}

}  // namespace elastron::ops::cuda

#else

namespace elastron::ops::cuda {

FullAttentionPlan* full_attention_plan(Device&, const FullAttentionShape&) { return nullptr; }

bool full_attention_supported(Device&, const FullAttentionShape&, std::string& why) {
  why = "this build has no cuDNN";
  return false;
}

std::string full_attention_library(Device&, std::string& why) {
  why = "this build has no cuDNN";
  return "";
}

}  // namespace elastron::ops::cuda

#endif
