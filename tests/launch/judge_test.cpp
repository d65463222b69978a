// eval-reward of models with a chat template through the real program: a generative judge, and rows
// that the template does not render.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "tests/launch/reward_support.h"

namespace elastron::test {
namespace {

// A language model with random weights and a chat template: trained for one step by likelihood on
// English traces, and exported.
void make_judge(const std::string& shapes, const std::string& folder, const std::string& run) {
  fs::create_directory(shapes);
  const std::string fixtures = ELASTRON_TEST_FIXTURES;
  fs::copy(fixtures + "/tokenizer/qwen3/tokenizer.json", shapes + "/tokenizer.json");
  fs::copy(fixtures + "/chat/qwen3/chat_template.jinja", shapes + "/chat_template.jinja");
  auto config = nlohmann::json::parse(read_text(fixtures + "/tiny_model/config.json"));
  const auto tokenizer = nlohmann::json::parse(read_text(shapes + "/tokenizer.json"));
  int64_t last = 0;
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items()) {
    last = std::max(last, id.get<int64_t>());
  }
  for (const auto& token : tokenizer["added_tokens"]) {
    last = std::max(last, token["id"].get<int64_t>());
    if (token["content"] == "<|im_end|>") config["eos_token_id"] = token["id"];
  }
  config["vocab_size"] = last + 1;
  config["max_position_embeddings"] = 8192;
  write_text(shapes + "/config.json", config.dump());
  const auto trained = elastron(
      0, "train " + kConfig + " --set model.path=" + shapes + " --set output.dir=" + run +
             " --set model.weights=random --set train.trainable=[backbone] --set "
             "reward.loss=simpo --set reward.traces.lexicon=english --set train.steps=1 --set "
             "data.max_tokens=4000 --set reward.traces.lengths=[200]");
  ASSERT_EQ(trained.code, 0) << trained.err;
  const auto written =
      elastron(0, "export --format hf-reference --checkpoint " + run + " --out " + folder);
  ASSERT_EQ(written.code, 0) << written.err;
}

TEST(Judge, IsTheSameOnAnyLayout) {
  const Scratch one;
  const std::string model = one / "model";
  make_judge(one / "shapes", model, one / "run");
  const auto made =
      elastron(0, "synthesize --pairs --form benchmark --length 200 --records 5 --out " +
                      (one / "Traces.jsonl"));
  ASSERT_EQ(made.code, 0) << made.err;
  const auto judge = [&](int ranks, const std::string& out, const std::string& more = "") {
    return elastron(ranks, "eval-reward " + kConfig + " --set model.path=" + model +
                               " --judge generative --order both --max-tokens 6 --temperature 2 "
                               "--data " +
                               (one / "Traces.jsonl") + " --out " + out + " " + more);
  };
  const auto run = judge(0, one / "report");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(fs::exists(one / "report/results_lenient.csv"));
  std::istringstream rows(read_text(one / "report/rows.jsonl"));
  int count = 0;
  for (std::string line; std::getline(rows, line); ++count) {
    const auto row = nlohmann::json::parse(line);
    EXPECT_FALSE(row["output"].get<std::string>().empty()) << line;
    EXPECT_NE(row["output"], row["swapped_output"]) << line;
  }
  EXPECT_EQ(count, 5);
  for (const Layout l : {Layout{2, 1}, {3, 1}}) {
    const Scratch other;
    const auto again = judge(l.ranks, other.path(), tensor(l));
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_EQ(report(one / "report"), report(other.path())) << l.ranks;
  }
  const Scratch context;
  const auto split = judge(4, context.path(), "--set parallel.tensor=2 --set parallel.context=2");
  ASSERT_EQ(split.code, 0) << split.err;
  EXPECT_EQ(report(one / "report"), report(context.path()));
  // Nor do texts depend on those beside them.
  for (const Layout l : {Layout{0, 1}, {2, 2}}) {
    const Scratch other;
    const auto again = judge(l.ranks, other.path(), tensor(l) + " --batch 3");
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_EQ(report(one / "report"), report(other.path())) << l.ranks;
  }
  // Prompts that are too long even without their middle are in the rows, with the reason.
  const Scratch small;
  ASSERT_EQ(judge(0, small.path(), "--limit 32").code, 0);
  EXPECT_NE(read_text(small / "rows.jsonl").find("truncated\":true"), std::string::npos);
  expect_error(judge(2, one / "report", "--seed 7"), 2, {"settings", "--out"});
  expect_error(judge(2, small.path(), "--checkpoint x"), 2, {"--checkpoint", "export"});
  expect_error(
      judge(2, small.path(), "--set parallel.context=2 --set parallel.context_kind=ulysses"), 2,
      {"parallel.context_kind", "gather"});
}

// A response that ends the user's turn and writes the verdict: text, and said to be there.
TEST(Judge, AForgedVerdictIsText) {
  const Scratch one;
  const std::string model = one / "model";
  make_judge(one / "shapes", model, one / "run");
  const std::string forged =
      std::string(ELASTRON_TEST_FIXTURES) + "/reward/judge_forged_verdict.jsonl";
  const auto judge = [&](int ranks, const std::string& more) {
    const Scratch out;
    auto run = elastron(ranks, "eval-reward " + kConfig + " --set model.path=" + model +
                                   " --judge generative --max-tokens 2 --temperature 0 --data " +
                                   forged + " --out " + out.path() + " " + more);
    if (run.code == 0) run.out = read_text(out / "rows.jsonl");
    return run;
  };
  const std::string spelled =
      "judged rows: control tokens are spelled out in the text: 4 in 1 row, first " + forged +
      ":2; they ";
  const auto text = judge(2, "");
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.err.find(spelled + "are plain text here"), std::string::npos) << text.err;
  const auto kept = judge(0, "--set data.control_tokens=keep");
  ASSERT_EQ(kept.code, 0) << kept.err;
  EXPECT_NE(kept.err.find(spelled + "become real ones"), std::string::npos) << kept.err;
  // As text they take more tokens; the row without any is the same.
  const auto tokens = [](const Outcome& run) {
    std::istringstream rows(run.out);
    std::vector<int64_t> counts;
    for (std::string line; std::getline(rows, line);) {
      counts.push_back(nlohmann::json::parse(line)["prompt_tokens"].get<int64_t>());
    }
    return counts;
  };
  ASSERT_EQ(tokens(text).size(), 2u);
  EXPECT_EQ(tokens(text)[0], tokens(kept)[0]);
  EXPECT_GT(tokens(text)[1], tokens(kept)[1] + 4);
  expect_error(judge(2, "--set data.control_tokens=error"), 3,
               {"the text has the control token '<|im_end|>'", "judge_forged_verdict.jsonl:2"});
}

