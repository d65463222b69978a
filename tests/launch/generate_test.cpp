// elastron generate against greedy decoding of the transformers library (tests/fixtures/hf), and
// its own rules: seeds, ranks, ends of text, bad input.
#include <gtest/gtest.h>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

std::string folder(const std::string& name) {
  return std::string(ELASTRON_TEST_FIXTURES) + "/hf/" + name;
}

nlohmann::json json(const std::string& path) { return nlohmann::json::parse(read_text(path)); }

Outcome generate(int ranks, const std::string& model, const nlohmann::json& ids,
                 const std::string& more) {
  return elastron(ranks, "generate --model " + model + " --ids '" + ids.dump() + "' " + more);
}

TEST(Generate, GreedyIdsEqualTransformers) {
  for (const std::string name :
       {"llama", "mistral", "qwen2", "qwen3", "qwen3_fp8", "qwen3_moe", "qwen3_moe_fp8"}) {
    const auto prompts = json(folder(name) + "/tokens.json");
    const auto expected = json(folder(name) + "/generated.json");
    for (const int ranks : {0, 2, 4}) {
      for (size_t i = 0; i < expected.size(); ++i) {
        const auto run = generate(ranks, folder(name), prompts[i + 1],
                                  "--dtype float32 --ignore-eos --max-tokens 60");
        ASSERT_EQ(run.code, 0) << run.err;
        EXPECT_EQ(nlohmann::json::parse(run.out), expected[i]) << name << " on " << ranks;
        EXPECT_NE(run.err.find("FFFF\nFFFF\n"), std::string::npos) << run.err;
        EXPECT_NE(run.err.find("0.0 % saved"), std::string::npos) << run.err;
      }
    }
  }
}

// Of the 600 tokens that a prompt has each rank of a context group reads some; of the few of the
// other each reads all.
TEST(Generate, ContextRanksHaveTheIdsOfOne) {
  struct Layout {
    int ranks;
    const char* arguments;
  };
  for (const std::string name : {"llama", "qwen3_moe_fp8"}) {
    const auto prompts = json(folder(name) + "/tokens.json");
    const auto expected = json(folder(name) + "/generated.json");
    for (const Layout& l : {Layout{2, "--context 2"}, Layout{4, "--context 2"},
                            Layout{4, "--context 2 --tensor 1"}, Layout{3, "--context 3"}}) {
      for (size_t i = 0; i < expected.size(); ++i) {
        const auto run =
            generate(l.ranks, folder(name), prompts[i + 1],
                     "--dtype float32 --ignore-eos --max-tokens 60 " + std::string(l.arguments));
        ASSERT_EQ(run.code, 0) << run.err;
        EXPECT_EQ(nlohmann::json::parse(run.out), expected[i]) << name << " " << l.arguments;
        EXPECT_NE(run.err.find("FFFF\nFFFF\n"), std::string::npos) << run.err;
      }
    }
  }
  // Sparse heads of both kinds, and what the cache keeps.
  const auto prompt = json(folder("qwen3") + "/tokens.json")[2];
  for (const std::string rule :
       {"--set router.ssa.sink=8 --set router.ssa.local=16 --set router.ssa.block=8 ",
        "--set router.mode=fa-xa --set router.xa.block=64 --set router.xa.threshold=0.7 "}) {
    const std::string arguments =
        "--dtype float32 --ignore-eos --max-tokens 24 --force random:0.5:7 " + rule;
    const auto one = generate(0, folder("qwen3"), prompt, arguments);
    ASSERT_EQ(one.code, 0) << one.err;
    for (const Layout& l : {Layout{2, "--context 2"}, Layout{4, "--context 2 --tensor 2"},
                            Layout{4, "--context 4"}}) {
      const auto run = generate(l.ranks, folder("qwen3"), prompt, arguments + l.arguments);
      EXPECT_EQ(run.out, one.out) << rule << l.arguments;
      EXPECT_EQ(run.err, one.err) << rule << l.arguments;
    }
  }
}

TEST(Generate, SparseHeadsKeepLess) {
  const auto prompt = json(folder("qwen3") + "/tokens.json")[2];
  const std::string rule =
      "--dtype float32 --ignore-eos --max-tokens 24 --set router.ssa.sink=8 "
      "--set router.ssa.local=16 --set router.ssa.block=8 --force sparse ";
  const auto sparse = generate(0, folder("qwen3"), prompt, rule);
  ASSERT_EQ(sparse.code, 0) << sparse.err;
  EXPECT_NE(sparse.err.find("ssss\nssss\n"), std::string::npos) << sparse.err;
  // 24 of 624 rows: a page of ten.
  EXPECT_NE(sparse.err.find("90.0 % saved"), std::string::npos) << sparse.err;
  EXPECT_EQ(generate(4, folder("qwen3"), prompt, rule).out, sparse.out);
  const auto full = generate(0, folder("qwen3"), prompt, rule + "--decode full");
  EXPECT_NE(full.err.find("0.0 % saved"), std::string::npos) << full.err;
  EXPECT_NE(full.out, sparse.out);
  const auto token = generate(0, folder("qwen3"), prompt, rule + "--window token");
  EXPECT_EQ(token.code, 0) << token.err;
  EXPECT_NE(token.out, full.out);
}

