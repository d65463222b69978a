// A context group of emulated GPUs, whose collectives go over NCCL's stand-in: prompts whose rows it
// shares, and one that each rank reads, against one rank of the CPU.
#include "core/cuda/device.h"
#include "core/philox.h"
#include "inference/prompt_summary.h"
#include "inference/scheduler.h"
#include "model/weights/model_folder.h"
#include "parallel/nccl.h"
#include "tests/parallel/support.h"
#include "tests/support/cuda_emulator/memory.h"

namespace elastron::inference {
namespace {

constexpr int64_t kVocab = 60;

class ContextRanksOnAGpu : public parallel::WorldTest {
 protected:
  struct Answer {
    std::vector<ScoredToken> tokens, prompt;
    PromptSummary summary;
  };

  static std::vector<Answer> answers(parallel::Mesh& mesh, Device& device, DType dtype) {
    router::RouterConfig routing;
    routing.ssa = {.sink = 8, .local = 64, .block = 8};
    Engine engine(model::ModelFolder(ELASTRON_TEST_FIXTURES "/hf/qwen3"),
                  {.dtype = dtype, .max_position = 300, .routing = routing}, mesh, device);
    engine.route_by(router::StaticGates{{1, 0, 0, 1}, {0, 1, 1, 0}});
    Scheduler scheduler(engine, {.slots = 2, .page_rows = 8, .vocab_size = kVocab});
    std::vector<Answer> all;
    for (const int64_t n : {257, 5, 201}) {
      const RandomStream stream(uint64_t(n), RandomPurpose::test);
      Request request{.prompt = {},
                      .max_tokens = 12,
                      .ignore_eos = true,
                      .top_logprobs = 0,
                      .prompt_logprobs = true};
      for (int64_t t = 0; t < n; ++t) {
        request.prompt.push_back(int32_t(stream.bits_at(uint64_t(t)) % uint64_t(kVocab)));
      }
      scheduler.submit(std::move(request));
      all.emplace_back();
    }
    while (!scheduler.idle()) {
      for (const Event& event : scheduler.step()) {
        Answer& answer = all[size_t(event.request)];
        if (event.token) answer.tokens.push_back(*event.token);
        if (!event.prompt) continue;
        answer.prompt = event.prompt->scored;
        answer.summary = summary_of(*event.prompt, mesh);
        // Half of it is here.
        EXPECT_EQ(double(event.prompt->full_cache_bytes * mesh.context().size()),
                  answer.summary.full_cache_bytes);
      }
    }
    EXPECT_EQ(scheduler.pool().used_pages(), 0);
    return all;
  }

  static void expect_near(const std::vector<ScoredToken>& got,
                          const std::vector<ScoredToken>& wanted) {
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t t = 0; t < got.size(); ++t) {
      EXPECT_EQ(got[t].id, wanted[t].id) << t;
      if (!wanted[t].logprob) continue;
      EXPECT_NEAR(*got[t].logprob, *wanted[t].logprob, 1e-4) << t;
    }
  }

  cuda::CudaDevice gpu_{0};
};

TEST_F(ContextRanksOnAGpu, BringWhatOneRankOfTheCpuBrings) {
  parallel::Mesh one = parallel::Mesh::single();
  const auto wanted = answers(one, device, DType::f32);
  std::string why;
  const auto backend = parallel::open_nccl(world, gpu_, why);
  ASSERT_NE(backend, nullptr) << why;
  const int64_t graphs = emulator::calls().graphs;
  {
    parallel::Mesh mesh(world, {.context = world.size()}, backend.get());
    const auto got = answers(mesh, gpu_, DType::f32);
    for (size_t i = 0; i < wanted.size(); ++i) {
      SCOPED_TRACE(i);
      expect_near(got[i].tokens, wanted[i].tokens);
      expect_near(got[i].prompt, wanted[i].prompt);
      EXPECT_EQ(got[i].summary.gates, wanted[i].summary.gates);
      EXPECT_EQ(got[i].summary.esr_tiles, wanted[i].summary.esr_tiles);
      EXPECT_EQ(got[i].summary.cache_bytes, wanted[i].summary.cache_bytes);
    }
  }
  // What ranks wait for is not recorded.
  EXPECT_EQ(emulator::calls().graphs, graphs);
}

}  // namespace
}  // namespace elastron::inference
