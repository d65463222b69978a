// cuBLASLt knows column-major matrices only: a row-major [m, n] is its [n, m], so that
// y = x w^T is written y^T = w x^T with no data moved.
#include "ops/cuda/matmul.h"

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/cuda/device.h"
#include "core/cuda/status.h"
#include "ops/kernel_families.h"

namespace elastron::ops::cuda {

namespace {

using elastron::cuda::check;

void check_blas(cublasStatus_t status, const char* operation) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw LogicError(fmt::format("{}: {}", operation, cublasLtGetStatusString(status)));
}

enum class Product : uint8_t { forward, dgrad, wgrad };

struct Key {
  Product product;
  DType dtype;
  bool bias, accumulate;
  uint8_t alignment;  // log2 of what a, b and c all have, at most 8: some algorithms need it
  int64_t rows, out, in;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& k) const {
    size_t h = size_t(k.product) | size_t(k.dtype) << 4 | size_t(k.bias) << 8 |
               size_t(k.accumulate) << 9 | size_t(k.alignment) << 10;
    for (const int64_t v : {k.rows, k.out, k.in}) h = h * 0x9E3779B97F4A7C15ull + size_t(v);
    return h;
  }
};

cudaDataType_t library_dtype(DType t) {
  switch (t) {
    case DType::f64: return CUDA_R_64F;
    case DType::f32: return CUDA_R_32F;
    case DType::bf16: return CUDA_R_16BF;
    default: throw LogicError("a matrix product of " + std::string(dtype_name(t)));
  }
}

// Handles of the library that end with their owner.
template <class T, cublasStatus_t (*kDestroy)(T)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(T object) : object_(object) {}
  Owned(Owned&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() {
    if (object_ != nullptr) kDestroy(object_);
  }
  T get() const { return object_; }

 private:
  T object_ = nullptr;
};
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// Column-major [rows, columns] without gaps.
Layout layout(cudaDataType_t type, int64_t rows, int64_t columns) {
  cublasLtMatrixLayout_t l = nullptr;
  check_blas(cublasLtMatrixLayoutCreate(&l, type, uint64_t(rows), uint64_t(columns), rows),
             "cublasLtMatrixLayoutCreate");
  return Layout(l);
}

struct Compiled {
  Operation operation;
  Layout a, b, c;
  cublasLtMatmulAlgo_t algorithm{};
};

