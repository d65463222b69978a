// elastron eval, what long commands say of their progress, --dry-run, and configurations with
// absurd numbers, through the program.
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "tests/launch/evaluations.h"
#include "tests/launch/program.h"

namespace elastron::test {
namespace {

const std::string kConfig = std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/router.yaml";

std::string arguments(const std::string& command, const std::string& more) {
  return command + " " + kConfig + " --set model.path=" + tiny_backbone() + " " + more;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Four records that have an answer and three that have none.
std::string some_without_answers(const std::string& path) {
  std::string text;
  for (int i = 0; i < 7; ++i) {
    const bool asked = i < 4;
    text += std::string(R"({"context": "n1 n2 v3 n4", "question": "find", "answer": ")") +
            (asked ? "v3" : "") + R"(", "metadata": {"task": ")" +
            (i < 2   ? "Code"
             : asked ? "Single QA"
                     : "Summarization") +
            R"(", "kind": ")" +
            (i < 2   ? "asked"
             : i < 5 ? "mixed"
                     : "untold") +
            "\"}}\n";
  }
  write_text(path, text);
  return path;
}

std::string of_file(const std::string& file) {
  return "--set data.format=jsonl --set data.train=[" + file + "] --set data.eval=[" + file + "] ";
}

// Before anything is evaluated.
TEST(Eval, AResultThatCannotBeWrittenIsSaidAtOnce) {
  const Scratch scratch;
  for (const std::string& out : {scratch / "none/figures.json", scratch.path()}) {
    const Outcome o = elastron(
        2, arguments("eval", "--set model.path=/nowhere --set router.force=full --out " + out));
    expect_error(o, 3, {out});
    EXPECT_EQ(o.out, "");
  }
}

TEST(Eval, DocumentsWithoutAnAnswerAreNotWrong) {
  const Scratch scratch;
  const std::string file = some_without_answers(scratch / "data.jsonl");
  const Outcome o = elastron(2, arguments("eval", of_file(file) + "--set router.force=full --out " +
                                                      (scratch / "figures.json")));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto figures = nlohmann::json::parse(read_text(scratch / "figures.json"));
  EXPECT_EQ(figures["all"]["documents"], 7);
  EXPECT_EQ(figures["all"]["answers"], 4);
  EXPECT_EQ(figures["by_kind"]["mixed"]["documents"], 3);
  EXPECT_EQ(figures["by_kind"]["mixed"]["answers"], 2);
  EXPECT_EQ(figures["by_kind"]["untold"]["answers"], 0);
  EXPECT_TRUE(figures["by_kind"]["untold"]["accuracy"].is_null());
  EXPECT_TRUE(figures["by_task"]["Summarization"]["accuracy"].is_null());
  // All four are the same question: right or wrong together.
  const double all = figures["all"]["accuracy"];
  EXPECT_TRUE(all == 0.0 || all == 1.0) << all;
  EXPECT_EQ(figures["by_kind"]["mixed"]["accuracy"], all);

  EXPECT_NE(o.out.find("3 of 7 documents have no answer"), std::string::npos) << o.out;
  for (const std::string& line : lines_of(o.out)) {
    if (!line.starts_with("untold")) continue;
    EXPECT_NE(line.find(" - 0.00"), std::string::npos) << line;
  }
  EXPECT_NE(o.err.find("figures in " + (scratch / "figures.json")), std::string::npos) << o.err;
}

TEST(Eval, WhileTrainingToo) {
  const Scratch scratch;
  const std::string file = some_without_answers(scratch / "data.jsonl");
  const Outcome o =
      elastron(0, arguments("train", of_file(file) +
                                         "--set data.packing=none --set train.steps=2 "
                                         "--set train.global_batch=4 --set eval.every=2 "
                                         "--set output.dir=" +
                                         (scratch / "run")));
  ASSERT_EQ(o.code, 0) << o.err;
  nlohmann::json evaluation;
  for (const std::string& line : lines_of(read_text(scratch / "run/metrics.jsonl"))) {
    const auto object = nlohmann::json::parse(line);
    if (object.contains("eval_loss")) evaluation = object;
  }
  EXPECT_EQ(evaluation["eval_documents"], 7);
  EXPECT_EQ(evaluation["eval_answers"], 4);
  EXPECT_TRUE(evaluation["eval_accuracy_by_kind"]["untold"].is_null());
  EXPECT_TRUE(evaluation["eval_accuracy_by_kind"]["asked"].is_number());
  EXPECT_NE(o.err.find("3 without an answer"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("untold -"), std::string::npos) << o.err;
}

// The cells of a table's line.
std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> found;
  std::istringstream in(line);
  for (std::string cell; in >> cell;) found.push_back(cell);
  return found;
}

TEST(Eval, EveryWayOfGatingHasItsOwnMsr) {
  const Scratch run;
  ASSERT_EQ(
      elastron(0, arguments("train", "--set train.steps=1 --set output.dir=" + run.path())).code,
      0);
  const Outcome o = elastron(0, arguments("eval", "--checkpoint " + run.path() + " --compare"));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto lines = lines_of(o.out);
  ASSERT_GE(lines.size(), 4u) << o.out;
  const auto names = cells(lines[1]);
  ASSERT_EQ(names.size(), 6u) << o.out;
  EXPECT_EQ(names[0], "full");
  EXPECT_EQ(names[1], "sparse");
  EXPECT_EQ(names[2], "router");
  EXPECT_EQ(cells(lines[2]).size(), 2 + 2 * names.size()) << o.out;
  const auto all = cells(lines.back());
  ASSERT_EQ(all.size(), 2 + 2 * names.size()) << o.out;
  EXPECT_EQ(all[0], "all");
  EXPECT_EQ(all[3], "0.00");
  EXPECT_EQ(all[5], "1.00");
  // Columns stand below their heads: every line is as long.
  for (size_t i = 1; i < lines.size(); ++i) EXPECT_EQ(lines[i].size(), lines[1].size()) << o.out;
  // The random gates are as sparse as their names say, but for whole heads.
  for (size_t i = 3; i < names.size(); ++i) {
    ASSERT_TRUE(names[i].starts_with("random:")) << names[i];
    EXPECT_NEAR(std::stod(names[i].substr(7)), std::stod(all[3 + 2 * i]), 0.13) << o.out;
  }
}

nlohmann::json figures_of(const std::string& file) {
  return nlohmann::json::parse(read_text(file));
}

// What was asked for makes the same again: by the words of the file alone.
TEST(Eval, SaysHowItWasMadeAndIsTheSameOnAnyLayout) {
  const Scratch s;
  const std::string run = s / "a run's folder", quoted = "\"" + run + "\"";
  ASSERT_EQ(elastron(0, arguments("train",
                                  "--set train.steps=2 --set router.init_std=0.3 --set "
                                  "output.dir=" +
                                      quoted))
                .code,
            0);
  const std::string evaluate =
      arguments("eval", "--checkpoint " + quoted + " --set eval.micro_batch=3 ");
  const Outcome first = elastron(0, evaluate + "--out " + (s / "one.json"));
  ASSERT_EQ(first.code, 0) << first.err;
  const auto one = figures_of(s / "one.json");
  const auto& made = one["made_by"];
  EXPECT_TRUE(made["program"].get<std::string>().starts_with("elastron ")) << made;
  EXPECT_EQ(made["configuration"], nlohmann::json({kConfig}));
  EXPECT_EQ(made["settings"],
            nlohmann::json({"model.path=" + tiny_backbone(), "eval.micro_batch=3"}));
  EXPECT_EQ(made["checkpoint"], run + "/checkpoints/step-00000002.h5");
  EXPECT_EQ(made["ranks"], 1);
  EXPECT_GE(made["backbone"].get<std::string>().size(), 16u) << made;
  const std::string command = made["command"];
  ASSERT_TRUE(command.starts_with("elastron eval ")) << command;
  std::filesystem::rename(s / "one.json", s / "before.json");
  const Outcome again = elastron(0, command.substr(9));
  ASSERT_EQ(again.code, 0) << command << "\n" << again.err;
  EXPECT_EQ(read_text(s / "one.json"), read_text(s / "before.json"));

  ASSERT_EQ(elastron(4, evaluate + "--set parallel.tensor=2 --out " + (s / "four.json")).code, 0);
  const auto four = figures_of(s / "four.json");
  expect_same_heads(one, four);
  EXPECT_EQ(four["made_by"]["ranks"], 4);
  EXPECT_TRUE(four["made_by"]["command"].get<std::string>().starts_with("elastron-run -np 4 eval "))
      << four["made_by"];

  // Fewer documents than data ranks.
  write_text(
      s / "few.jsonl",
      R"({"context": "n1 n2 v3 n4", "question": "find", "answer": "v3", "metadata": {"task": "Code", "kind": "a"}}
{"context": "v9 n7 n7 n8 n9 k1", "question": "find", "answer": "n7", "metadata": {"task": "Code", "kind": "b"}}
)");
  const std::string few = of_file(s / "few.jsonl") + "--out ";
  ASSERT_EQ(elastron(0, evaluate + few + (s / "few_one.json")).code, 0);
  ASSERT_EQ(elastron(4, evaluate + few + (s / "few_four.json")).code, 0);
  expect_same_heads(figures_of(s / "few_one.json"), figures_of(s / "few_four.json"));
}

TEST(Eval, NamesAsLongAsTheyLike) {
  const Scratch scratch;
  const std::string file = scratch / "gates-with-a-long-name.json";
  write_text(file, "[[1,0,0,0,0,0,0,0],[0,0,0,0,0,0,0,0]]");
  for (const std::string& force : {"static:" + file, std::string("random:0.72:12345678")}) {
    const Outcome o = elastron(0, arguments("eval", "--set router.force=" + force));
    ASSERT_EQ(o.code, 0) << o.err;
    const auto lines = lines_of(o.out);
    EXPECT_EQ(cells(lines[1]), std::vector<std::string>{force}) << o.out;
    for (size_t i = 1; i < lines.size(); ++i) EXPECT_EQ(lines[i].size(), lines[1].size()) << o.out;
    EXPECT_NE(cells(lines.back()).back(), "0.00") << o.out;
  }
}

TEST(DryRun, FindsWhatTheRunWould) {
  const Scratch scratch;
  const std::string dry = "--dry-run --set output.dir=" + (scratch / "run") + " ";
  const Outcome good = elastron(2, arguments("train", dry));
  EXPECT_EQ(good.code, 0) << good.err;
  EXPECT_NE(good.out.find("# data: "), std::string::npos) << good.out;
  struct {
    int ranks;
    std::string set;
    int code;
    std::string fragment;
  } const cases[] = {
      {0, "--set data.format=jsonl", 2, "data.train"},
      {0, "--set data.format=jsonl --set data.train=[./nowhere.jsonl]", 3, "nowhere.jsonl"},
      {0, of_file(some_without_answers(scratch / "d.jsonl")) + "--set train.global_batch=80", 2,
       "global_batch"},
      {2, "--set train.global_batch=9", 2, "data-parallel ranks"},
      {0, "--resume nowhere.h5", 4, "nowhere.h5"},
      {0, "--set eval.every=1 --set data.synthetic.lengths=[5]", 2, "data.synthetic.lengths"}};
  for (const auto& c : cases) {
    const Outcome dry_run = elastron(c.ranks, arguments("train", dry + c.set));
    expect_error(dry_run, c.code, {c.fragment});
    const Outcome run =
        elastron(c.ranks, arguments("train", c.set + " --set output.dir=" + (scratch / "other")));
    EXPECT_EQ(run.code, c.code) << run.err;
  }
  EXPECT_FALSE(std::filesystem::exists(scratch / "run"));
}

// Each is one clear line, at once: nothing is allocated, and no product of two overflows.
TEST(AbsurdNumbers, AreRefusedByTheConfiguration) {
  const std::string most = "9223372036854775807";
  for (const std::string key :
       {"model.max_position", "parallel.tensor",          "parallel.context",
        "parallel.data",      "parallel.bucket_bytes",    "train.steps",
        "train.global_batch", "train.micro_batch",        "train.loss.chunk_rows",
        "train.lora.rank",    "eval.micro_batch",         "data.max_tokens",
        "data.min_tokens",    "data.synthetic.clearance", "data.synthetic.eval_per_kind",
        "router.pool_budget", "router.hidden_mult",       "router.ssa.sink",
        "router.ssa.local",   "router.ssa.block",         "router.ssa.last",
        "router.xa.stride",   "router.xa.block",          "reward.traces.eval_pairs"}) {
    for (const std::string& value :
         {most, std::string("4611686018427387904"), std::string("1e17")}) {
      const Outcome o = elastron(0, arguments("train", "--dump-config --set " + key + "=" + value));
      expect_error(o, 2, {key, "an integer >= "});
    }
  }
  for (const std::string key : {"data.synthetic.lengths", "reward.traces.lengths"}) {
    const Outcome o =
        elastron(0, arguments("train", "--dump-config --set " + key + "=[64," + most + "]"));
    expect_error(o, 2, {key});
  }
  const Outcome batch = elastron(0, arguments("train", "--set train.global_batch=1000000000"));
  expect_error(batch, 2, {"train.global_batch"});
  expect_error(elastron(0, "synthesize --out /dev/null --length " + most), 2, {"--length"});
}

TEST(AbsurdNumbers, LargeOnesThatAreAllowedEndWithoutAnInternalError) {
  const std::string tokens = "16777216";
  // Tables of positions take memory: not of the most that is allowed.
  for (const std::string& set :
       {std::string("--set data.max_tokens=1048576"),
        std::string("--set model.max_position=1048576"), "--set router.pool_budget=" + tokens,
        "--set router.ssa.sink=" + tokens, "--set router.ssa.local=" + tokens,
        "--set router.ssa.block=" + tokens, std::string("--set train.steps=2147483647"),
        "--set data.synthetic.clearance=" + tokens,
        std::string("--set eval.every=1 --set eval.micro_batch=1048576"),
        std::string("--set train.loss.chunk_rows=16777216")}) {
    const Outcome o = elastron(0, arguments("train", "--dry-run " + set));
    EXPECT_TRUE(o.code == 0 || o.code == 2) << set << "\n" << o.err;
    EXPECT_EQ(o.err.find("internal"), std::string::npos) << o.err;
  }
}

TEST(AbsurdNumbers, OfRanksInAPlan) {
  const Outcome o = elastron(0, arguments("plan",
                                          "--set parallel.data=1048576 "
                                          "--set parallel.context=1048576 "
                                          "--set data.max_tokens=16777216"));
  EXPECT_EQ(o.code, 2) << o.err;
  EXPECT_EQ(o.err.find("internal"), std::string::npos) << o.err;
}

TEST(UnknownKeys, AreNamedUpToTwenty) {
  const Scratch scratch;
  std::ofstream file(scratch / "many.yaml");
  for (int i = 0; i < 60000; ++i) file << "key" << i << ": 1\n";
  file.close();
  const Outcome o = elastron(0, "train " + (scratch / "many.yaml"));
  EXPECT_EQ(o.code, 2);
  const auto lines = lines_of(o.err);
  EXPECT_EQ(lines.size(), 20u) << o.err.substr(0, 3000);
  EXPECT_NE(lines.front().find("'key0'"), std::string::npos) << lines.front();
  EXPECT_NE(lines.back().find("(and 59980 more problems)"), std::string::npos) << lines.back();
}

// Runs it with stderr on a terminal of its own. -> exit code, and what the terminal got.
Outcome on_terminal(const std::string& command) {
  int ours = -1, theirs = -1;
  winsize size{.ws_row = 24, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
  EXPECT_EQ(openpty(&ours, &theirs, nullptr, nullptr, &size), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(theirs, STDERR_FILENO);
    close(ours);
    close(theirs);
    const std::string line =
        for_shell(std::string(ELASTRON_PROGRAM) + " " + command + " >/dev/null");
    execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    _exit(127);
  }
  close(theirs);
  Outcome o;
  char buffer[4096];
  // A terminal whose other end is closed gives an error.
  for (ssize_t n; (n = read(ours, buffer, sizeof buffer)) > 0;) o.err.append(buffer, size_t(n));
  close(ours);
  int status = 0;
  waitpid(child, &status, 0);
  o.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return o;
}

// What a terminal shows in the end of its last line.
std::string last_line(const std::string& written) {
  std::string line;
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i] == '\n') line.clear();
    if (written[i] == '\r') line.clear();
    if (written[i] != '\n' && written[i] != '\r') line += written[i];
  }
  const size_t cleared = line.rfind("\033[K");
  return cleared == line.npos ? line : line.substr(cleared + 3);
}

TEST(LongCommands, SayHowFarTheyAre) {
  const Scratch scratch;
  const std::string records = scratch / "records.jsonl", packed = scratch / "packed.h5",
                    scores = scratch / "scores.json", pairs = scratch / "pairs.jsonl";
  const std::string reward = std::string(ELASTRON_SOURCE_DIR) +
                             "/tests/launch/reward.yaml --set model.path=" + tiny_backbone() + " ";
  const Outcome trained = elastron(
      0, "train " + reward + "--set train.steps=1 --set output.dir=" + (scratch / "reward"));
  ASSERT_EQ(trained.code, 0) << trained.err;
  struct {
    std::string command, says, wrote;
  } const cases[] = {
      {"synthesize --records 200 --length 90 --clearance 24 --out " + records, "making records",
       records + ": 200 records"},
      {"synthesize --pairs --lexicon coded --records 8 --length 200 --out " + pairs,
       "making records", pairs + ": 8 pairs"},
      {"pack --model " + tiny_backbone() + " --in " + records + " --out " + packed +
           " --max-tokens 200 --min-tokens 1",
       "tokenising", packed},
      {arguments("eval", "--set router.force=full --out " + (scratch / "figures.json")),
       "evaluating full (1 of 1)", (scratch / "figures.json")},
      {"eval-reward " + reward + "--checkpoint " + (scratch / "reward") + " --data " + pairs +
           " --out " + (scratch / "report"),
       "judging", "report in " + (scratch / "report")},
      {arguments("score-heads",
                 "--needles all --set data.synthetic.eval_per_kind=2 --out " + scores),
       "scoring heads", scores}};
  for (const auto& c : cases) {
    const Outcome live = on_terminal(c.command);
    ASSERT_EQ(live.code, 0) << c.command << "\n" << live.err;
    EXPECT_NE(live.err.find("\r" + c.says), std::string::npos) << c.command << "\n" << live.err;
    // Cleared at the end, and before every other line.
    EXPECT_EQ(last_line(live.err).find('%'), std::string::npos) << live.err;
    for (const std::string& line : lines_of(live.err)) {
      const size_t text = line.find("elastron ");
      if (text == line.npos) continue;
      EXPECT_EQ(last_line(line.substr(0, text)).find('%'), std::string::npos) << line;
    }

    const Outcome plain = elastron(0, c.command);
    ASSERT_EQ(plain.code, 0) << plain.err;
    EXPECT_EQ(plain.err.find('\r'), std::string::npos) << plain.err;
    EXPECT_EQ(plain.err.find(c.says), std::string::npos) << plain.err;
    EXPECT_NE((plain.out + plain.err).find(c.wrote), std::string::npos) << plain.out << plain.err;
  }
}

}  // namespace
}  // namespace elastron::test
