// The table of docs/method.md, Results table.
#include "reward/results_table.h"

#include <gtest/gtest.h>

#include "tests/reward/sample_table.h"

namespace elastron::reward {
namespace {

using test::kSampleFiles;
using test::kSampleTable;

TEST(ResultsTable, TheSampleRowsByteForByte) {
  ResultsTable table(kSampleFiles);
  table.add(kSampleFiles[0], "P-Noise", "8k", true);
  table.add(kSampleFiles[0], "S-Drop", "8k", false);
  table.add(kSampleFiles[1], "Mem0-MEM", "8k", true);
  table.add(kSampleFiles[2], "parallel", "8k", true);
  table.add(kSampleFiles[2], "Long-form_Generation", "64k", false);
  EXPECT_EQ(table.csv(), kSampleTable);
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
