#include "train/plan/gradients.h"

#include <utility>

#include "data/packed_batch.h"
#include "router/attention_router.h"
#include "train/plan/run_shape.h"

namespace elastron::train {

namespace {

class List {
 public:
  List(DType dtype, int tensor_ranks) : dtype_(dtype), ranks_(tensor_ranks) {}
  // A matrix, or a vector, whose rows or columns the tensor group shares.
  void split(int64_t elements) { add((elements + ranks_ - 1) / ranks_, false, dtype_); }
  // Every rank has all of it; `partial`: and a part of its gradient.
  void whole(int64_t elements, bool partial) { add(elements, partial, dtype_); }
  // What is held in the type of sums.
  void number(int64_t elements, bool partial) { add(elements, partial, accumulator_dtype(dtype_)); }
  std::vector<PlannedGradient> list;

 private:
  void add(int64_t elements, bool partial, DType value) {
    list.push_back(
        {{elements, accumulator_dtype(value), partial}, elements * int64_t(dtype_size(value))});
  }
  DType dtype_;
  int ranks_;
};

void add_adapters(const model::ModelConfig& m, const model::LoraConfig& lora, List& out) {
  const int64_t e = m.hidden_size, f = m.intermediate_size;
  const int64_t q = m.q_heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  // In and out of each linear, in the order of kLinearNames; q, k, v, gate and up are cut by `out`.
  const std::pair<int64_t, int64_t> sides[] = {{e, q}, {e, kv}, {e, kv}, {q, e},
                                               {e, f}, {e, f},  {f, e}};
  for (size_t i = 0; i < model::kLinearNames.size(); ++i) {
    if (!lora.adapts(model::kLinearNames[i])) continue;
    const auto [in, width] = sides[i];
    const bool by_rows = i != 3 && i != 6;
    if (by_rows) {
      out.whole(lora.rank * in, true);
      out.split(width * lora.rank);
    } else {
      out.split(lora.rank * in);
      out.whole(width * lora.rank, true);
    }
  }
}

}  // namespace

std::vector<PlannedGradient> planned_gradients(const Config& config, const model::ModelConfig& m,
                                               const parallel::MeshLayout& layout) {
  const auto options = decoder_options(config, true);
  const int64_t e = m.hidden_size, f = m.intermediate_size;
  const int64_t q = m.q_heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  const int64_t table = (m.vocab_size + layout.tensor - 1) / layout.tensor * layout.tensor * e;
  const bool split_rows = options.split_rows && layout.tensor > 1;
  List out(options.dtype, layout.tensor);
  if (options.train_backbone) {
    out.split(table);
    for (int64_t i = 0; i < m.num_layers; ++i) {
      out.whole(e, split_rows);
      for (const int64_t width : {q, kv, kv}) out.split(width * e);
      if (m.qk_norm) {
        out.whole(m.head_dim, true);
        out.whole(m.head_dim, true);
      }
      out.split(e * q);
      out.whole(e, split_rows);
      for (int j = 0; j < 3; ++j) out.split(e * f);
    }
    out.whole(e, split_rows);
    if (options.lm_head && !m.tie_word_embeddings) out.split(table);
  }
  if (options.lora) {
    for (int64_t i = 0; i < m.num_layers; ++i) add_adapters(m, *options.lora, out);
  }
  if (config.trains(Part::reward_head)) out.number(e, false);
  if (!config.trains(Part::router)) return out.list;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    if (config.router.kind == router::Kind::static_l0) {
      out.number(m.kv_heads / layout.tensor, false);
      continue;
    }
    for (const auto& t : router::router_tensors(m.head_dim, data::kTaskCount, config.router)) {
      out.number(t.shape.numel(), true);
    }
  }
  // The two multipliers of each task's target.
  out.number(data::kTaskCount, false);
  out.number(data::kTaskCount, false);
  return out.list;
}

}  // namespace elastron::train
