#include "core/config/schema.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "tests/core/config/example_config.h"
#include "tests/support/scratch.h"

namespace elastron::config {
namespace {

using example::ExampleConfig;
using Strings = std::vector<std::string>;

std::string error_of(const std::string& text) {
  try {
    parse_config<ExampleConfig>(text, "x.yaml");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

std::string override_error(const std::string& assignment) {
  try {
    load_config<ExampleConfig>(Strings{}, Strings{assignment});
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Schema, ReadsEveryType) {
  const auto c = parse_config<ExampleConfig>(R"(
router:
  ssa: {sink: 0, local: 64, block: 32}
  mode: fa-xa
  clamp: 2
  target: {code: 1, "single qa": 0.5}
train:
  steps: 1e3
  micro_batch: 4
  lr: 1e-3
  deterministic: false
  trainable: [router, "head"]
  lengths:
    - 1
    - 2.5e1
  betas: []
data_ranks: 2
dir: /tmp/x y
recompute: layer
note: "none"
)",
                                             "x.yaml");
  EXPECT_EQ(c.router.ssa.sink, 0);
  EXPECT_EQ(c.router.ssa.block, 32);
  EXPECT_EQ(c.router.mode, example::Mode::fa_xa);
  EXPECT_EQ(c.router.clamp, 2.0);
  EXPECT_EQ(c.router.target, (std::map<std::string, double>{{"code", 1.0}, {"single qa", 0.5}}));
  EXPECT_EQ(c.train.steps, 1000);
  EXPECT_EQ(c.train.micro_batch, 4);
  EXPECT_EQ(c.train.lr, 1e-3);
  EXPECT_FALSE(c.train.deterministic);
  EXPECT_EQ(c.train.trainable, (Strings{"router", "head"}));
  EXPECT_EQ(c.train.lengths, (std::vector<int64_t>{1, 25}));
  EXPECT_TRUE(c.train.betas.empty());
  EXPECT_EQ(c.data_ranks.value, 2);
  EXPECT_EQ(c.dir, "/tmp/x y");
  EXPECT_EQ(c.recompute, "layer");
  EXPECT_EQ(c.note, "none");  // quoted: the text, not the word
}

TEST(Schema, WordsForNoValue) {
  auto c = parse_config<ExampleConfig>("data_ranks: 3\nrouter: {clamp: 1}\nnote: x\n", "x");
  EXPECT_TRUE(c.data_ranks.value && c.router.clamp && c.note);
  c = parse_config<ExampleConfig>("data_ranks: auto\nrouter: {clamp: none}\nnote: none\n", "x");
  EXPECT_TRUE(c.data_ranks.is_auto());
  EXPECT_FALSE(c.router.clamp);
  EXPECT_FALSE(c.note);
}

TEST(Schema, EmptySectionsAndFilesAreFine) {
  EXPECT_EQ(error_of(""), "");
  EXPECT_EQ(error_of("train:\nrouter:\n  ssa:\n"), "");
}

struct Case {
  std::string text, message;
};

TEST(Schema, OneProblem) {
  const std::vector<Case> table = {
      {"train:\n  stpes: 3\n", "unknown key 'train.stpes' (x.yaml:2): did you mean 'train.steps'?"},
      {"steps: 3\n", "unknown key 'steps' (x.yaml:1): did you mean 'train.steps'?"},
      {"train: {zzz: 1}\n",
       "unknown key 'train.zzz' (x.yaml:1): known here: steps, micro_batch, lr, deterministic, "
       "trainable, lengths, betas"},
      {"train.steps: 3\n",
       "unknown key 'train.steps' with a dot (x.yaml:1): write one level below the other"},
      {"train:\n  steps: abc\n", "'train.steps' is 'abc' (x.yaml:2): write an integer >= 1"},
      {"train: {steps: 0}\n", "'train.steps' is '0' (x.yaml:1): write an integer >= 1"},
      {"train: {steps: '5'}\n", "'train.steps' is the quoted text '5' (x.yaml:1): write an"},
      {"train: {steps: 010}\n", "'train.steps' is '010'"},
      {"train: {steps: 0x10}\n", "'train.steps' is '0x10'"},
      {"train: {steps: 5.0}\n", "'train.steps' is '5.0'"},
      {"train: {steps: 1e-1}\n", "'train.steps' is '1e-1'"},
      {"train: {steps: 12.34e1}\n", "'train.steps' is '12.34e1'"},
      {"train: {steps: 9223372036854775808}\n", "'train.steps' is '9223372036854775808'"},
      {"train: {steps: 1e19}\n", "'train.steps' is '1e19'"},
      {"train: {steps: }\n", "'train.steps' is empty (x.yaml:1): write an integer >= 1"},
      {"train: {steps: [1]}\n", "'train.steps' is a list"},
      {"train: {micro_batch: 2147483648}\n", "write an integer >= -2147483648 and <= 2147483647"},
      {"train: {lr: .nan}\n", "'train.lr' is '.nan' (x.yaml:1): write a number > 0 and < 1"},
      {"train: {lr: .inf}\n", "'train.lr' is '.inf'"},
      {"train: {lr: 1e999}\n", "a 64-bit float can hold"},
      {"train: {lr: 1e-999}\n", "a 64-bit float can hold"},
      {"train: {lr: 00.5}\n", "'train.lr' is '00.5'"},
      {"train: {lr: 0}\n", "write a number > 0 and < 1"},
      {"train: {lr: 1}\n", "write a number > 0 and < 1"},
      {"train: {lr: 1_0}\n", "'train.lr' is '1_0'"},
      {"train: {deterministic: yes}\n", "'train.deterministic' is 'yes' (x.yaml:1): write true or"},
      {"train: {deterministic: 'true'}\n", "is the quoted text 'true'"},
      {"train:\n  trainable:\n    - a\n    - ''\n",
       "'train.trainable[1]' is the quoted text '' (x.yaml:4): write text, not empty"},
      {"train: {lengths: 5}\n", "write a list, each item an integer >= 1"},
      {"train: {lengths: [1, 0]}\n", "'train.lengths[1]' is '0'"},
      {"router: {target: {qa: 1.5}}\n",
       "'router.target.qa' is '1.5' (x.yaml:1): write a number >= 0 and <= 1"},
      {"router: {mode: fa}\n", "'router.mode' is 'fa' (x.yaml:1): write fa-ssa or fa-xa"},
      {"router: {clamp: 0}\n", "write none or a number > 0"},
      {"router: {ssa: {block: 0}}\n", "write an integer >= 1"},
      {"recompute: some\n", "write none, selective or layer"},
      {"data_ranks: 0\n", "write auto or an integer >= 1"},
      {"train: 5\n", "'train' is a section (x.yaml:1): write its keys below it, indented"},
      {"dir: ''\n", "'dir' is the quoted text ''"},
      {"'': 1\n", "unknown key ''"},
      {"router:\n  ssa:\n    local: 100\n",
       "the local window 100 is not whole blocks (router.ssa.local, x.yaml:3): use a multiple of"},
      {"router:\n  ssa:\n    block: 40\n", "(router.ssa.local, default): use a multiple of 40"},
      {"train: {steps: 1, micro_batch: 2}\n", "fewer steps than packs (train.steps, x.yaml:1)"},
  };
  for (const Case& c : table) {
    const std::string error = error_of(c.text);
    EXPECT_NE(error.find(c.message), std::string::npos) << c.text << "\ngot: " << error;
    EXPECT_EQ(std::ranges::count(error, '\n'), 0) << error;
  }
}

// `place: sky` for `place: {kind: sky}`.
TEST(Schema, APlainValueInPlaceOfASection) {
  using example::ShortConfig;
  const auto parsed = [](const std::string& text) {
    return config::parse_config<ShortConfig>(text, "x.yaml");
  };
  EXPECT_EQ(parsed("place: sky\n").place.kind, "sky");
  EXPECT_EQ(parsed("place: {kind: sea, depth: 3}\n").place.depth, 3);
  EXPECT_EQ(parsed("").place.kind, "land");
  const auto set = [](const std::vector<std::string>& overrides) {
    return config::load_config<ShortConfig>(std::vector<std::string>{}, overrides);
  };
  const ShortConfig both = set({"place.depth=2", "place=sky"});
  EXPECT_EQ(both.place.kind, "sky");
  EXPECT_EQ(both.place.depth, 2);
  const std::string dumped = config::dump_config(both);
  EXPECT_EQ(dumped, "place:\n  kind: sky\n  depth: 2\n");
  EXPECT_EQ(config::dump_config(parsed(dumped)), dumped);
  const auto error = [&](const auto& f) -> std::string {
    try {
      f();
    } catch (const UsageError& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(error([&] { parsed("place: moon\n"); }),
            "'place.kind' is 'moon' (x.yaml:1): write land, sea or sky");
  EXPECT_EQ(error([&] { set({"place=moon"}); }),
            "'place.kind' is 'moon' (--set place=moon): write land, sea or sky");
  EXPECT_NE(error([&] { parsed("place: [sky]\n"); }).find("'place' is a section"),
            std::string::npos);
}

TEST(Schema, AllProblemsInOnePass) {
  const std::string error = error_of(
      "train:\n  stpes: 3\n  lr: fast\n  lr: slow\nrouter:\n  ssa:\n    local: 100\nfoo: 1\n");
  // One line each; the root's check does not run on half-read values, the router's own would but
  // the file as a whole is in doubt because of the duplicate.
  EXPECT_EQ(std::ranges::count(error, '\n'), 4) << error;
  for (const char* part : {"duplicate key 'lr' (x.yaml:4)", "'train.stpes' (x.yaml:2)",
                           "'train.lr' is 'fast' (x.yaml:", "'train.lr' is 'slow' (x.yaml:4)",
                           "unknown key 'foo' (x.yaml:8)"}) {
    EXPECT_NE(error.find(part), std::string::npos) << part << "\nin: " << error;
  }
}

TEST(Schema, LocalCheckRunsBesideOtherProblems) {
  const std::string error = error_of("train: {lr: fast}\nrouter: {ssa: {local: 100}}\n");
  EXPECT_NE(error.find("'train.lr'"), std::string::npos);
  EXPECT_NE(error.find("not whole blocks"), std::string::npos);
}

TEST(Schema, ManyProblemsAreCut) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "unknown" + std::to_string(i) + ": 1\n";
  const std::string error = error_of(text);
  EXPECT_EQ(std::ranges::count(error, '\n'), 19);
  EXPECT_NE(error.find("and 980 more problems"), std::string::npos);
}

TEST(Schema, NoControlCharactersInMessages) {
  const std::string error = error_of("\"a\\x1b[31m\\nb\": 1\n");
  EXPECT_NE(error.find("unknown key 'a?[31m?b'"), std::string::npos) << error;
}

TEST(Schema, FilesMergeLeftToRightThenOverrides) {
  const test::Scratch folder;
  const std::string a = folder.write(
      "merge_a.yaml", "train: {steps: 10, lr: 0.1, lengths: [1]}\nrouter: {target: {x: 0.1}}\n");
  const std::string b =
      folder.write("merge_b.yaml", "train:\n  steps: 20\nrouter: {target: {y: 0.2}}\n");
  Origins origins;
  const auto c = load_config<ExampleConfig>(
      Strings{a, b}, Strings{"train.lr=0.2", "train.lr=0.3", "router.target.z.w=0.4", "dir=a b=c"},
      &origins);
  EXPECT_EQ(c.train.steps, 20);
  EXPECT_EQ(c.train.lr, 0.3);
  EXPECT_EQ(c.train.lengths, std::vector<int64_t>{1});
  EXPECT_EQ(c.router.target, (std::map<std::string, double>{{"y", 0.2}, {"z.w", 0.4}}));
  EXPECT_EQ(c.dir, "a b=c");
  EXPECT_EQ(origins.of("train.steps"), b + ":2");
  EXPECT_EQ(origins.of("train.lengths"), a + ":1");
  EXPECT_EQ(origins.of("train.lr"), "--set train.lr=0.3");
  EXPECT_EQ(origins.of("train.micro_batch"), "default");

  const std::string dump = dump_config(c, &origins);
  EXPECT_NE(dump.find("  steps: 20  # " + b + ":2\n"), std::string::npos) << dump;
  EXPECT_NE(dump.find("  lr: 0.3  # --set train.lr=0.3\n"), std::string::npos);
  EXPECT_NE(dump.find("  micro_batch: 1  # default\n"), std::string::npos);
}

TEST(Schema, OverrideProblems) {
  EXPECT_EQ(override_error("train.steps"),
            "an override without '=' (--set train.steps): write --set key=value");
  EXPECT_NE(
      override_error("train.stpes=1")
          .find("unknown key 'train.stpes' (--set train.stpes=1): did you mean 'train.steps'?"),
      std::string::npos);
  EXPECT_NE(override_error("train=1").find("'train' is a section (--set train=1)"),
            std::string::npos);
  EXPECT_NE(override_error("train.steps=").find("'train.steps' is empty"), std::string::npos);
  EXPECT_NE(override_error("train.steps=[1").find("close the bracket"), std::string::npos);
  EXPECT_NE(override_error("train.steps=a\nb").find("a line break"), std::string::npos);
  EXPECT_NE(override_error("router.target.qa=2").find("'router.target.qa' is '2'"),
            std::string::npos);
  EXPECT_NE(override_error("=1").find("unknown key ''"), std::string::npos);
}

TEST(Schema, UnreadableFiles) {
  const auto error = [](const std::string& path) {
    try {
      load_config<ExampleConfig>(Strings{path}, Strings{});
    } catch (const UsageError& e) {
      EXPECT_EQ(e.kind(), ExitCode::usage);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error(ELASTRON_TEST_FIXTURES "/absent/x.yaml").find("No such file or directory"),
            std::string::npos);
  EXPECT_NE(error("/tmp").find("Is a directory"), std::string::npos);
  EXPECT_NE(error("/dev/zero").find("more than 1 MiB"), std::string::npos);
}

TEST(Schema, Differences) {
  ExampleConfig a;
  ExampleConfig b;
  EXPECT_TRUE(config_differences(a, b).empty());
  b.train.lr = 5.0000000000000001e-4 * (1 + 1e-15);
  b.router.target["code"] = 1;
  const auto differences = config_differences(a, b);
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].key, "router.target");
  EXPECT_EQ(differences[0].before, "{qa: 0.7}");
  EXPECT_EQ(differences[0].after, "{code: 1, qa: 0.7}");
  EXPECT_EQ(differences[1].key, "train.lr");
}

TEST(Schema, Reference) {
  const std::string text = reference_config<ExampleConfig>();
  for (const char* part :
       {"\n# the Attention Router\nrouter:\n  # streaming sparse attention\n  ssa:\n"
        "    # tokens at the start that all heads see (an integer >= 0)\n    sink: 128\n",
        "  # the two modes a head chooses from (fa-ssa or fa-xa)\n  mode: fa-ssa\n",
        "  # bound of the multipliers (none or a number > 0)\n  clamp: none\n", "  trainable: []\n",
        "  lengths: [256, 512]\n",
        "\n# data-parallel ranks (auto or an integer >= 1)\ndata_ranks: auto\n",
        "recompute: \"none\"\n"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nin:\n" << text;
  }
  const auto c = parse_config<ExampleConfig>(text, "reference");
  EXPECT_TRUE(config_differences(c, ExampleConfig{}).empty());
}

}  // namespace
}  // namespace elastron::config
