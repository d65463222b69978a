// The second block of a decoder layer: x + down(SiLU(gate(n)) * up(n)), n = RMSNorm(x). Gate and up
// are split by their outputs, down by its inputs. Sizes: model/layer_io.h.
//
// It knows nothing of attention: another form of MLP is another class with these members.
#pragma once
#include <optional>

#include "model/decoder_config.h"
#include "model/layer_io.h"
#include "parallel/region.h"

namespace elastron::model {

struct GateUp {
  Tensor inv_rms;   // [R]
  Tensor normed;    // [R, E]; kept only where weight gradients need it
  Tensor gate, up;  // [T, F]
};

// Kept between forward and backward.
struct SavedMlp {
  Tensor input;                   // [R, E]; undefined where it is computed again (Recompute::layer)
  std::optional<GateUp> gate_up;  // Recompute::none
};

class Mlp {
 public:
  // Weights are allocated, not filled. `tensor` must outlive the block.
  Mlp(int64_t layer, const ModelConfig& config, const DecoderOptions& options,
      parallel::Communicator& tensor, Device& device);

  void append_parameters(ParameterList& list);
  void append_adapters(ParameterList& list);

  // x [R, E] -> [R, E]. With `saved`, keeps what backward needs under options.recompute.
  Tensor forward(const Tensor& x, SavedMlp* saved) const;
  // d_out [R, E] -> gradient to saved.input, which must be there, in d_out's place. Frees
  // saved.gate_up.
  Tensor backward(Tensor d_out, SavedMlp& saved, const parallel::GradientSink& on_gradient);

 private:
  bool reads_trained_weights() const { return gate_.trains() || up_.trains(); }
  GateUp gate_up(const Tensor& x, bool keep_normed) const;

  double eps_;
  Recompute recompute_;
  parallel::TensorRegion region_;
  Parameter norm_;
  parallel::ShardedLinear gate_, up_, down_;
};

}  // namespace elastron::model
