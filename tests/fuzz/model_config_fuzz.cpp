// config.json: what parses is a model that can be laid out.
#include "model/weights/model_config.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace elastron;
  fuzz::expect_read_or_refused([&] {
    const auto m = model::parse_model_config({reinterpret_cast<const char*>(bytes), size}, "input");
    fuzz::require(m.hidden_size > 0 && m.intermediate_size > 0 && m.num_layers > 0);
    fuzz::require(m.kv_heads > 0 && m.q_heads % m.kv_heads == 0);
    fuzz::require(m.head_dim >= 2 && m.head_dim <= 256 && m.head_dim % 2 == 0);
    fuzz::require(m.vocab_size > 0);
    for (const int32_t id : m.eos_token_ids) fuzz::require(id >= 0 && id < m.vocab_size);
    fuzz::require(m.rms_norm_eps > 0 && m.rope.theta > 0);
    fuzz::require(m.max_position_embeddings > 0 && m.covered_positions > 0);
  });
  return 0;
}
