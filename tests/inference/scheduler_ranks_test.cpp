// Requests on an engine whose weights are split over ranks: what each brings depends neither on
// those beside it nor, in double precision, on the number of ranks.
#include <string>
#include <vector>

#include "core/philox.h"
#include "inference/scheduler.h"
#include "model/weights/model_folder.h"
#include "tests/parallel/support.h"

namespace elastron::inference {
namespace {

constexpr int64_t kVocab = 53;  // that all of these have
const std::string kDense = "qwen3", kExperts = "qwen3_moe", kQuantised = "qwen3_fp8";

class RequestsOnRanks : public parallel::WorldTest {
 protected:
  struct Answer {
    std::vector<int32_t> ids;
    std::vector<double> logprobs;
    bool operator==(const Answer&) const = default;
  };

  static std::vector<Request> several() {
    std::vector<Request> all;
    for (int64_t i = 0; i < 18; ++i) {
      const RandomStream stream(uint64_t(i), RandomPurpose::test);
      Request& request = all.emplace_back();
      for (int64_t t = 0; t < 1 + 13 * i % 50; ++t) {
        request.prompt.push_back(int32_t(stream.bits_at(uint64_t(t)) % uint64_t(kVocab)));
      }
      request.max_tokens = 2 + 3 * i % 7;
      request.ignore_eos = true;
      request.top_logprobs = 0;
      request.sampling = {.temperature = i % 3 == 0 ? 1.0 : 0.0, .seed = uint64_t(i)};
    }
    return all;
  }

  std::vector<Answer> run(parallel::Mesh& mesh, const std::string& folder, DType dtype,
                          int64_t slots) {
    router::RouterConfig routing;
    routing.ssa = {.sink = 8, .local = 16, .block = 8};
    const model::ModelFolder model(ELASTRON_TEST_FIXTURES "/hf/" + folder);
    EngineOptions options{.dtype = dtype, .max_position = 100, .routing = routing};
    if (folder == kQuantised) options.storage = DType::e4m3;
    Engine engine(model, options, mesh, device);
    router::StaticGates gates;
    for (int64_t l = 0; l < engine.model().num_layers; ++l) gates.push_back({1, 0, l == 0, 0});
    engine.route_by(gates);
    Scheduler scheduler(engine, {.slots = slots, .page_rows = 8, .vocab_size = kVocab});
    std::vector<Answer> all;
    for (Request& request : several()) {
      scheduler.submit(std::move(request));
      all.emplace_back();
    }
    while (!scheduler.idle()) {
      for (const Event& event : scheduler.step()) {
        if (!event.token) continue;
        all[size_t(event.request)].ids.push_back(event.token->id);
        all[size_t(event.request)].logprobs.push_back(*event.token->logprob);
      }
    }
    EXPECT_EQ(scheduler.pool().used_pages(), 0);
    return all;
  }
};

TEST_F(RequestsOnRanks, BringWhatTheyBringAlone) {
  parallel::Mesh mesh(world, {.data = 1, .context = 1, .tensor = world.size()});
  const auto compare = [&](const std::string& folder, DType dtype) {
    const auto alone = run(mesh, folder, dtype, 1);
    const auto together = run(mesh, folder, dtype, dtype == DType::f32 ? 18 : 5);
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(together[i], alone[i]) << folder << " " << dtype_name(dtype) << " " << i;
    }
  };
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) compare(kDense, dtype);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    compare(kExperts, dtype);
    compare(kQuantised, dtype);
  }
}

TEST_F(RequestsOnRanks, BringTheSameOnAnyNumberOfRanks) {
  parallel::Mesh one = parallel::Mesh::single();
  const auto wanted = run(one, kDense, DType::f64, 18);
  for (const auto& layout : parallel::all_layouts(world.size())) {
    if (layout.context > 1) continue;
    parallel::Mesh mesh(world, layout);
    const auto got = run(mesh, kDense, DType::f64, 18);
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(got[i].ids, wanted[i].ids) << i;
      for (size_t t = 0; t < wanted[i].logprobs.size(); ++t) {
        EXPECT_NEAR(got[i].logprobs[t], wanted[i].logprobs[t], 1e-6);  // logits are float32
      }
    }
  }
}

}  // namespace
}  // namespace elastron::inference
