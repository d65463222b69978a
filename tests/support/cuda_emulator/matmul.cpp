// Stands in for cuBLASLt: plain loops, so that what is around the products runs without a GPU. As
// the real one it has no algorithm for some problems: here a bias in bfloat16 of odd length.
#include <cublasLt.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/dtype.h"
#include "tests/support/cuda_emulator/blas.h"
#include "tests/support/cuda_emulator/faults.h"
#include "tests/support/cuda_emulator/memory.h"

struct CublasLtMatmulDesc {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};
struct CublasLtMatrixLayout {
  cudaDataType_t type;
  int64_t rows, columns, pitch;
};
struct CublasLtMatmulPreference {};

namespace elastron::emulator {

Blas& blas() {
  static Blas it;
  return it;
}

namespace {

template <class F>
void with_type(cudaDataType_t type, F&& f) {
  switch (type) {
    case CUDA_R_64F: return f.template operator()<double>();
    case CUDA_R_32F: return f.template operator()<float>();
    case CUDA_R_16BF: return f.template operator()<bf16>();
  }
}

// Column-major, perhaps read as its transpose.
template <class T>
struct Matrix {
  const T* data;
  int64_t row, column;  // elements from one to the next
  Matrix(const void* at, const CublasLtMatrixLayout& l, cublasOperation_t as)
      : data(static_cast<const T*>(at)),
        row(as == CUBLAS_OP_N ? 1 : l.pitch),
        column(as == CUBLAS_OP_N ? l.pitch : 1) {}
  T at(int64_t r, int64_t c) const { return data[r * row + c * column]; }
};

template <class T, class C>
void product(const CublasLtMatmulDesc& o, const Matrix<T>& a, const Matrix<T>& b, int64_t inner,
             bool accumulate, const CublasLtMatrixLayout& to, C* c) {
  using S = accumulator_t<C>;
  std::vector<S> sums(static_cast<size_t>(to.rows));
  const T* bias = o.epilogue == CUBLASLT_EPILOGUE_BIAS ? static_cast<const T*>(o.bias) : nullptr;
  for (int64_t j = 0; j < to.columns; ++j) {
    for (int64_t i = 0; i < to.rows; ++i) sums[size_t(i)] = bias != nullptr ? S(bias[i]) : S(0);
    for (int64_t k = 0; k < inner; ++k) {
      const S factor = S(b.at(k, j));
      for (int64_t i = 0; i < to.rows; ++i) sums[size_t(i)] += S(a.at(i, k)) * factor;
    }
    C* column = c + j * to.pitch;
    for (int64_t i = 0; i < to.rows; ++i) {
      column[i] = C(accumulate ? S(column[i]) + sums[size_t(i)] : sums[size_t(i)]);
    }
  }
}

void compute(const CublasLtMatmulDesc& o, const void* a, const CublasLtMatrixLayout& a_layout,
             const void* b, const CublasLtMatrixLayout& b_layout, bool accumulate, void* c,
             const CublasLtMatrixLayout& layout) {
  const int64_t whole = o.a == CUBLAS_OP_N ? a_layout.columns : a_layout.rows;
  // A planted fault leaves out the last terms of every sum.
  const int64_t inner = planted(Faulty::products, Fault::tile) ? whole - whole / 4 : whole;
  with_type(a_layout.type, [&]<class T>() {
    with_type(layout.type, [&]<class C>() {
      product(o, Matrix<T>(a, a_layout, o.a), Matrix<T>(b, b_layout, o.b), inner, accumulate,
              layout, static_cast<C*>(c));
    });
  });
}

size_t size_of(cudaDataType_t type) {
  size_t bytes = 0;
  with_type(type, [&]<class T>() { bytes = sizeof(T); });
  return bytes;
}
Bytes bytes_of(const void* at, const CublasLtMatrixLayout& l, bool written) {
  const size_t size = size_of(l.type);
  return {at, size_t(l.rows) * size, written, size_t(l.columns), size_t(l.pitch) * size};
}

bool takes(uint64_t algorithm, const CublasLtMatmulDesc& o, const CublasLtMatrixLayout& c) {
  if (o.epilogue == CUBLASLT_EPILOGUE_BIAS && c.type == CUDA_R_16BF && c.rows % 2 != 0) {
    return false;
  }
  return !blas().takes || blas().takes(algorithm, c.rows, c.columns);
}

}  // namespace
}  // namespace elastron::emulator

namespace emulator = elastron::emulator;

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "invalid value";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t,
                                        cudaDataType_t) {
  *desc = new CublasLtMatmulDesc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  void* to = nullptr;
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: to = &desc->a; break;
    case CUBLASLT_MATMUL_DESC_TRANSB: to = &desc->b; break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: to = &desc->epilogue; break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: to = &desc->bias; break;
  }
  std::memcpy(to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t pitch) {
  if (pitch < int64_t(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new CublasLtMatrixLayout{type, int64_t(rows), int64_t(columns), pitch};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new CublasLtMatmulPreference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t,
                                                    const void*, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int most,
                                              cublasLtMatmulHeuristicResult_t found[], int* count) {
  emulator::Blas& blas = emulator::blas();
  ++blas.queries;
  if (most > 1) ++blas.candidates;
  *count = 0;
  for (uint64_t i = 0; i < emulator::kAlgorithms && *count < most; ++i) {
    if (!emulator::takes(i, *desc, *c)) continue;
    found[(*count)++] = {
        .algo = {.data = {i}}, .workspaceSize = 0, .state = CUBLAS_STATUS_SUCCESS, .wavesCount = 1};
  }
  return *count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                       const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  ++emulator::blas().checks;
  *result = {};
  return emulator::takes(algorithm->data[0], *desc, *c) ? CUBLAS_STATUS_SUCCESS
                                                        : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void*,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t layout, void* d, cublasLtMatrixLayout_t,
                              const cublasLtMatmulAlgo_t* algorithm, void*, size_t,
                              cudaStream_t stream) {
  emulator::Blas& blas = emulator::blas();
  if (c != d || !emulator::takes(algorithm->data[0], *desc, *layout)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  ++emulator::calls().launches;
  ++blas.products;
  blas.last_algorithm = algorithm->data[0];
  const bool wide = layout->type == CUDA_R_64F;
  const double factor =
      wide ? *static_cast<const double*>(beta) : double(*static_cast<const float*>(beta));
  if (blas.seen) blas.seen(d, factor, layout->columns);
  if (!blas.computes) return CUBLAS_STATUS_SUCCESS;
  std::vector<emulator::Bytes> touched{emulator::bytes_of(a, *a_layout, false),
                                       emulator::bytes_of(b, *b_layout, false),
                                       emulator::bytes_of(d, *layout, true)};
  if (desc->bias != nullptr) {
    touched.push_back({desc->bias, size_t(layout->rows) * emulator::size_of(layout->type)});
  }
  // A graph does it again when the descriptors may be gone.
  emulator::issue(stream, "a product", std::move(touched),
                  [o = *desc, a, al = *a_layout, b, bl = *b_layout, factor, d, l = *layout] {
                    emulator::compute(o, a, al, b, bl, factor != 0, d, l);
                  });
  return CUBLAS_STATUS_SUCCESS;
}

// The events' clock: what was recorded last took the less time, the later its algorithm.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = float(emulator::kAlgorithms - emulator::blas().last_algorithm);
  return cudaSuccess;
}
