// The graph of one call of cuDNN's attention; only full_attention.cpp and its test know cuDNN.
#pragma once
#include <cudnn_frontend.h>

#include <memory>

#include "ops/cuda/attention/full_attention.h"

namespace elastron::ops::cuda {

// Names of a graph's tensors; those of the starts follow at kStarts.
enum GraphTensor : int64_t {
  kQ = 1,
  kK,
  kV,
  kOut,
  kLse,
  kDOut,
  kDQ,
  kDK,
  kDV,
  kLengths,
  kKeyLengths,
  kStarts = 100
};

// What graphs of all sizes have in common.
inline FullAttentionShape without_sizes(FullAttentionShape shape) {
  shape.sequences = shape.longest = shape.tokens = shape.keys = 0;
  shape.longest_keys = shape.own_keys() ? 1 : 0;
  return shape;
}

// Not finished: without operation graph and plans. With `kernels`, which may be those of other
// sizes of the same shape, they are for any size.
inline std::shared_ptr<cudnn_frontend::graph::Graph> attention_graph(
    const FullAttentionShape& s,
    const std::shared_ptr<cudnn_frontend::KernelCache>& kernels = nullptr) {
  namespace fe = cudnn_frontend;
  using fe::graph::Tensor_attributes;
  auto graph = std::make_shared<fe::graph::Graph>();
  if (kernels) graph->set_dynamic_shape_enabled(true).set_kernel_cache(kernels);
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const auto starts = [&](GraphTensor of) {
    return graph->tensor(Tensor_attributes()
                             .set_name("starts")
                             .set_uid(kStarts + of)
                             .set_dim({s.sequences + 1, 1, 1, 1})
                             .set_stride({1, 1, 1, 1})
                             .set_data_type(fe::DataType_t::INT64));
  };
  const int64_t longest_keys = s.own_keys() ? s.longest_keys : s.longest;
  const auto of_keys = [](GraphTensor name) {
    return name == kK || name == kV || name == kDK || name == kDV;
  };
  const auto describe = [&](Tensor_attributes& t, GraphTensor name, int64_t heads, int64_t width,
                            int64_t token_stride) {
    const int64_t longest = of_keys(name) ? longest_keys : s.longest;
    t.set_uid(name)
        .set_dim({s.sequences, heads, longest, width})
        .set_stride({longest * token_stride, width, token_stride, 1})
        .set_ragged_offset(starts(name));
  };
  const auto input = [&](GraphTensor name, int64_t heads, int64_t token_stride) {
    Tensor_attributes t;
    t.set_name("input");
    describe(t, name, heads, s.head_dim, token_stride);
    return graph->tensor(t);
  };
  const auto output = [&](const std::shared_ptr<Tensor_attributes>& t, GraphTensor name,
                          int64_t heads, int64_t token_stride) {
    t->set_output(true);
    describe(*t, name, heads, s.head_dim, token_stride);
  };
  const auto lengths_of = [&](GraphTensor name) {
    return graph->tensor(Tensor_attributes()
                             .set_name("lengths")
                             .set_uid(name)
                             .set_dim({s.sequences, 1, 1, 1})
                             .set_stride({1, 1, 1, 1})
                             .set_data_type(fe::DataType_t::INT32));
  };
  const auto lengths = lengths_of(kLengths);
  const auto key_lengths = s.own_keys() ? lengths_of(kKeyLengths) : lengths;
  // A sequence's last token sees all of its keys.
  const auto diagonal = [&](auto attributes) {
    if (s.own_keys()) {
      attributes.set_causal_mask_bottom_right(true);
    } else {
      attributes.set_causal_mask(true);
    }
    return attributes;
  };
  const auto q = input(kQ, s.q_heads, s.q_stride), k = input(kK, s.kv_heads, s.k_stride),
             v = input(kV, s.kv_heads, s.v_stride);
  if (!s.backward) {
    const auto [out, lse] = graph->sdpa(q, k, v,
                                        diagonal(fe::graph::SDPA_attributes()
                                                     .set_name("attention")
                                                     .set_generate_stats(true)
                                                     .set_attn_scale(float(s.scale))
                                                     .set_padding_mask(true)
                                                     .set_seq_len_q(lengths)
                                                     .set_seq_len_kv(key_lengths)));
    output(out, kOut, s.q_heads, s.out_stride);
    lse->set_output(true).set_data_type(fe::DataType_t::FLOAT);
    describe(*lse, kLse, s.q_heads, 1, s.lse_stride);
    return graph;
  }
  const auto out = input(kOut, s.q_heads, s.out_stride),
             d_out = input(kDOut, s.q_heads, s.d_out_stride);
  Tensor_attributes statistics;
  statistics.set_name("lse").set_data_type(fe::DataType_t::FLOAT);
  describe(statistics, kLse, s.q_heads, 1, s.lse_stride);
  const auto [dq, dk, dv] = graph->sdpa_backward(
      q, k, v, out, d_out, graph->tensor(statistics),
      diagonal(fe::graph::SDPA_backward_attributes()
                   .set_name("attention_backward")
                   .set_attn_scale(float(s.scale))
                   .set_padding_mask(true)
                   .set_seq_len_q(lengths)
                   .set_seq_len_kv(key_lengths)
                   .set_max_total_seq_len_q(s.tokens)
                   .set_max_total_seq_len_kv(s.own_keys() ? s.keys : s.tokens)));
  output(dq, kDQ, s.q_heads, s.q_heads * s.head_dim);
  output(dk, kDK, s.kv_heads, s.kv_heads * s.head_dim);
  output(dv, kDV, s.kv_heads, s.kv_heads * s.head_dim);
  return graph;
}

// Asks cuDNN for kernels of it, for the GPU of `handle` or, without one, for that of its device
// properties. Compiles nothing.
template <class... Handle>
cudnn_frontend::error_t offer(cudnn_frontend::graph::Graph& graph, Handle... handle) {
  auto status = graph.validate();
  if (status.is_good()) status = graph.build_operation_graph(handle...);
  if (status.is_good()) status = graph.create_execution_plans({cudnn_frontend::HeurMode_t::A});
  return status;
}
// The same, and finishes it: seconds where kernels have to be compiled.
template <class... Handle>
cudnn_frontend::error_t compile(cudnn_frontend::graph::Graph& graph, Handle... handle) {
  auto status = offer(graph, handle...);
  if (status.is_good()) status = graph.check_support();
  if (status.is_good()) status = graph.build_plans();
  return status;
}

}  // namespace elastron::ops::cuda
