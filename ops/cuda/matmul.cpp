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
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/cuda/device.h"
#include "core/cuda/status.h"
#include "core/dispatch.h"
#include "ops/cuda/elementwise.h"
#include "ops/cuda/row_bucket.h"
#include "ops/kernel_families.h"
#include "ops/timed_products.h"

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
  bool bias;
  uint8_t alignment;      // log2 of what a, b and c all have, at most 8: some algorithms need it
  int64_t rows, out, in;  // rows: a bucket, where products are found again
  int64_t pitch;          // between the result's rows, which may be a part of wider ones
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& k) const {
    size_t h =
        size_t(k.product) | size_t(k.dtype) << 4 | size_t(k.bias) << 8 | size_t(k.alignment) << 10;
    for (const int64_t v : {k.rows, k.out, k.in, k.pitch})
      h = h * 0x9E3779B97F4A7C15ull + size_t(v);
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

// Column-major [rows, columns], the columns `pitch` apart.
Layout layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t pitch) {
  cublasLtMatrixLayout_t l = nullptr;
  check_blas(cublasLtMatrixLayoutCreate(&l, type, uint64_t(rows), uint64_t(columns), pitch),
             "cublasLtMatrixLayoutCreate");
  return Layout(l);
}

struct Layouts {
  Layout a, b, c;
};

// `columns` of the result's: as many of the product's rows or, of wgrad's, outputs.
Layouts layouts(const Key& key, int64_t columns) {
  const cudaDataType_t type = library_dtype(key.dtype);
  switch (key.product) {
    case Product::forward:  // y^T [out, rows] = w [out, in] x^T [in, rows]
      return {layout(type, key.in, key.out, key.in), layout(type, key.in, columns, key.in),
              layout(type, key.out, columns, key.pitch)};
    case Product::dgrad:  // dx^T [in, rows] = w^T [in, out] dy^T [out, rows]
      return {layout(type, key.in, key.out, key.in), layout(type, key.out, columns, key.out),
              layout(type, key.in, columns, key.pitch)};
    case Product::wgrad:  // dw^T [in, out] = x^T [in, rows] dy [rows, out]
      break;
  }
  const cudaDataType_t sums = library_dtype(accumulator_dtype(key.dtype));
  return {layout(type, key.in, key.rows, key.in), layout(type, columns, key.rows, key.out),
          layout(sums, key.in, columns, key.pitch)};
}
int64_t columns_of(const Key& key) { return key.product == Product::wgrad ? key.out : key.rows; }

template <class T>
void set(const Operation& o, cublasLtMatmulDescAttributes_t attribute, T value) {
  check_blas(cublasLtMatmulDescSetAttribute(o.get(), attribute, &value, sizeof value),
             "cublasLtMatmulDescSetAttribute");
}

