#include "ops/cpu/matmul.h"

#include <functional>
#include <list>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "ops/cpu/parallel_for.h"

namespace elastron::ops::cpu {

namespace {

using dnnl::memory;

enum class Product : uint8_t { forward, dgrad, wgrad };

memory::data_type library_dtype(DType t) {
  return t == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

// What a compiled product depends on. The row count changes from batch to batch, so it is part of
// the key and old entries are dropped.
struct Key {
  Product product;
  DType dtype;
  bool bias, accumulate, packed;
  int64_t rows, out, in;
  auto tie() const { return std::tie(product, dtype, bias, accumulate, packed, rows, out, in); }
  bool operator==(const Key& other) const { return tie() == other.tie(); }
};

struct KeyHash {
  size_t operator()(const Key& k) const {
    size_t h = size_t(k.product) | size_t(k.dtype) << 4 | size_t(k.bias) << 8 |
               size_t(k.accumulate) << 9 | size_t(k.packed) << 10;
    for (int64_t v : {k.rows, k.out, k.in}) h = h * 0x9E3779B97F4A7C15ull + size_t(v);
    return h;
  }
};

struct Compiled {
  dnnl::matmul primitive;
  memory::desc source, weights, destination, bias;
};

// oneDNN's engine and the compiled products. One per process, like the library's own state; calls
// are serialised, as the products themselves use all threads.
class Library {
 public:
  static Library& get() {
    static Library library;
    return library;
  }

  std::mutex mutex;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};

  // `fixed_weights`: the layout a frozen weight was already packed to, if it was.
  const Compiled& compiled(const Key& key, const memory::desc* fixed_weights) {
    if (auto it = index_.find(key); it != index_.end()) {
      entries_.splice(entries_.begin(), entries_, it->second);
      return it->second->second;
    }
    entries_.emplace_front(key, compile(key, fixed_weights));
    index_[key] = entries_.begin();
    if (entries_.size() > kMostEntries) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return entries_.front().second;
  }

 private:
  static constexpr size_t kMostEntries = 1024;

  Compiled compile(const Key& key, const memory::desc* fixed_weights) {
    const auto type = library_dtype(key.dtype);
    const auto plain = memory::format_tag::ab;
    const auto transposed = memory::format_tag::ba;
    memory::desc source, weights, destination, bias;
    switch (key.product) {
      case Product::forward:
        source = {{key.rows, key.in}, type, plain};
        weights = {{key.in, key.out}, type, key.packed ? memory::format_tag::any : transposed};
        destination = {{key.rows, key.out}, type, plain};
        if (key.bias) bias = {{1, key.out}, type, plain};
        break;
      case Product::dgrad:
        source = {{key.rows, key.out}, type, plain};
        weights = {{key.out, key.in}, type, key.packed ? memory::format_tag::any : plain};
        destination = {{key.rows, key.in}, type, plain};
        break;
      case Product::wgrad:
        source = {{key.out, key.rows}, type, transposed};
        weights = {{key.rows, key.in}, type, plain};
        destination = {{key.out, key.in}, memory::data_type::f32, plain};
        break;
    }
    if (key.packed && fixed_weights != nullptr) weights = *fixed_weights;

    dnnl::primitive_attr attributes;
    if (key.accumulate) {
      dnnl::post_ops operations;
      operations.append_sum(1.0f);
      attributes.set_post_ops(operations);
    }
    const auto description = key.bias ? dnnl::matmul::desc(source, weights, bias, destination)
                                      : dnnl::matmul::desc(source, weights, destination);
    const dnnl::matmul::primitive_desc chosen(description, attributes, engine);
    return {dnnl::matmul(chosen), source, chosen.weights_desc(), destination, bias};
  }

  using Entry = std::pair<Key, Compiled>;
  std::list<Entry> entries_;
  std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> index_;
};

void run(const Key& key, const Tensor& source, const Tensor& weights, const Tensor& bias,
         PackedWeight* packed, Tensor& destination) {
  Library& library = Library::get();
  const std::lock_guard lock(library.mutex);
  memory::desc fixed;
  const bool have_packed = packed != nullptr && packed->memory.has_value();
  if (have_packed) fixed = packed->memory->get_desc();
  const Compiled& compiled = library.compiled(key, have_packed ? &fixed : nullptr);

  memory weight_memory;
  if (packed == nullptr) {
    weight_memory = memory(compiled.weights, library.engine, weights.raw());
  } else {
    if (!have_packed) {
      const auto type = library_dtype(key.dtype);
      const bool forward = key.product == Product::forward;
      const memory::desc plain(compiled.weights.dims(), type,
                               forward ? memory::format_tag::ba : memory::format_tag::ab);
      memory source_memory(plain, library.engine, weights.raw());
      memory packed_memory(compiled.weights, library.engine);
      dnnl::reorder(source_memory, packed_memory)
          .execute(library.stream, source_memory, packed_memory);
      library.stream.wait();
      packed->memory = packed_memory;
    }
    weight_memory = *packed->memory;
  }
  std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, memory(compiled.source, library.engine, source.raw())},
      {DNNL_ARG_WEIGHTS, weight_memory},
      {DNNL_ARG_DST, memory(compiled.destination, library.engine, destination.raw())}};
  if (key.bias) arguments[DNNL_ARG_BIAS] = memory(compiled.bias, library.engine, bias.raw());
  compiled.primitive.execute(library.stream, arguments);
  library.stream.wait();
}

}  // namespace

