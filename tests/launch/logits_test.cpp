// elastron logits on model folders of the transformers library (tests/fixtures/hf, made by
// tests/oracle/make_hf_folder_fixtures.py): one file and shards, float16 and bfloat16, tied and
// not, biases, llama3 rope scaling beyond the original length; on any number of ranks.
#include <gtest/gtest.h>

#include <cmath>

#include "core/file/hdf5.h"
#include "core/file/safetensors.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

std::string folder(const std::string& name) {
  return std::string(ELASTRON_TEST_FIXTURES) + "/hf/" + name;
}

Outcome logits(int ranks, const std::string& name, const std::string& out,
               const std::string& more = "") {
  return elastron(ranks, "logits --model " + folder(name) + " --tokens " + folder(name) +
                             "/tokens.json --out " + out + " " + more);
}

// [rows] of a dataset.
std::vector<float> read(const std::string& file, const std::string& path, Shape* shape = nullptr) {
  CpuDevice cpu;
  const Hdf5File h5 = Hdf5File::open(file, false);
  const Hdf5Dataset dataset = h5.describe(path);
  if (shape != nullptr) *shape = dataset.shape;
  Tensor values = Tensor::empty(dataset.shape, dataset.dtype, cpu);
  h5.read(path, values, std::vector<int64_t>(size_t(dataset.shape.rank()), 0));
  if (dataset.dtype == DType::u8) {
    const auto bytes = values.to_vector<uint8_t>();
    return {bytes.begin(), bytes.end()};
  }
  return values.to_vector<float>();
}

// Largest difference from what transformers computed; of the third sequence every 40th row is kept.
double difference(const std::string& name, const std::string& file) {
  CpuDevice cpu;
  const SafetensorsFile expected(folder(name) + "/expected.safetensors");
  double worst = 0;
  for (int i = 0; i < 3; ++i) {
    const Tensor want = expected.read("logits_" + std::to_string(i), cpu);
    Shape shape;
    const auto got = read(file, "/sequence_" + std::to_string(i) + "/logits", &shape);
    const int64_t vocab = want.size(1), every = i == 2 ? 40 : 1;
    EXPECT_EQ(shape[0], (std::array<int64_t, 3>{1, 9, 600}[size_t(i)]));
    EXPECT_EQ(shape[1], vocab);
    const auto values = want.to_vector<float>();
    for (int64_t r = 0; r < want.size(0); ++r) {
      for (int64_t v = 0; v < vocab; ++v) {
        worst = std::max(worst, std::abs(double(values[size_t(r * vocab + v)]) -
                                         double(got[size_t(r * every * vocab + v)])));
      }
    }
  }
  return worst;
}

TEST(Logits, EqualTransformersOnAnyNumberOfRanks) {
  for (const std::string name :
       {"llama", "mistral", "qwen2", "qwen3", "qwen3_fp8", "qwen3_moe", "qwen3_moe_fp8"}) {
    for (const int ranks : {0, 2, 4}) {
      const Scratch scratch;
      const auto run = logits(ranks, name, scratch / "out.h5", "--dtype float32");
      ASSERT_EQ(run.code, 0) << run.err;
      EXPECT_LT(difference(name, scratch / "out.h5"), 2e-4) << name << " on " << ranks;
    }
    // Rows and weights split.
    const Scratch both;
    const auto split =
        logits(4, name, both / "out.h5", "--dtype float32 --context 2 --tensor 2 --force full");
    ASSERT_EQ(split.code, 0) << split.err;
    EXPECT_LT(difference(name, both / "out.h5"), 2e-4) << name;
    const auto gates = read(both / "out.h5", "/sequence_2/gates");
    EXPECT_EQ(gates, std::vector<float>(gates.size(), 1));
    // The stored dtype: bfloat16, or float32 for float16. Three bits less than the logits' size.
    const Scratch scratch;
    const auto run = logits(2, name, scratch / "out.h5", "--tensor 2");
    ASSERT_EQ(run.code, 0) << run.err;
    const bool half = name == "qwen3" || name == "qwen3_fp8";
    EXPECT_LT(difference(name, scratch / "out.h5"), half ? 0.06 : 2e-4) << name;
  }
}

TEST(Logits, GatesAreWrittenAndMatter) {
  const Scratch scratch;
  const std::string sparse =
      "--dtype float32 --set router.ssa.sink=8 --set router.ssa.local=16 "
      "--set router.ssa.block=8 --force ";
  ASSERT_EQ(logits(2, "qwen3", scratch / "sparse.h5", sparse + "sparse").code, 0);
  ASSERT_EQ(logits(2, "qwen3", scratch / "random.h5", sparse + "random:0.5:3").code, 0);
  EXPECT_GT(difference("qwen3", scratch / "sparse.h5"), 1e-2);
  Shape shape;
  EXPECT_EQ(read(scratch / "sparse.h5", "/sequence_1/gates", &shape), std::vector<float>(8, 0));
  EXPECT_TRUE(shape == Shape({2, 4}));
  const auto gates = read(scratch / "random.h5", "/sequence_2/gates");
  EXPECT_EQ(std::count(gates.begin(), gates.end(), 1.0f), 4);
  // Nine tokens lie within the window: nothing is skipped.
  EXPECT_EQ(read(scratch / "sparse.h5", "/sequence_1/logits"),
            read(scratch / "random.h5", "/sequence_1/logits"));
}

TEST(Logits, BadInputIsRefused) {
  const Scratch scratch;
  const auto with = [&](const std::string& tokens, int ranks = 0) {
    write_text(scratch / "tokens.json", tokens);
    return elastron(ranks, "logits --model " + folder("llama") + " --tokens " +
                               (scratch / "tokens.json") + " --out " + (scratch / "out.h5"));
  };
  for (const std::string tokens : {"[[0, 61]]", "[[-1]]", "[[1.5]]", "[[\"a\"]]", "[]", "[[]]",
                                   "{}", "[1, 2]", "[[1, 2]", "[[99999999999999999999]]"}) {
    const auto run = with(tokens);
    EXPECT_EQ(run.code, 3) << tokens;
    EXPECT_NE(run.err.find("error: "), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("tokens.json"), std::string::npos) << run.err;
    EXPECT_FALSE(std::filesystem::exists(scratch / "out.h5"));
  }
  const auto both = with("[[61]]", 2);
  EXPECT_EQ(both.code, 3);
  EXPECT_EQ(logits(0, "llama", "/proc/none/out.h5").code, 3);
  EXPECT_EQ(logits(0, "none", scratch / "out.h5").code, 3);
  EXPECT_EQ(logits(0, "llama", scratch / "out.h5", "--set train.steps=2").code, 2);
  EXPECT_EQ(logits(2, "llama", scratch / "out.h5", "--tensor 3").code, 2);
  EXPECT_EQ(logits(0, "llama", scratch / "out.h5", "--force maybe").code, 2);
}

}  // namespace
}  // namespace elastron::test
