// The table of the memory-reward spec (4.3; section 8, test 8).
#include "reward/results_table.h"

#include <gtest/gtest.h>

namespace elastron::reward {
namespace {

const std::vector<std::string> kFiles = {
    "Long-context_Reasoning", "Multi-turn_Dialogue_Understanding", "Long-form_Generation"};

TEST(ResultsTable, TheSampleRowsByteForByte) {
  ResultsTable table(kFiles);
  table.add(kFiles[0], "P-Noise", "8k", true);
  table.add(kFiles[0], "S-Drop", "8k", false);
  table.add(kFiles[1], "Mem0-MEM", "8k", true);
  table.add(kFiles[2], "parallel", "8k", true);
  table.add(kFiles[2], "Long-form_Generation", "64k", false);
  EXPECT_EQ(
      table.csv(),
      ",Task,S-Drop,P-Noise,Long-context_Reasoning,Mem0-MEM,Multi-turn_Dialogue_Understanding,"
      "parallel,Long-form_Generation,Avg.\n"
      "0,8k,0.0,1.0,0.5,1.0,1.0,1.0,1.0,0.75\n"
      "1,16k,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0\n"
      "2,32k,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0\n"
      "3,64k,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,0.0,0.0\n"
      "4,128k,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0,-1.0\n"
      "5,AVG.,0.0,1.0,0.5,1.0,1.0,1.0,0.5,0.6\n");
}

TEST(ResultsTable, SharesAreRoundedToFivePlacesAsPythonPrintsThem) {
  ResultsTable table({"f"});
  for (int i = 0; i < 3; ++i) table.add("f", "f", "8k", i < 2);
  for (int i = 0; i < 7; ++i) table.add("f", "f", "16k", i < 1);
  for (int i = 0; i < 100000; ++i) table.add("f", "f", "32k", i < 1);
  const std::string csv = table.csv();
  EXPECT_NE(csv.find("0,8k,0.66667,0.66667\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find("1,16k,0.14286,0.14286\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find("2,32k,1e-05,1e-05\n"), std::string::npos) << csv;
}

TEST(ResultsTable, AFileWithoutRowsHasItsColumn) {
  ResultsTable table({"a", "b"});
  table.add("b", "x", "128k", true);
  EXPECT_EQ(table.csv().substr(0, table.csv().find('\n')), ",Task,a,x,b,Avg.");
  EXPECT_NE(table.csv().find("4,128k,-1.0,1.0,1.0,1.0\n"), std::string::npos);
}

}  // namespace
}  // namespace elastron::reward
