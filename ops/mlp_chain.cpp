#include "ops/mlp_chain.h"

#include <algorithm>

#include "core/dispatch.h"
#include "ops/backend.h"
#include "ops/cuda/mlp_chain.h"
#include "ops/elementwise.h"

namespace elastron::ops {

namespace {

using Layers = std::span<const ChainLayer>;

void check_chain(const Tensor& x, int64_t width, Layers layers, DType compute) {
  ELASTRON_CHECK(!layers.empty() && layers.size() <= kMostChainLayers, "mlp_chain: some layers");
  ELASTRON_CHECK(x.rank() == 2 && x.size(1) == width, "mlp_chain takes [rows, width]");
  check_dense("mlp_chain", x);
  for (size_t i = 0; i < layers.size(); ++i) {
    const Tensor& w = layers[i].weight->tensor();
    check_dense("mlp_chain", x, w, layers[i].bias);
    check_shape(layers[i].bias, {w.size(0)}, "mlp_chain");
    ELASTRON_CHECK(i == 0 || w.size(1) == layers[i - 1].weight->out_features(),
                   "mlp_chain: a layer reads what the one before gives");
    ELASTRON_CHECK(w.dtype() == x.dtype() && layers[i].bias.dtype() == x.dtype(),
                   "mlp_chain: one dtype");
  }
  ELASTRON_CHECK(compute == x.dtype() || (compute == DType::bf16 && x.dtype() == DType::f32),
                 "mlp_chain computes in the weights' dtype, or float32 in bfloat16");
}

// A weight as the products read it, in place or rounded.
Tensor product_of(const Tensor& in, const ChainLayer& layer, bool rounded, bool back) {
  if (!rounded) {
    return back ? linear_dgrad(in, *layer.weight) : linear_forward(in, *layer.weight, layer.bias);
  }
  const LinearWeight weight(cast(layer.weight->tensor(), DType::bf16), WeightForm::in_place);
  return back ? linear_dgrad(in, weight)
              : linear_forward(in, weight, cast(layer.bias, DType::bf16));
}

Tensor forward_apart(const Tensor& of, Layers layers, DType compute, ChainSaved* saved) {
  const bool rounded = compute != of.dtype();
  Tensor x = rounded ? cast(of, compute) : of;
  for (const ChainLayer& layer : layers) {
    Tensor y = product_of(x, layer, rounded, /*back=*/false);
    if (saved != nullptr) {
      saved->input.push_back(x);
      saved->before.push_back(layer.silu ? y : Tensor());
    }
    x = layer.silu ? silu_forward(y) : y;
  }
  return rounded ? cast(x, of.dtype()) : x;
}

Tensor backward_apart(const Tensor& dy, Layers layers, DType compute, const ChainSaved& saved,
                      std::span<ChainGradient> gradients, bool need_input) {
  const bool rounded = compute != dy.dtype();
  Tensor d = rounded ? cast(dy, compute) : dy;
  for (size_t i = layers.size(); i-- > 0;) {
    if (layers[i].silu) d = silu_backward(d, saved.before[i]);
    linear_wgrad(d, saved.input[i], gradients[i].weight);
    linear_bias_grad(d, gradients[i].bias);
    if (i == 0 && !need_input) return {};
    d = product_of(d, layers[i], rounded, /*back=*/true);
  }
  return rounded ? cast(d, dy.dtype()) : d;
}

// Tensors [rows, width] of one block of memory, each aligned for vector code.
class Block {
 public:
  explicit Block(int64_t rows) : rows_(rows) {}
  void add(int64_t width) { numbers_ += padded(width); }
  void allocate(DType dtype, Device& device) { memory_ = Tensor::empty({numbers_}, dtype, device); }
  Tensor next(int64_t width) {
    const int64_t begin = at_;
    at_ += padded(width);
    return memory_.slice(0, begin, begin + rows_ * width).view({rows_, width});
  }

