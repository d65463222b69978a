#include "ops/cpu/matmul.h"

#include <omp.h>

#include <list>
#include <mutex>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "ops/cpu/plain_matmul.h"

namespace elastron::ops::cpu {

namespace {

using dnnl::memory;

// All that a compiled product depends on. Compiling takes 0.2 to 0.5 ms, so products are kept; the row
// count changes from batch to batch and is part of the key (oneDNN is slower when it is left open),
// so the least recently used one goes when there are too many.
struct Key {
  Product product;
  DType dtype;
  bool bias = false, accumulate = false, packed = false;
  int threads = 0;
  int64_t rows, out, in;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  size_t operator()(const Key& k) const {
    size_t h = size_t(k.product) | size_t(k.dtype) << 4 | size_t(k.bias) << 8 |
               size_t(k.accumulate) << 9 | size_t(k.packed) << 10 | size_t(k.threads) << 11;
    for (int64_t v : {k.rows, k.out, k.in}) h = h * 0x9E3779B97F4A7C15ull + size_t(v);
    return h;
  }
};

struct Compiled {
  dnnl::matmul primitive;
  memory::desc source, weights, destination, bias;
};

// oneDNN's engine and the compiled products of one device. Calls are serialised: the products use
// all threads themselves.
struct Library {
  static constexpr size_t kMostProducts = 1024;
  using Entry = std::pair<Key, Compiled>;

  std::mutex mutex;
  std::optional<bool> has_bfloat16;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::list<Entry> products;  // most recently used first
  std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> index;
  std::unordered_map<Key, int64_t, KeyHash> packed_bytes;
};

memory::data_type library_dtype(DType t) {
  return t == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

// Layouts of `key`'s operands; a packed weight's is left to oneDNN.
Compiled layouts_of(const Key& key) {
  const auto type = library_dtype(key.dtype);
  const auto plain = memory::format_tag::ab, transposed = memory::format_tag::ba;
  const auto any = memory::format_tag::any;
  Compiled c;
  switch (key.product) {
    case Product::forward:
      c.source = {{key.rows, key.in}, type, plain};
      c.weights = {{key.in, key.out}, type, key.packed ? any : transposed};
      c.destination = {{key.rows, key.out}, type, plain};
      if (key.bias) c.bias = {{1, key.out}, type, plain};
      break;
    case Product::dgrad:
      c.source = {{key.rows, key.out}, type, plain};
      c.weights = {{key.out, key.in}, type, key.packed ? any : plain};
      c.destination = {{key.rows, key.in}, type, plain};
      break;
    case Product::wgrad:
      c.source = {{key.out, key.rows}, type, transposed};
      c.weights = {{key.rows, key.in}, type, plain};
      c.destination = {{key.out, key.in}, memory::data_type::f32, plain};
      break;
  }
  return c;
}

dnnl::matmul::primitive_desc describe(const Key& key, const Compiled& c,
                                      const dnnl::engine& engine) {
  dnnl::primitive_attr attributes;
  if (key.accumulate) {
    dnnl::post_ops operations;
    operations.append_sum(1.0f);
    attributes.set_post_ops(operations);
  }
  const auto description = key.bias ? dnnl::matmul::desc(c.source, c.weights, c.bias, c.destination)
                                    : dnnl::matmul::desc(c.source, c.weights, c.destination);
  return {description, attributes, engine};
}

const Compiled& compiled(Library& library, const Key& key, const PackedWeight* packed) {
  if (auto it = library.index.find(key); it != library.index.end()) {
    library.products.splice(library.products.begin(), library.products, it->second);
    return it->second->second;
  }
  Compiled c = layouts_of(key);
  if (packed != nullptr) c.weights = packed->layout;
  c.primitive = dnnl::matmul(describe(key, c, library.engine));
  library.products.emplace_front(key, std::move(c));
  library.index[key] = library.products.begin();
  if (library.products.size() > Library::kMostProducts) {
    library.index.erase(library.products.back().first);
    library.products.pop_back();
  }
  return library.products.front().second;
}

// The layout is chosen for a batch of usual size, so that it and every later result are the same
// whatever batch comes first.
Key usual_batch(Key key) {
  constexpr int64_t kUsualRows = 1024;
  key.rows = kUsualRows;
  return key;
}

memory::desc packed_layout(Library& library, const Key& key) {
  const Key usual = usual_batch(key);
  return describe(usual, layouts_of(usual), library.engine).weights_desc();
}

Key packed_key(Product product, const Tensor& w) {
  return {.product = product,
          .dtype = w.dtype(),
          .packed = true,
          .threads = omp_get_max_threads(),
          .rows = 0,
          .out = w.size(0),
          .in = w.size(1)};
}

void pack(Library& library, const Key& key, const Tensor& weights, PackedWeight& packed) {
  const memory::desc layout = packed_layout(library, key);
  Key usual = usual_batch(key);
  usual.packed = false;
  memory from(layouts_of(usual).weights, library.engine, weights.raw());
  packed.layout = layout;
  if (!packed.bytes.defined()) {
    packed.bytes = Tensor::empty({int64_t(layout.get_size())}, DType::u8, weights.device());
  }
  memory to(layout, library.engine, packed.bytes.raw());
  dnnl::reorder(from, to).execute(library.stream, from, to);
  library.stream.wait();
}

void execute(const Key& key, const Tensor& source, const Tensor& weights, const Tensor& bias,
             PackedWeight* packed, Tensor& destination) {
  Library& library = destination.device().attached<Library>();
  const std::lock_guard lock(library.mutex);
  if (packed != nullptr && !packed->bytes.defined()) pack(library, key, weights, *packed);
  const Compiled& c = compiled(library, key, packed);
  const auto argument = [&](const memory::desc& layout, const Tensor& t) {
    return memory(layout, library.engine, t.raw());
  };
  std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, argument(c.source, source)},
      {DNNL_ARG_WEIGHTS, argument(c.weights, packed != nullptr ? packed->bytes : weights)},
      {DNNL_ARG_DST, argument(c.destination, destination)}};
  if (key.bias) arguments.emplace(DNNL_ARG_BIAS, argument(c.bias, bias));
  c.primitive.execute(library.stream, arguments);
  library.stream.wait();
}

void run(Key key, const Tensor& source, const Tensor& weights, const Tensor& bias,
         PackedWeight* packed, Tensor& destination) {
  key.threads = omp_get_max_threads();
  try {
    execute(key, source, weights, bias, packed, destination);
  } catch (const dnnl::error& e) {
    throw LogicError("oneDNN, product of " + source.shape().str() + " and " +
                     weights.shape().str() + ": " + e.message);
  }
}

}  // namespace

