#include "ops/cuda/tensor_map.h"

#include <cuda_runtime.h>

#include "core/error.h"

namespace elastron::ops::cuda {

namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                            CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                            CUtensorMapFloatOOBfill);

// The driver is not linked: programs start where there is none.
Encode driver_encode() {
  constexpr unsigned kFirstWithTensorMaps = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
  const cudaError_t status = cudaGetDriverEntryPointByVersion(
      "cuTensorMapEncodeTiled", &function, kFirstWithTensorMaps, cudaEnableDefault, &result);
#else
  static_cast<void>(kFirstWithTensorMaps);
  const cudaError_t status =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &result);
#endif
  if (status != cudaSuccess || result != cudaDriverEntryPointSuccess) {
    static_cast<void>(cudaGetLastError());
    return nullptr;
  }
  return reinterpret_cast<Encode>(function);
}
Encode encode() {
  static const Encode function = driver_encode();
  return function;
}

}  // namespace

bool has_tensor_maps() { return encode() != nullptr; }

CUtensorMap tile_map(const HeadsView& x, int64_t all_tokens, int64_t all_heads, int64_t head_dim,
                     int64_t tokens, int64_t heads) {
  ELASTRON_CHECK(has_tensor_maps(), "the driver knows no tensor maps");
  constexpr cuuint64_t kElement = 2;
  const cuuint64_t sizes[3] = {cuuint64_t(head_dim), cuuint64_t(all_heads), cuuint64_t(all_tokens)};
  const cuuint64_t strides[2] = {cuuint64_t(head_dim) * kElement,
                                 cuuint64_t(x.token_stride) * kElement};
  const cuuint32_t box[3] = {64, cuuint32_t(heads), cuuint32_t(tokens)};
  const cuuint32_t steps[3] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(x.data), sizes, strides,
               box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  ELASTRON_CHECK(result == CUDA_SUCCESS, "the driver takes no such tensor map");
  return map;
}

}  // namespace elastron::ops::cuda
