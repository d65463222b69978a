// Files of gates and of scores, as baselines publish them and as score-heads writes them.
#include "router/gate_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "router/forced_gate.h"

namespace elastron::router {
namespace {

class GateTable : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return path_;
  }
  void TearDown() override { std::filesystem::remove(path_); }
  // With a colon: a path may have one.
  const std::string path_ =
      ::testing::TempDir() + "/gate:table-" + std::to_string(getpid()) + ".tsv";
};

TEST_F(GateTable, TextAndJsonAreTheSame) {
  const HeadScores want = {{1, 0.25, 0}, {0, 0.5, 1}};
  for (const char* text : {"1\t0.25\t0\n0\t0.5\t1\n", "1.0 2.5e-1 0.0\r\n0 .5 1\r\n",
                           "# of a model\n\n1,0.25,0\n0,0.5,1", "1; 0.25; 0\n0; 0.5; 1\n",
                           "[[1, 0.25, 0], [0, 0.5, 1]]",
                           R"({"scores": [], "kv_scores": [[1, 0.25, 0], [0, 0.5, 1]]})"}) {
    EXPECT_EQ(read_head_scores(write(text), 2, 3), want) << text;
  }
  EXPECT_EQ(parse_force("static:" + path_, 2, 3).gates, (StaticGates{{1, 0, 0}, {0, 1, 1}}));
}

TEST_F(GateTable, BadFilesNameThemselves) {
  for (const char* bad :
       {"", " \n", "# nothing else\n", "1\t0\t1\n", "1\t0\n0\t1\n", "1\t0\t1\n0\t1\n",
        "1\t0\t1\n0\t1\t1\n0\t0\t0\n", "1\tx\t1\n0\t1\t1\n", "1\tnan\t1\n0\t1\t1\n",
        "1\tinf\t1\n0\t1\t1\n", "1\t1e999\t1\n0\t1\t1\n", "1\t0x1\t1\n0\t1\t1\n", "[[1, 0, 1]]",
        "[[1, 0, \"1\"], [0, 1, 1]]", "[1, 0]", "{}", R"({"kv_scores": 3})", "[[1, 0, 1], [0, 1"}) {
    try {
      read_head_scores(write(bad), 2, 3);
      ADD_FAILURE() << "not refused: " << bad;
    } catch (const InputError& e) {
      EXPECT_NE(std::string(e.what()).find(path_), std::string::npos) << e.what();
    }
  }
  std::filesystem::remove(path_);
  EXPECT_THROW(read_head_scores(path_, 2, 3), InputError);
  EXPECT_THROW(read_head_scores(::testing::TempDir(), 2, 3), InputError);
}

TEST_F(GateTable, GatesAreSharesOfOne) {
  EXPECT_THROW(parse_force("static:" + write("1 0 1.5\n0 1 1\n"), 2, 3), InputError);
  EXPECT_THROW(parse_force("static:" + write("1 0 -1\n0 1 1\n"), 2, 3), InputError);
  // As scores they rank heads all the same.
  EXPECT_EQ(parse_force("scores:" + path_ + ":0.5", 2, 3).gates,
            (StaticGates{{1, 0, 0}, {0, 1, 1}}));
}

TEST_F(GateTable, TheLowestScoresAreSparse) {
  write("0.5 0.1 0.5\n-2 7 0.5\n");
  const auto gates = [&](const std::string& msr) {
    return parse_force("scores:" + path_ + ":" + msr, 2, 3).gates;
  };
  EXPECT_EQ(gates("0"), (StaticGates{{1, 1, 1}, {1, 1, 1}}));
  EXPECT_EQ(gates("0.2"), (StaticGates{{1, 1, 1}, {0, 1, 1}}));  // 1.2 heads
  EXPECT_EQ(gates("0.33"), (StaticGates{{1, 0, 1}, {0, 1, 1}}));
  // Of three equal ones the lower layer and head goes first.
  EXPECT_EQ(gates("0.5"), (StaticGates{{0, 0, 1}, {0, 1, 1}}));
  EXPECT_EQ(gates("0.67"), (StaticGates{{0, 0, 0}, {0, 1, 1}}));
  EXPECT_EQ(gates("1"), (StaticGates{{0, 0, 0}, {0, 0, 0}}));
}

TEST_F(GateTable, FormsOfScoresThatAreRefused) {
  write("1 1 1\n1 1 1\n");
  const std::string file = "scores:" + path_;
  for (const std::string& bad :
       {std::string("scores:"), std::string("scores::0.5"), std::string("scores:0.5"), file,
        file + ":", file + ":1.5", file + ":-0.1", file + ":nan"}) {
    EXPECT_THROW(parse_force(bad, 2, 3), UsageError) << bad;
  }
}

}  // namespace
}  // namespace elastron::router