bool has_products(DType dtype, Device& device) {
  if (dtype != DType::bf16) return true;
  Library& library = device.attached<Library>();
  const std::lock_guard lock(library.mutex);
  if (library.has_bfloat16) return *library.has_bfloat16;
  const Key any{.product = Product::forward, .dtype = dtype, .rows = 64, .out = 64, .in = 64};
  try {
    describe(any, layouts_of(any), library.engine);
    library.has_bfloat16 = true;
  } catch (const dnnl::error&) {
    library.has_bfloat16 = false;
  }
  return *library.has_bfloat16;
}

bool is_packed(DType activations, const Tensor& w) {
  return activations == w.dtype() && activations != DType::f64 &&
         has_products(activations, host_device());
}

void pack(Product product, const Tensor& w, const Tensor& bytes, PackedWeight& packed) {
  Library& library = w.device().attached<Library>();
  const std::lock_guard lock(library.mutex);
  packed.bytes = bytes;
  pack(library, packed_key(product, w), w, packed);
}

int64_t packed_bytes(Product product, const Tensor& w) {
  Library& library = host_device().attached<Library>();
  const std::lock_guard lock(library.mutex);
  const Key key = usual_batch(packed_key(product, w));
  const auto [found, is_new] = library.packed_bytes.emplace(key, 0);
  if (is_new) found->second = int64_t(packed_layout(library, key).get_size());
  return found->second;
}

void matmul_forward(const Tensor& x, const Tensor& w, const Tensor& bias, PackedWeight* packed,
                    Tensor& y) {
  const int64_t rows = x.size(0), out = w.size(0), in = w.size(1);
  if (rows == 0 || out == 0) return;  // a rank's shard of the outputs may be empty
  if (x.dtype() == DType::f64) {
    plain_forward(x.data<double>(), w.data<double>(),
                  bias.defined() ? bias.data<double>() : nullptr, y.data<double>(), rows, out, in);
    return;
  }
  run({.product = Product::forward,
       .dtype = x.dtype(),
       .bias = bias.defined(),
       .packed = packed != nullptr,
       .rows = rows,
       .out = out,
       .in = in},
      x, w, bias, packed, y);
}

void matmul_dgrad(const Tensor& dy, const Tensor& w, PackedWeight* packed, bool accumulate,
                  Tensor& dx) {
  const int64_t rows = dy.size(0), out = w.size(0), in = w.size(1);
  if (rows == 0) return;
  if (out == 0) {
    if (!accumulate) dx.zero();
    return;
  }
  if (dy.dtype() == DType::f64) {
    plain_dgrad(dy.data<double>(), w.data<double>(), accumulate, dx.data<double>(), rows, out, in);
    return;
  }
  run({.product = Product::dgrad,
       .dtype = dy.dtype(),
       .accumulate = accumulate,
       .packed = packed != nullptr,
       .rows = rows,
       .out = out,
       .in = in},
      dy, w, {}, packed, dx);
}

void matmul_wgrad(const Tensor& dy, const Tensor& x, Tensor& dw) {
  const int64_t rows = x.size(0), out = dw.size(0), in = dw.size(1);
  if (rows == 0 || out == 0) return;
  if (dy.dtype() == DType::f64) {
    plain_wgrad(dy.data<double>(), x.data<double>(), dw.data<double>(), rows, out, in);
    return;
  }
  run({.product = Product::wgrad,
       .dtype = dy.dtype(),
       .accumulate = true,
       .rows = rows,
       .out = out,
       .in = in},
      dy, x, {}, nullptr, dw);
}

}  // namespace elastron::ops::cpu