 private:
  int64_t padded(int64_t width) const { return (rows_ * width + 15) / 16 * 16; }
  int64_t rows_, numbers_ = 0, at_ = 0;
  Tensor memory_;
};

// Inputs but the first, if that is x itself, and what SiLU reads.
void allocate_saved(const Tensor& x, Layers layers, DType compute, ChainSaved& saved) {
  const bool own_first = compute != x.dtype();
  Block block(x.size(0));
  for (size_t i = 0; i < layers.size(); ++i) {
    if (i > 0 || own_first) block.add(layers[i].weight->in_features());
    if (layers[i].silu) block.add(layers[i].weight->out_features());
  }
  block.allocate(compute, x.device());
  for (size_t i = 0; i < layers.size(); ++i) {
    const LinearWeight& w = *layers[i].weight;
    saved.input.push_back(i > 0 || own_first ? block.next(w.in_features()) : x);
    saved.before.push_back(layers[i].silu ? block.next(w.out_features()) : Tensor());
  }
}

std::vector<Tensor> allocate_scratch(int64_t rows, Layers layers, DType compute, Device& device) {
  Block block(rows);
  for (const ChainLayer& layer : layers) block.add(layer.weight->out_features());
  block.allocate(compute, device);
  std::vector<Tensor> scratch;
  for (const ChainLayer& layer : layers)
    scratch.push_back(block.next(layer.weight->out_features()));
  return scratch;
}

template <class W, class T>
cuda::ChainArgs<W, T> args_of(const Tensor& x, Layers layers) {
  cuda::ChainArgs<W, T> args{.layers = int32_t(layers.size()),
                             .width = 0,
                             .rows = x.size(0),
                             .x = x.data<W>(),
                             .y = nullptr,
                             .layer = {}};
  for (size_t i = 0; i < layers.size(); ++i) {
    const Tensor& w = layers[i].weight->tensor();
    auto& layer = args.layer[i];
    layer.weight = w.data<W>();
    layer.bias = layers[i].bias.template data<W>();
    layer.in = int32_t(w.size(1));
    layer.out = int32_t(w.size(0));
    layer.silu = layers[i].silu;
    args.width = std::max({args.width, layer.in, layer.out});
  }
  return args;
}

// f.operator()<W, T>()
template <class F>
void with_chain_dtypes(DType weights, DType compute, F&& f) {
  if (weights == DType::f64) {
    f.template operator()<double, double>();
  } else if (compute == DType::bf16) {
    f.template operator()<float, bf16>();
  } else {
    f.template operator()<float, float>();
  }
}

// `times` products with each weight, which is read so many times less one.
OpCost chain_cost(const char* name, const Tensor& x, Layers layers, double times,
                  int64_t launches) {
  OpCost cost{.name = name, .kind = WorkKind::products, .launches = launches};
  for (const ChainLayer& layer : layers) {
    const Tensor& w = layer.weight->tensor();
    cost.flops += 2 * times * double(x.size(0)) * double(w.numel());
    cost.bytes += times * double(w.bytes());
  }
  return cost;
}

int64_t if_rows(const Tensor& x, int64_t launches) { return x.size(0) > 0 ? launches : 0; }

}  // namespace

Tensor mlp_chain_forward(const Tensor& x, Layers layers, DType compute, ChainSaved* saved) {
  check_chain(x, layers.front().weight->in_features(), layers, compute);
  Tensor y;
  const auto allocate = [&] {
    y = Tensor::empty({x.size(0), layers.back().weight->out_features()}, x.dtype(), x.device());
    if (saved != nullptr) allocate_saved(x, layers, compute, *saved);
  };
  run_on(
      x.device(), [&] { y = forward_apart(x, layers, compute, saved); },
      [&](auto stream) {
        allocate();
        with_chain_dtypes(x.dtype(), compute, [&]<class W, class T>() {
          auto args = args_of<W, T>(x, layers);
          args.y = y.data<W>();
          for (size_t i = 0; saved != nullptr && i < layers.size(); ++i) {
            const Tensor &input = saved->input[i], &before = saved->before[i];
            if (input.raw() != x.raw()) args.layer[i].input = input.template data<T>();
            if (before.defined()) args.layer[i].before = before.template data<T>();
          }
          cuda::mlp_chain_forward<W, T>(args, stream);
        });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() == DeviceKind::cpu) {
          y = forward_apart(x, layers, compute, saved);
          return;
        }
        allocate();
        meta.record(chain_cost("mlp_chain", x, layers, 1, if_rows(x, 1)));
      });
  return y;
}

Tensor mlp_chain_backward(const Tensor& dy, Layers layers, DType compute, const ChainSaved& saved,
                          std::span<ChainGradient> gradients, bool need_input) {
  check_chain(dy, layers.back().weight->out_features(), layers, compute);
  ELASTRON_CHECK(gradients.size() == layers.size() && saved.input.size() == layers.size(),
                 "mlp_chain_backward: of the forward pass");
  for (size_t i = 0; i < layers.size(); ++i) {
    check_same(gradients[i].weight, layers[i].weight->tensor(), "mlp_chain_backward");
    check_same(gradients[i].bias, layers[i].bias, "mlp_chain_backward");
  }
  Tensor dx;
  const auto allocate = [&] {
    if (!need_input) return;
    dx = Tensor::empty({dy.size(0), layers.front().weight->in_features()}, dy.dtype(), dy.device());
  };
  run_on(
      dy.device(), [&] { dx = backward_apart(dy, layers, compute, saved, gradients, need_input); },
      [&](auto stream) {
        allocate();
        const auto scratch = allocate_scratch(dy.size(0), layers, compute, dy.device());
        with_chain_dtypes(dy.dtype(), compute, [&]<class W, class T>() {
          auto args = args_of<W, T>(dy, layers);
          if (need_input) args.y = dx.data<W>();
          for (size_t i = 0; i < layers.size(); ++i) {
            auto& layer = args.layer[i];
            layer.input = saved.input[i].template data<T>();
            if (layers[i].silu) layer.before = saved.before[i].template data<T>();
            layer.d_out = scratch[i].template data<T>();
            layer.d_weight = gradients[i].weight.template data<W>();
            layer.d_bias = gradients[i].bias.template data<W>();
          }
          cuda::mlp_chain_backward<W, T>(args, stream);
        });
      },
      [&](MetaDevice& meta) {
        if (meta.behaves_as() == DeviceKind::cpu) {
          dx = backward_apart(dy, layers, compute, saved, gradients, need_input);
          return;
        }
        allocate();
        const auto scratch = allocate_scratch(dy.size(0), layers, compute, meta);
        const int64_t launches = dy.size(0) > 0 ? cuda::kChainBackwardLaunches : 1;
        meta.record(chain_cost("mlp_chain_backward", dy, layers, 2, launches));
      });
  return dx;
}

}  // namespace elastron::ops
