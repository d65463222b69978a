// The graphs that full attention asks cuDNN for, planned and compiled by cuDNN itself for GPUs that
// are not there. What the kernels compute is not seen here; that cuDNN has them, and how much
// workspace they take, is.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "ops/cuda/attention/cudnn_graph.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}

namespace elastron::ops::cuda {
namespace {

namespace fe = cudnn_frontend;

std::shared_ptr<const fe::DeviceProperties> gpu(int capability, int multiprocessors,
                                                int shared_memory) {
  const std::string json =
      R"({"deviceName": "test", "cudaDeviceId": 0, "driverVer": 13000, "warpSize": 32,)"
      R"("maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],)"
      R"("regsPerBlock": 65536, "smClockRateKHz": 1980000, "memClockRateKHz": 3201000,)"
      R"("l2CacheSize": 52428800, "maxSharedMemoryPerBlock": 49152, "pciDeviceId": 0,)"
      R"("reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,)"
      R"("maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "isTccDriver": 0,)"
      R"("supportCoopLaunch": 0, "totalGlobalMem": 80000000000, "deviceVer": )" +
      std::to_string(10 * capability) + R"(, "multiProcessorCount": )" +
      std::to_string(multiprocessors) + R"(, "maxSharedMemoryPerBlockOptin": )" +
      std::to_string(shared_memory) + "}";
  auto properties = std::make_shared<fe::DeviceProperties>();
  auto status = properties->deserialize({json.begin(), json.end()});
  EXPECT_TRUE(status.is_good()) << status.get_message();
  return properties;
}

class CudnnPlans : public ::testing::Test {
 protected:
  void SetUp() override {
    if (fe::cudnn_dlhandle == nullptr) fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW);
    if (fe::cudnn_dlhandle == nullptr) GTEST_SKIP() << dlerror();
    if (fe::detail::get_backend_version() < 90800) GTEST_SKIP() << "cuDNN is older than 9.8";
  }

  // Its workspace, or -1 and the reason.
  static int64_t planned(const FullAttentionShape& shape, int capability,
                         const std::shared_ptr<const fe::DeviceProperties>& properties,
                         std::string& why,
                         const std::shared_ptr<fe::KernelCache>& kernels = nullptr) {
    setenv("ELASTRON_STAND_IN_SM", std::to_string(capability).c_str(), 1);
    auto graph = attention_graph(shape, kernels);
    graph->set_device_properties(properties);
    auto status = compile(*graph);
    int64_t bytes = -1;
    if (status.is_good()) status = graph->get_workspace_size(bytes);
    why = status.get_message();
    return bytes;
  }

  // Of one kv head of `of` that lie side by side, or of all.
  static FullAttentionShape shape(int64_t dim, int64_t group, int64_t of, bool all, bool backward) {
    return {.sequences = 3,
            .longest = 4096,
            .tokens = 8192,
            .q_heads = group * (all ? of : 1),
            .kv_heads = all ? of : 1,
            .head_dim = dim,
            .scale = 0.1,
            .backward = backward,
            .q_stride = of * group * dim,
            .k_stride = of * dim,
            .v_stride = of * dim,
            .out_stride = of * group * dim,
            .lse_stride = group * (all ? of : 1),
            .d_out_stride = of * group * dim};
  }
};

// A context rank's part of a batch: each sequence's tokens are the last of its keys.
FullAttentionShape of_parts(FullAttentionShape shape) {
  shape.longest_keys = 16384;
  shape.keys = 32768;
  return shape;
}

TEST_F(CudnnPlans, Hopper) {
  const auto properties = gpu(90, 132, 232448);
  std::string why;
  for (const int64_t dim : {64, 80, 96, 128}) {
    for (const int64_t group : {1, 4}) {
      EXPECT_GE(planned(shape(dim, group, 8, true, false), 90, properties, why), 0) << why;
      EXPECT_GE(planned(shape(dim, group, 8, false, false), 90, properties, why), 0) << why;
      // What the memory plan of a run counts on, but for a page or so.
      const FullAttentionShape backward = shape(dim, group, 8, false, true);
      const int64_t bytes = planned(backward, 90, properties, why);
      EXPECT_GE(bytes, full_attention_workspace(backward)) << why;
      EXPECT_LE(bytes, full_attention_workspace(backward) + 65536) << why;
    }
  }
}

TEST_F(CudnnPlans, Blackwell) {
  const auto properties = gpu(100, 148, 232448);
  std::string why;
  for (const bool backward : {false, true}) {
    const FullAttentionShape whole = shape(128, 4, 8, !backward, backward);
    EXPECT_GE(planned(whole, 100, properties, why), 0) << why;
    EXPECT_GE(planned(of_parts(whole), 100, properties, why), 0) << why;
  }
}

TEST_F(CudnnPlans, PartsOfSequences) {
  const auto properties = gpu(90, 132, 232448);
  std::string why;
  for (const int64_t dim : {64, 128}) {
    EXPECT_GE(planned(of_parts(shape(dim, 4, 8, true, false)), 90, properties, why), 0) << why;
    EXPECT_GE(planned(of_parts(shape(dim, 4, 8, false, false)), 90, properties, why), 0) << why;
    const FullAttentionShape backward = of_parts(shape(dim, 4, 8, false, true));
    const int64_t bytes = planned(backward, 90, properties, why);
    EXPECT_GE(bytes, full_attention_workspace(backward)) << why;
    EXPECT_LE(bytes, full_attention_workspace(backward) + 65536) << why;
  }
}

// Forward, kernels of one size are those of the others; the backward pass is refused so, which is
// why sizes are in buckets.
TEST_F(CudnnPlans, KernelsOfAnySize) {
  const auto properties = gpu(90, 132, 232448);
  std::string why;
  const auto kernels = std::make_shared<fe::KernelCache>();
  FullAttentionShape forward = shape(128, 4, 8, true, false);
  for (const int64_t sequences : {1, 4, 64}) {
    forward.sequences = sequences;
    forward.longest *= 2;
    EXPECT_GE(planned(forward, 90, properties, why, kernels), 0) << why;
  }
  const auto others = std::make_shared<fe::KernelCache>();
  EXPECT_EQ(planned(shape(128, 4, 8, false, true), 90, properties, why, others), -1);
}

// Packed statistics cannot be read by Ampere's backward pass: our own kernels do it there.
TEST_F(CudnnPlans, Ampere) {
  const auto properties = gpu(80, 108, 166912);
  std::string why;
  EXPECT_GE(planned(shape(128, 4, 8, true, false), 80, properties, why), 0) << why;
  EXPECT_GE(planned(of_parts(shape(128, 4, 8, true, false)), 80, properties, why), 0) << why;
  EXPECT_EQ(planned(shape(128, 4, 8, false, true), 80, properties, why), -1);
}

}  // namespace
}  // namespace elastron::ops::cuda
