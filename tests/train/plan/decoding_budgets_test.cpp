// What a generated token may ask of a GPU: the table of stated budgets. The decoding that `generate`
// runs is run on a meta device, whose counts are the emulated device's (generation_cuda_test).
#include <gtest/gtest.h>

#include "inference/generation.h"
#include "train/plan/ranges.h"

namespace elastron::train {
namespace {

// Of a layer, of a token that is issued as usual: launches of the two halves, blocks of memory.
struct LayerBudget {
  const char* model;  // of configs/models
  int64_t attention, mlp, allocations;
};
constexpr LayerBudget kLayers[] = {
    {"Qwen3-4B", 11, 6, 24},
    {"Qwen3-8B", 11, 6, 24},
    {"Llama-3.1-8B-Instruct", 10, 6, 20},
    {"Qwen2.5-7B-Instruct", 10, 6, 20},
};
// And beside the layers: the embedding, the last norm, the head, and the logits in float32, which
// are put where the host reads them. It sends a token and its position, reads, and waits.
struct Calls {
  int64_t launches = 0, copies = 0, allocations = 0, host_waits = 0;
};
constexpr Calls kRest = {.launches = 4, .copies = 3, .allocations = 6, .host_waits = 1};
// Of a token that was recorded: the graph; token and position, and the logits.
constexpr Calls kRecorded = {.launches = 1, .copies = 2, .allocations = 0, .host_waits = 1};

class Decoded {
 public:
  // `tokens`: of the whole text, in which it begins to be recorded if they are enough.
  Decoded(const char* model, int64_t tokens)
      : engine_(
            model::read_model_config(std::string(ELASTRON_SOURCE_DIR "/configs/models/") + model),
            {.dtype = DType::bf16, .max_position = 1024, .routing = {}}, mesh_, device_),
        text_(engine_, std::vector<int32_t>(100, 1), engine_.model().vocab_size,
              {.max_tokens = tokens, .ignore_eos = true}) {
    text_.next();  // of the prompt
  }
  int64_t layers() const { return engine_.model().num_layers; }
  const std::vector<RangeRecord>& next() {
    device_.clear_records();
    EXPECT_TRUE(text_.next().has_value());
    return device_.ranges();
  }

 private:
  MetaDevice device_{DeviceKind::cuda};
  parallel::Mesh mesh_ = parallel::Mesh::single();
  inference::Engine engine_;
  inference::Generation text_;
};

void add(const RangeRecord& range, Calls& calls) {
  for (const OpRecord& op : range.ops) calls.launches += op.sum.launches;
  calls.copies += range.copies;
  calls.allocations += range.allocations;
  calls.host_waits += range.host_waits;
}

TEST(DecodingBudgets, OfATokenThatIsIssued) {
  for (const LayerBudget& budget : kLayers) {
    SCOPED_TRACE(budget.model);
    Decoded text(budget.model, 6);
    for (int i = 0; i < 2; ++i) {
      const auto& ranges = text.next();
      const auto roles = roles_of(ranges);
      Calls attention, mlp, rest;
      for (size_t r = 0; r < ranges.size(); ++r) {
        add(ranges[r], !roles[r].in_layers() ? rest : roles[r].mlp ? mlp : attention);
      }
      EXPECT_EQ(attention.launches, budget.attention * text.layers());
      EXPECT_EQ(mlp.launches, budget.mlp * text.layers());
      EXPECT_EQ(attention.allocations + mlp.allocations, budget.allocations * text.layers());
      EXPECT_EQ(attention.copies + mlp.copies, 0);
      EXPECT_EQ(attention.host_waits + mlp.host_waits, 0);
      EXPECT_EQ(rest.launches, kRest.launches);
      EXPECT_EQ(rest.copies, kRest.copies);
      EXPECT_EQ(rest.allocations, kRest.allocations);
      EXPECT_EQ(rest.host_waits, kRest.host_waits);
    }
  }
}

TEST(DecodingBudgets, OfATokenThatIsRecorded) {
  for (const LayerBudget& budget : kLayers) {
    SCOPED_TRACE(budget.model);
    Decoded text(budget.model, 40);
    text.next();  // is issued, and recorded
    for (int i = 0; i < 3; ++i) {
      Calls calls;
      for (const RangeRecord& range : text.next()) add(range, calls);
      EXPECT_EQ(calls.launches, kRecorded.launches);
      EXPECT_EQ(calls.copies, kRecorded.copies);
      EXPECT_EQ(calls.allocations, kRecorded.allocations);
      EXPECT_EQ(calls.host_waits, kRecorded.host_waits);
    }
  }
}

}  // namespace
}  // namespace elastron::train