Operation operation(const Key& key) {
  const bool wide = key.dtype == DType::f64;
  cublasLtMatmulDesc_t raw = nullptr;
  check_blas(cublasLtMatmulDescCreate(&raw, wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                      wide ? CUDA_R_64F : CUDA_R_32F),
             "cublasLtMatmulDescCreate");
  Operation o(raw);
  set(o, CUBLASLT_MATMUL_DESC_TRANSA, key.product == Product::forward ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(o, CUBLASLT_MATMUL_DESC_TRANSB, key.product == Product::wgrad ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (key.bias) set(o, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  return o;
}

// What is known of a bucket.
struct Products {
  Operation operation;
  std::optional<cublasLtMatmulAlgo_t> fastest;  // where products of the bucket are timed
  // By rows, as each was first met; nothing: the library has none.
  std::unordered_map<int64_t, std::optional<cublasLtMatmulAlgo_t>> algorithms;
};

// The handle is never given back: cublasLtDestroy may wait for the GPU, and a rank that ends
// because another one failed has work on it that never ends. The process ends with its device.
struct Library {
  Library() { check_blas(cublasLtCreate(&handle), "cublasLtCreate"); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  std::mutex mutex;
  cublasLtHandle_t handle = nullptr;
  std::unordered_map<Key, Products, KeyHash> products;
};

// What cuBLAS asks for on Hopper.
constexpr int kCandidates = 8;

struct Call {
  const void *a, *b;
  void* c;
  double beta;
};

cublasStatus_t multiply(Library& library, const Operation& operation, const Layouts& l,
                        const cublasLtMatmulAlgo_t& algorithm, DType dtype, const Call& call,
                        void* workspace, cudaStream_t stream) {
  const double one64 = 1.0, beta64 = call.beta;
  const float one32 = 1.0f, beta32 = float(call.beta);
  const bool wide = dtype == DType::f64;
  return cublasLtMatmul(
      library.handle, operation.get(), wide ? static_cast<const void*>(&one64) : &one32, call.a,
      l.a.get(), call.b, l.b.get(), wide ? static_cast<const void*>(&beta64) : &beta32, call.c,
      l.c.get(), call.c, l.c.get(), &algorithm, workspace, size_t(kMatmulWorkspace), stream);
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

bool worth_timing(const Key& key, Device& device) {
  return key.dtype == DType::bf16 &&
         double(key.rows) * double(key.out) * double(key.in) >=
             double(device.attached<TimedProducts>().least) &&
         tuning(device);
}

// The library's choices for the product, best guess first; none where it has no algorithm.
std::vector<cublasLtMatmulAlgo_t> candidates(Library& library, const Key& key,
                                             const Operation& operation, const Layouts& l,
                                             int most) {
  cublasLtMatmulPreference_t raw = nullptr;
  check_blas(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
  const Preference preference(raw);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check_blas(cublasLtMatmulPreferenceSetAttribute(raw, attribute, &value, sizeof value),
               "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, size_t(kMatmulWorkspace));
  for (const auto operand :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    prefer(operand, uint32_t(1) << key.alignment);
  }
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(library.handle, operation.get(), l.a.get(), l.b.get(),
                                     l.c.get(), l.c.get(), raw, most, found.data(), &count);
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  if (status != CUBLAS_STATUS_SUCCESS) return algorithms;
  for (int i = 0; i < count; ++i) {
    if (found[size_t(i)].state == CUBLAS_STATUS_SUCCESS)
      algorithms.push_back(found[size_t(i)].algo);
  }
  return algorithms;
}

bool takes(Library& library, const Operation& operation, const Layouts& l,
           const cublasLtMatmulAlgo_t& algorithm) {
  cublasLtMatmulHeuristicResult_t result{};
  return cublasLtMatmulAlgoCheck(library.handle, operation.get(), l.a.get(), l.b.get(), l.c.get(),
                                 l.c.get(), &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= size_t(kMatmulWorkspace);
}

class TimedEvent {
 public:
  TimedEvent() { check(cudaEventCreateWithFlags(&event_, 0), "cudaEventCreateWithFlags"); }
  ~TimedEvent() { cudaEventDestroy(event_); }
  TimedEvent(const TimedEvent&) = delete;
  TimedEvent& operator=(const TimedEvent&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Where candidates write while they are timed, and how much of the result.
struct TimingRoom {
  Tensor scratch;  // undefined: the result itself, which is written over anyway
  int64_t columns = 0;
};

// Nothing where there is no memory for it.
std::optional<TimingRoom> timing_room(const Key& key, const Call& call, Device& device) {
  const int64_t columns = columns_of(key);
  if (call.beta == 0) return TimingRoom{.scratch = {}, .columns = columns};
  const bool sums = key.product == Product::wgrad;
  const DType dtype = sums ? accumulator_dtype(key.dtype) : key.dtype;
  const int64_t some = std::min(columns, kTimingScratch / (key.pitch * int64_t(dtype_size(dtype))));
  if (some == 0) return std::nullopt;
  try {
    return TimingRoom{.scratch = Tensor::empty({some, key.pitch}, dtype, device), .columns = some};
  } catch (const UsageError&) {  // the run's own memory goes first
    return std::nullopt;
  }
}

// The fastest of the library's candidates.
std::optional<cublasLtMatmulAlgo_t> timed(Library& library, const Key& key,
                                          const Operation& operation, Call call, Device& device,
                                          void* workspace, cudaStream_t stream) {
  const auto algorithms =
      candidates(library, key, operation, layouts(key, columns_of(key)), kCandidates);
  if (algorithms.size() < 2) return std::nullopt;
  const std::optional<TimingRoom> room = timing_room(key, call, device);
  if (!room) return std::nullopt;
  if (room->scratch.defined()) call.c = room->scratch.raw();
  call.beta = 0;  // what lies there may not be numbers
  const Layouts l = layouts(key, room->columns);
  const TimedEvent begin, end;
  std::optional<cublasLtMatmulAlgo_t> best;
  float least = std::numeric_limits<float>::infinity();
  for (const cublasLtMatmulAlgo_t& algorithm : algorithms) {
    for (int turn = 0; turn < 3; ++turn) {  // the first warms up
      check(cudaEventRecord(begin.get(), stream), "cudaEventRecord");
      if (multiply(library, operation, l, algorithm, key.dtype, call, workspace, stream) !=
          CUBLAS_STATUS_SUCCESS) {
        break;
      }
      check(cudaEventRecord(end.get(), stream), "cudaEventRecord");
      check(cudaEventSynchronize(end.get()), "timing a matrix product");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "cudaEventElapsedTime");
      if (turn == 0 || milliseconds >= least) continue;
      least = milliseconds;
      best = algorithm;
    }
  }
  return best;
}

struct Multiplied {
  const Tensor &a, &b, &bias;
  bool accumulate = false;
};

// False, with nothing done, where the library has no algorithm.
bool run(Key key, const Multiplied& of, Tensor& c) {
  Device& device = c.device();
  const uintptr_t address = reinterpret_cast<uintptr_t>(of.a.raw()) |
                            reinterpret_cast<uintptr_t>(of.b.raw()) |
                            reinterpret_cast<uintptr_t>(c.raw());
  key.alignment = uint8_t(std::min(8, std::countr_zero(address)));
  key.bias = of.bias.defined();
  key.pitch = c.stride(0);
  const auto stream = elastron::cuda::stream_of(device);
  Library& library = device.attached<Library>();
  const std::lock_guard lock(library.mutex);
  const Tensor workspace = Tensor::empty({kMatmulWorkspace}, DType::u8, device);
  const Call call{of.a.raw(), of.b.raw(), c.raw(), of.accumulate ? 1.0 : 0.0};

  Key bucket = key;
  bucket.rows = row_bucket(key.rows);
  const auto [at, is_new] = library.products.try_emplace(bucket);
  Products& products = at->second;
  if (is_new) products.operation = operation(key);
  const Operation& o = products.operation;
  if (key.bias) set(o, CUBLASLT_MATMUL_DESC_BIAS_POINTER, of.bias.raw());
  if (is_new && worth_timing(bucket, device)) {
    products.fastest = timed(library, key, o, call, device, workspace.raw(), stream);
  }
  const Layouts l = layouts(key, columns_of(key));
  const auto [chosen, unknown] = products.algorithms.try_emplace(key.rows);
  if (unknown && products.fastest && takes(library, o, l, *products.fastest)) {
    chosen->second = products.fastest;
  } else if (unknown) {
    const auto first = candidates(library, key, o, l, 1);
    if (!first.empty()) chosen->second = first.front();
  }
  if (!chosen->second) return false;
  check_blas(multiply(library, o, l, *chosen->second, key.dtype, call, workspace.raw(), stream),
             "cublasLtMatmul");
  return true;
}

void must_run(const Key& key, const Multiplied& of, Tensor& c) {
  if (run(key, of, c)) return;
  throw LogicError(fmt::format("cuBLASLt has no algorithm for {} x {} x {} in {}", key.rows,
                               key.out, key.in, dtype_name(key.dtype)));
}

Key key_of(Product product, DType dtype, int64_t rows, const Tensor& weight) {
  return {.product = product,
          .dtype = dtype,
          .bias = false,
          .alignment = 0,
          .rows = rows,
          .out = weight.size(0),
          .in = weight.size(1),
          .pitch = 0};
}

}  // namespace

void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y) {
  if (x.size(0) == 0 || w.size(0) == 0) return;
  const Key key = key_of(Product::forward, x.dtype(), x.size(0), w);
  if (bias.defined() && run(key, {w, x, bias}, y)) return;
  // There may be none with a bias: at odd sizes of bfloat16.
  must_run(key, {w, x, {}}, y);
  if (!bias.defined()) return;
  with_float_dtype(y.dtype(), [&]<class T>() {
    add_to_rows(bias.data<T>(), y.data<T>(), y.size(0), y.size(1),
                elastron::cuda::stream_of(y.device()));
  });
}

void matmul_dgrad(const Tensor& dy, const Tensor& w, bool accumulate, Tensor& dx) {
  if (dy.size(0) == 0) return;
  if (w.size(0) == 0) {
    if (!accumulate) dx.zero();
    return;
  }
  must_run(key_of(Product::dgrad, dy.dtype(), dy.size(0), w), {w, dy, {}, accumulate}, dx);
}

void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw) {
  if (x.size(0) == 0 || dw.size(0) == 0) return;
  must_run(key_of(Product::wgrad, x.dtype(), x.size(0), dw), {x, dy, {}, true}, dw);
}

}  // namespace elastron::ops::cuda
