// The tensors of a decoder layer: one table of its linears and one of its norms. Construction,
// loading, sharding, adapters and export read these; no other place states a name or a side of one.
//
// Names are Hugging Face's: model.layers.<i>.<block>.<leaf>.weight, and .bias where there is one.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameter.h"
#include "model/weights/model_config.h"
#include "parallel/linear.h"

namespace elastron::model {

// An extent that ModelConfig gives.
enum class Side : uint8_t { hidden, queries, keys, intermediate, head, expert, experts };
int64_t extent(const ModelConfig& config, Side side);

// A property that only some families have; nullptr: all have it, or none (see its use).
using FamilyTrait = bool ModelConfig::*;

// A weight [out, in] and, where the family has it, a bias [out].
struct LayerLinear {
  std::string_view block, leaf;
  Side out, in;
  parallel::Split split;  // the side that a tensor group shares
  FamilyTrait bias;       // nullptr: never
};
enum class LinearId : uint8_t { q, k, v, o, gate, up, down };
inline constexpr std::array<LayerLinear, 7> kLayerLinears = {{
    {"self_attn", "q_proj", Side::queries, Side::hidden, parallel::Split::out,
     &ModelConfig::qkv_bias},
    {"self_attn", "k_proj", Side::keys, Side::hidden, parallel::Split::out, &ModelConfig::qkv_bias},
    {"self_attn", "v_proj", Side::keys, Side::hidden, parallel::Split::out, &ModelConfig::qkv_bias},
    {"self_attn", "o_proj", Side::hidden, Side::queries, parallel::Split::in, nullptr},
    {"mlp", "gate_proj", Side::intermediate, Side::hidden, parallel::Split::out, nullptr},
    {"mlp", "up_proj", Side::intermediate, Side::hidden, parallel::Split::out, nullptr},
    {"mlp", "down_proj", Side::hidden, Side::intermediate, parallel::Split::in, nullptr},
}};

// The linears of a layer's MLP where it has no experts; of those the layer has these instead.
inline bool is_mlp(LinearId id) { return kLayerLinears[size_t(id)].block == "mlp"; }

// The linears of each expert, of its width, as an MLP's are: model.layers.<i>.mlp.experts.<e>.<leaf>.
enum class ExpertLinearId : uint8_t { gate, up, down };
inline constexpr std::array<LayerLinear, 3> kExpertLinears = {{
    {"mlp.experts", "gate_proj", Side::expert, Side::hidden, parallel::Split::out, nullptr},
    {"mlp.experts", "up_proj", Side::expert, Side::hidden, parallel::Split::out, nullptr},
    {"mlp.experts", "down_proj", Side::hidden, Side::expert, parallel::Split::in, nullptr},
}};

// A weight [size], the same on every rank of a tensor group.
struct LayerNorm {
  std::string_view path;
  Side size;
  FamilyTrait present;  // nullptr: always
};
enum class NormId : uint8_t { input, query, key, post_attention };
inline constexpr std::array<LayerNorm, 4> kLayerNorms = {{
    {"input_layernorm", Side::hidden, nullptr},
    {"self_attn.q_norm", Side::head, &ModelConfig::qk_norm},
    {"self_attn.k_norm", Side::head, &ModelConfig::qk_norm},
    {"post_attention_layernorm", Side::hidden, nullptr},
}};

// As parallel::ShardedLinear takes it, with the module's whole name.
parallel::LinearShape linear_shape(const ModelConfig& config, int64_t layer, LinearId id);
// Whether a layer has it: its MLP's are those of layers without experts.
bool has_linear(const ModelConfig& config, int64_t layer, LinearId id);
bool has_norm(const ModelConfig& config, NormId id);

struct NamedShape {
  std::string name;
  Shape shape;
};
// The family must have the norm.
NamedShape norm_shape(const ModelConfig& config, int64_t layer, NormId id);
// Of a layer with experts: the weight [experts, hidden] whose products choose among them, the same on
// every rank of a tensor group; and a linear of expert number `expert`.
NamedShape expert_gate_shape(const ModelConfig& config, int64_t layer);
parallel::LinearShape expert_shape(const ModelConfig& config, int64_t layer, int64_t expert,
                                   ExpertLinearId id);
// All of a layer's tensors, whole.
std::vector<NamedShape> layer_tensors(const ModelConfig& config, int64_t layer);

// The linears' leaves, in the table's order: what adapters are named by.
inline constexpr auto kLinearNames = [] {
  std::array<std::string_view, kLayerLinears.size()> names;
  for (size_t i = 0; i < names.size(); ++i) names[i] = kLayerLinears[i].leaf;
  return names;
}();
// "q_proj, k_proj ... and down_proj", for messages.
std::string linear_names();

}  // namespace elastron::model