TEST(Generate, DrawnTokensDependOnTheSeedAlone) {
  const auto prompt = json(folder("llama") + "/tokens.json")[1];
  const std::string draw = "--dtype float32 --ignore-eos --max-tokens 30 --temperature 2 --seed ";
  const auto one = generate(0, folder("llama"), prompt, draw + "1");
  ASSERT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(generate(2, folder("llama"), prompt, draw + "1").out, one.out);
  EXPECT_NE(generate(0, folder("llama"), prompt, draw + "2").out, one.out);
  // A tiny share of the probability is the likeliest token alone.
  EXPECT_EQ(
      generate(0, folder("llama"), prompt, draw + "1 --top-p 1e-9").out,
      generate(0, folder("llama"), prompt, "--dtype float32 --ignore-eos --max-tokens 30").out);
}

TEST(Generate, EndsAtAnyEndOfSequenceToken) {
  const Scratch scratch;
  const std::string model = scratch / "model";
  std::filesystem::copy(folder("llama"), model);
  const auto prompt = json(model + "/tokens.json")[1];
  const auto expected = json(model + "/generated.json")[0];
  auto config = json(model + "/config.json");
  // The second id of the list ends it too; the first does not occur.
  int64_t unused = 0;
  while (std::count(expected.begin(), expected.end(), unused) != 0) ++unused;
  config["eos_token_id"] = {unused, expected[20]};
  write_text(model + "/config.json", config.dump());
  const auto run = generate(0, model, prompt, "--dtype float32 --max-tokens 60");
  ASSERT_EQ(run.code, 0) << run.err;
  auto want = expected;
  want.erase(std::find(want.begin(), want.end(), expected[20]), want.end());
  EXPECT_EQ(nlohmann::json::parse(run.out), want);
}

// A trained router decides: the gates are those of its layers, the same on any number of ranks.
TEST(Generate, WithATrainedRouterAndText) {
  const Scratch run;
  ASSERT_EQ(elastron(0, "train " + std::string(ELASTRON_SOURCE_DIR) +
                            "/tests/launch/router.yaml --set train.steps=4 --set model.path=" +
                            tiny_backbone() + " --set output.dir=" + run.path())
                .code,
            0);
  const std::string arguments = "generate --model " + tiny_backbone() + " --router " + run.path() +
                                " --max-tokens 12 --prompt 'n7 k3 v9 n1'";
  const auto one = elastron(0, arguments);
  ASSERT_EQ(one.code, 0) << one.err;
  EXPECT_NE(one.err.find("gates"), std::string::npos);
  const auto two = elastron(2, arguments);
  EXPECT_EQ(one.out, two.out);
  EXPECT_EQ(one.err, two.err);
  // It reads a long prompt's ends, which are on one of the context ranks each.
  std::string words;
  for (int i = 0; i < 400; ++i) words += " n" + std::to_string(i * 37 % 100);
  const std::string longer = "generate --dtype float32 --model " + tiny_backbone() + " --router " +
                             run.path() + " --max-tokens 12 --prompt '" + words + "' ";
  const auto whole = elastron(0, longer);
  ASSERT_EQ(whole.code, 0) << whole.err;
  for (const int tensor : {1, 2}) {
    const auto shared =
        elastron(2 * tensor, longer + "--context 2 --tensor " + std::to_string(tensor));
    EXPECT_EQ(shared.out, whole.out);
    EXPECT_EQ(shared.err, whole.err);
  }
  // Elsewhere trained with other shapes.
  EXPECT_EQ(elastron(0, "generate --model " + folder("llama") + " --router " + run.path() +
                            " --ids '[1]'")
                .code,
            3);
}

TEST(Generate, BadInputIsRefused) {
  const std::string start = "generate --model " + folder("llama") + " ";
  for (const std::string arguments :
       {"", "--ids '[61]'", "--ids '[]'", "--ids '[1'", "--ids '[-1]'", "--ids '{}'",
        "--prompt a --ids '[1]'", "--ids '[1]' --temperature -1", "--ids '[1]' --max-tokens 0",
        "--ids '[1]' --top-p 2", "--ids '[1]' --decode some"}) {
    const auto run = elastron(0, start + arguments);
    EXPECT_TRUE(run.code == 2 || run.code == 3) << arguments << " " << run.code << run.err;
    EXPECT_NE(run.err.find("error: "), std::string::npos) << run.err;
  }
  // No tokenizer in the folder.
  EXPECT_EQ(elastron(0, start + "--prompt a").code, 3);
  EXPECT_EQ(elastron(2, start + "--ids '[61]'").code, 2);
  expect_error(elastron(4, start + "--ids '[1]' --context 3"), 2,
               {"4 ranks", "parallel.context=3", "1, 2 or 4"});
  expect_error(elastron(4, start + "--ids '[1]' --context 2 --tensor 4"), 2,
               {"4 ranks", "parallel.context=2", "parallel.tensor=4"});
  EXPECT_EQ(elastron(0, start + "--ids '[1]' --context 0").code, 2);
}

}  // namespace
}  // namespace elastron::test