void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, PackedWeight* packed,
                    Tensor& y) {
  const int64_t rows = x.size(0), out = w.size(0), in = w.size(1);
  if (rows == 0 || out == 0) return;
  if (x.dtype() == DType::f64) {
    const double *xp = x.data<double>(), *wp = w.data<double>();
    const double* bp = bias.defined() ? bias.data<double>() : nullptr;
    double* yp = y.data<double>();
    parallel_rows(rows, out * in, [=](int64_t r) {
      for (int64_t o = 0; o < out; ++o) {
        double sum = bp != nullptr ? bp[o] : 0.0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < in; ++i) sum += xp[r * in + i] * wp[o * in + i];
        yp[r * out + o] = sum;
      }
    });
    return;
  }
  run({Product::forward, x.dtype(), bias.defined(), false, packed != nullptr, rows, out, in}, x, w,
      bias, packed, y);
}

void matmul_dgrad(const Tensor& dy, const Tensor& w, PackedWeight* packed, bool accumulate,
                  Tensor& dx) {
  const int64_t rows = dy.size(0), out = w.size(0), in = w.size(1);
  if (rows == 0 || in == 0) return;
  if (dy.dtype() == DType::f64) {
    const double *dyp = dy.data<double>(), *wp = w.data<double>();
    double* dxp = dx.data<double>();
    parallel_rows(rows, out * in, [=](int64_t r) {
      double* d = dxp + r * in;
      if (!accumulate) std::fill(d, d + in, 0.0);
      for (int64_t o = 0; o < out; ++o) {
        const double g = dyp[r * out + o];
#pragma omp simd
        for (int64_t i = 0; i < in; ++i) d[i] += g * wp[o * in + i];
      }
    });
    return;
  }
  run({Product::dgrad, dy.dtype(), false, accumulate, packed != nullptr, rows, out, in}, dy, w, {},
      packed, dx);
}

void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw) {
  const int64_t rows = x.size(0), out = dw.size(0), in = dw.size(1);
  if (rows == 0 || dw.numel() == 0) return;
  if (dy.dtype() == DType::f64) {
    const double *dyp = dy.data<double>(), *xp = x.data<double>();
    double* dwp = dw.data<double>();
    parallel_rows(out, rows * in, [=](int64_t o) {
      for (int64_t r = 0; r < rows; ++r) {
        const double g = dyp[r * out + o];
#pragma omp simd
        for (int64_t i = 0; i < in; ++i) dwp[o * in + i] += g * xp[r * in + i];
      }
    });
    return;
  }
  run({Product::wgrad, dy.dtype(), false, true, false, rows, out, in}, dy, x, {}, nullptr, dw);
}

}  // namespace elastron::ops::cpu
