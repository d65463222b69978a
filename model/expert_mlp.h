// The second block of a decoder layer whose MLP is a choice among experts (Qwen3-MoE; Shazeer et al.
// 2017; docs/method.md, Experts): x + sum over a token's experts e of w_e down_e(SiLU(gate_e(n)) *
// up_e(n)), n = RMSNorm(x). Each expert's width is split over the tensor group as an Mlp's is, so that
// all ranks have the same rows to work on whatever tokens choose; the gate is whole on every rank.
// Sizes: model/layer_io.h; k experts per token, E experts.
//
// It is frozen: there is a gradient to the input, through the weights w_e too.
#pragma once
#include <optional>
#include <vector>

#include "model/decoder_config.h"
#include "model/layer_io.h"
#include "ops/expert_choice.h"
#include "ops/expert_rows.h"
#include "ops/grouped_linear.h"
#include "parallel/region.h"

namespace elastron::model {

struct ExpertGateUp {
  Tensor inv_rms;            // [R]
  Tensor logits;             // [T, E]
  ops::ExpertChoice chosen;  // [T, k]
  ops::ExpertRows rows;
  Tensor gate, up;  // [T k, F], by expert
};

// Kept between forward and backward.
struct SavedExpertMlp {
  Tensor input;  // [R, E]; undefined where it is computed again (Recompute::layer)
  // [T, k]: what was chosen counts, also where an input that is computed again differs by rounding.
  Tensor experts;
  std::optional<ExpertGateUp> gate_up;  // Recompute::none
};

class ExpertMlp {
 public:
  // Weights are allocated, not filled. `tensor` must outlive the block. The options neither train the
  // backbone nor adapt the MLP (check_experts()).
  ExpertMlp(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
            parallel::Communicator& tensor, Device& device);

  void append_parameters(ParameterList& list);

  // x [R, E] -> [R, E]. With `saved`, keeps what backward needs under options.recompute. `load`
  // may be null.
  Tensor forward(const Tensor& x, SavedExpertMlp* saved, ExpertLoad* load = nullptr) const;
  // d_out [R, E] -> gradient to saved.input, which must be there, in d_out's place. Frees
  // saved.gate_up.
  Tensor backward(Tensor d_out, SavedExpertMlp& saved) const;

 private:
  // A linear of all experts: a parameter each, side by side in one tensor.
  struct Linears {
    ops::GroupedWeight weights;  // [E, out, in] of this rank
    std::vector<Parameter> parameters;
  };
  static Linears linears(int64_t layer, const ModelConfig& config, ExpertLinearId id,
                         const DecoderOptions& options, const parallel::Communicator& tensor,
                         Device& device);
  // `experts`: chosen before; undefined: not yet.
  ExpertGateUp gate_up(const Tensor& x, const Tensor& experts) const;

  double eps_;
  Recompute recompute_;
  ops::ExpertRule rule_;
  int64_t experts_;
  ops::WeightForm choice_form_;
  parallel::TensorRegion region_;
  Parameter norm_, choice_;
  Linears gate_, up_, down_;
};

// Throws a UsageError where the options ask for what experts do not have: weights that train, adapters.
void check_experts(const ModelConfig& config, const DecoderOptions& options);

}  // namespace elastron::model
