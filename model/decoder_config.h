// The options a decoder is built with, beside the shapes of its folder.
#pragma once
#include <cstdint>
#include <optional>

#include "core/dtype.h"
#include "model/lora.h"
#include "ops/routed_attention.h"

namespace elastron::model {

// How much the backward pass computes again instead of keeping (docs/method.md, Costs).
enum class Recompute : uint8_t {
  none,       // keep everything
  selective,  // keep residuals, both attention outputs and LSE; recompute projections and gate/up
  layer,  // keep the layer's input and its gate; the first forward runs the selected branch only
};

struct DecoderOptions {
  DType dtype = DType::f32;  // of weights and activations
  // Frozen matrices are kept in that dtype instead: those of the linears, the embedding and the
  // head. e4m3 has a scale per block (model/backbone_parameter.h).
  std::optional<DType> storage;
  bool train_backbone = false;     // otherwise the backbone is frozen
  std::optional<LoraConfig> lora;  // adapters beside it
  bool train_lora = false;
  // Between the linears of a tensor group each rank has a part of the rows (sequence parallelism).
  bool split_rows = false;
  bool lm_head = true;  // false: a reward model, which has a head of its own
  Recompute recompute = Recompute::none;
  // Frozen weights: keep a copy per direction in the layout that products like best (CPU). Off
  // where memory counts more, such as in inference.
  bool repack = true;
  int64_t max_position = 4096;     // longest document
  int64_t loss_chunk_rows = 2048;  // logits exist for that many positions at a time
  ops::FullAttentionBy full_attention = ops::FullAttentionBy::automatic;
};

}  // namespace elastron::model
