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
                         std::string& why) {
    setenv("ELASTRON_STAND_IN_SM", std::to_string(capability).c_str(), 1);
    auto graph = attention_graph(shape);
    graph->set_device_properties(properties);
    auto status = graph->validate();
    if (status.is_good()) status = graph->build_operation_graph();
    if (status.is_good()) status = graph->create_execution_plans({fe::HeurMode_t::A});
    if (status.is_good()) status = graph->check_support();
    if (status.is_good()) status = graph->build_plans();
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
    EXPECT_GE(planned(shape(128, 4, 8, !backward, backward), 100, properties, why), 0) << why;
  }
}

// Packed statistics cannot be read by Ampere's backward pass: our own kernels do it there.
TEST_F(CudnnPlans, Ampere) {
  const auto properties = gpu(80, 108, 166912);
  std::string why;
  EXPECT_GE(planned(shape(128, 4, 8, true, false), 80, properties, why), 0) << why;
  EXPECT_EQ(planned(shape(128, 4, 8, false, true), 80, properties, why), -1);
}

TEST(FullAttentionSizes, GrowInEighths) {
  EXPECT_EQ(rounded_size(1), 128);
  EXPECT_EQ(rounded_size(128), 128);
  EXPECT_EQ(rounded_size(129), 144);
  EXPECT_EQ(rounded_size(65536), 65536);
  EXPECT_EQ(rounded_size(65537), 65536 + 8192);
  for (int64_t size = 1; size < 5000; ++size) {
    const int64_t rounded = rounded_size(size);
    ASSERT_GE(rounded, size);
    ASSERT_LE(rounded, std::max<int64_t>(128, size + size / 8)) << size;
    ASSERT_EQ(rounded_size(rounded), rounded) << size;
  }
}

}  // namespace
}  // namespace elastron::ops::cuda