// A prompt that ends with the assistant's words, which the template joins with the response.
TEST(ChatTemplate, RowsThatTheTemplateDoesNotRenderAreBadRows) {
  const Scratch one;
  const std::string model = one / "model", data = one / "rows.jsonl";
  make_judge(one / "shapes", model, one / "judge");
  std::string rows = R"({"prompt": [{"role": "user", "content": "find"}, {"role": "assistant", )"
                     R"("content": "it is"}], "chosen": "here", "rejected": "there"})"
                     "\n";
  for (int i = 0; i < 8; ++i) {
    rows += R"({"prompt": "find k)" + std::to_string(i) +
            R"(", "chosen": "v1", "rejected": "v2"})" + "\n";
  }
  write_text(data, rows);
  const std::string of_model = " --set model.path=" + model + " --set output.dir=" + (one / "run");
  const auto train = [&](const std::string& more) {
    return elastron(2, "train " + kConfig + of_model +
                           " --set train.steps=1 --set train.trainable=[reward_head] --set "
                           "data.format=jsonl --set data.train=[" +
                           data + "] " + more);
  };
  const std::vector<std::string> fault = {"changes the prompt with the response", "rows.jsonl:1",
                                          "reward.bad_rows: skip"};
  expect_error(train(""), 3, fault);
  const auto trained = train("--set reward.bad_rows=skip");
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_NE(trained.err.find("8 pairs of 9 rows"), std::string::npos) << trained.err;
  EXPECT_NE(trained.err.find("left out: 1 not rendered by the chat template"), std::string::npos)
      << trained.err;
  const auto judge = [&](const std::string& more) {
    return elastron(2, "eval-reward " + kConfig + of_model + " --checkpoint " + (one / "run") +
                           " --data " + data + " --out " + (one / "report") + " " + more);
  };
  expect_error(judge(""), 3, fault);
  const auto judged = judge("--set reward.bad_rows=skip");
  ASSERT_EQ(judged.code, 0) << judged.err;
  const std::string first = read_text(one / "report/rows.jsonl");
  EXPECT_NE(first.substr(0, first.find('\n')).find("not rendered by the chat template"), first.npos)
      << first;
}

}  // namespace
}  // namespace elastron::test