struct Library {
  Library() { check_blas(cublasLtCreate(&handle), "cublasLtCreate"); }
  ~Library() { cublasLtDestroy(handle); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  std::mutex mutex;
  cublasLtHandle_t handle = nullptr;
  std::unordered_map<Key, Compiled, KeyHash> products;
};

// What cuBLAS asks for on Hopper.
constexpr int kCandidates = 8;

struct Call {
  const void *a, *b;
  void* c;
  const void* bias;
  double beta;
};

cublasStatus_t multiply(Library& library, const Compiled& p, DType dtype, const Call& call,
                        void* workspace, cudaStream_t stream) {
  const double one64 = 1.0, beta64 = call.beta;
  const float one32 = 1.0f, beta32 = float(call.beta);
  const bool wide = dtype == DType::f64;
  return cublasLtMatmul(
      library.handle, p.operation.get(), wide ? static_cast<const void*>(&one64) : &one32, call.a,
      p.a.get(), call.b, p.b.get(), wide ? static_cast<const void*>(&beta64) : &beta32, call.c,
      p.c.get(), call.c, p.c.get(), &p.algorithm, workspace, size_t(kMatmulWorkspace), stream);
}

template <class T>
void set(const Operation& o, cublasLtMatmulDescAttributes_t attribute, T value) {
  check_blas(cublasLtMatmulDescSetAttribute(o.get(), attribute, &value, sizeof value),
             "cublasLtMatmulDescSetAttribute");
}

Compiled describe(const Key& key) {
  const cudaDataType_t type = library_dtype(key.dtype);
  const cudaDataType_t sum = key.dtype == DType::f64 ? CUDA_R_64F : CUDA_R_32F;
  cublasLtMatmulDesc_t o = nullptr;
  check_blas(cublasLtMatmulDescCreate(
                 &o, key.dtype == DType::f64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F, sum),
             "cublasLtMatmulDescCreate");
  Compiled p;
  p.operation = Operation(o);
  const auto transpose = [&](cublasOperation_t a, cublasOperation_t b) {
    set(p.operation, CUBLASLT_MATMUL_DESC_TRANSA, a);
    set(p.operation, CUBLASLT_MATMUL_DESC_TRANSB, b);
  };
  switch (key.product) {
    case Product::forward:  // y^T [out, rows] = w [out, in] x^T [in, rows]
      transpose(CUBLAS_OP_T, CUBLAS_OP_N);
      p.a = layout(type, key.in, key.out);
      p.b = layout(type, key.in, key.rows);
      p.c = layout(type, key.out, key.rows);
      if (key.bias) set(p.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      break;
    case Product::dgrad:  // dx^T [in, rows] = w^T [in, out] dy^T [out, rows]
      transpose(CUBLAS_OP_N, CUBLAS_OP_N);
      p.a = layout(type, key.in, key.out);
      p.b = layout(type, key.out, key.rows);
      p.c = layout(type, key.in, key.rows);
      break;
    case Product::wgrad:  // dw^T [in, out] = x^T [in, rows] dy [rows, out]
      transpose(CUBLAS_OP_N, CUBLAS_OP_T);
      p.a = layout(type, key.in, key.rows);
      p.b = layout(type, key.out, key.rows);
      p.c = layout(sum, key.in, key.out);
      break;
  }
  return p;
}

// ELASTRON_MATMUL_TUNE=0 takes the library's first choice: for runs that must repeat bit for bit on
// a machine whose timings differ.
bool tuning(Device& device) {
  if (is_forbidden(device, KernelFamily::tuned_products)) return false;
  static const bool on = [] {
    const char* value = std::getenv("ELASTRON_MATMUL_TUNE");
    return value == nullptr || std::string_view(value) != "0";
  }();
  return on;
}

// Sets the fastest of the library's candidates. The result is not disturbed: candidates are timed
// into `scratch`, as large as c.
void choose(Library& library, const Key& key, Compiled& p, Call call, void* scratch,
            void* workspace, cudaStream_t stream) {
  cublasLtMatmulPreference_t raw = nullptr;
  check_blas(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
  const Preference preference(raw);
  const size_t most = size_t(kMatmulWorkspace);
  check_blas(cublasLtMatmulPreferenceSetAttribute(raw, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &most, sizeof most),
             "cublasLtMatmulPreferenceSetAttribute");
  const uint32_t bytes = 1u << key.alignment;
  for (const auto operand :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    check_blas(cublasLtMatmulPreferenceSetAttribute(raw, operand, &bytes, sizeof bytes),
               "cublasLtMatmulPreferenceSetAttribute");
  }
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(library.handle, p.operation.get(), p.a.get(), p.b.get(),
                                     p.c.get(), p.c.get(), raw, kCandidates, found.data(), &count);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0) {
    throw LogicError(fmt::format("cuBLASLt has no algorithm for {} x {} x {} in {}", key.rows,
                                 key.out, key.in, dtype_name(key.dtype)));
  }
  p.algorithm = found[0].algo;
  if (count == 1 || scratch == nullptr) return;

  call.c = scratch;
  call.beta = 0;  // what lies in the scratch may not be numbers
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  float best = std::numeric_limits<float>::infinity();
  for (int i = 0; i < count; ++i) {
    if (found[size_t(i)].state != CUBLAS_STATUS_SUCCESS) continue;
    Compiled& candidate = p;
    const cublasLtMatmulAlgo_t before = p.algorithm;
    candidate.algorithm = found[size_t(i)].algo;
    float fastest = std::numeric_limits<float>::infinity();
    bool works = true;
    for (int turn = 0; works && turn < 3; ++turn) {  // the first warms up
      check(cudaEventRecord(begin, stream), "cudaEventRecord");
      works =
          multiply(library, candidate, key.dtype, call, workspace, stream) == CUBLAS_STATUS_SUCCESS;
      check(cudaEventRecord(end, stream), "cudaEventRecord");
      check(cudaEventSynchronize(end), "timing a matrix product");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
      if (turn > 0) fastest = std::min(fastest, milliseconds);
    }
    if (works && fastest < best) {
      best = fastest;
    } else {
      p.algorithm = before;
    }
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
}

void run(Key key, const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& c) {
  Device& device = c.device();
  const uintptr_t address = reinterpret_cast<uintptr_t>(a.raw()) |
                            reinterpret_cast<uintptr_t>(b.raw()) |
                            reinterpret_cast<uintptr_t>(c.raw());
  key.alignment = uint8_t(std::min(8, std::countr_zero(address)));
  const auto stream = elastron::cuda::stream_of(device);
  Library& library = device.attached<Library>();
  const std::lock_guard lock(library.mutex);
  const Tensor workspace = Tensor::empty({kMatmulWorkspace}, DType::u8, device);
  const Call call{a.raw(), b.raw(), c.raw(), bias.defined() ? bias.raw() : nullptr,
                  key.accumulate ? 1.0 : 0.0};
  auto it = library.products.find(key);
  if (it == library.products.end()) {
    Compiled p = describe(key);
    if (key.bias) set(p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
    const Tensor scratch = tuning(device) ? Tensor::empty(c.shape(), c.dtype(), device) : Tensor();
    choose(library, key, p, call, scratch.defined() ? scratch.raw() : nullptr, workspace.raw(),
           stream);
    it = library.products.emplace(key, std::move(p)).first;
  }
  if (key.bias) set(it->second.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
  check_blas(multiply(library, it->second, key.dtype, call, workspace.raw(), stream),
             "cublasLtMatmul");
}

}  // namespace

void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y) {
  if (x.size(0) == 0 || w.size(0) == 0) return;
  run({Product::forward, x.dtype(), bias.defined(), false, 0, x.size(0), w.size(0), w.size(1)}, w,
      x, bias, y);
}

void matmul_dgrad(const Tensor& dy, const Tensor& w, bool accumulate, Tensor& dx) {
  if (dy.size(0) == 0) return;
  if (w.size(0) == 0) {
    if (!accumulate) dx.zero();
    return;
  }
  run({Product::dgrad, dy.dtype(), false, accumulate, 0, dy.size(0), w.size(0), w.size(1)}, w, dy,
      {}, dx);
}

void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw) {
  if (x.size(0) == 0 || dw.size(0) == 0) return;
  run({Product::wgrad, x.dtype(), false, true, 0, x.size(0), dw.size(0), dw.size(1)}, x, dy, {},
      dw);
}

}  // namespace elastron::ops::cuda
