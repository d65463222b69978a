#include "reward/trace_rows.h"

#include <gtest/gtest.h>

#include "reward/rows.h"

namespace elastron::reward {
namespace {

const TracePair kPair = {"Section 1. Who is where?", "Answer: \"here\".", "Answer: there.\n"};

PreferenceRow read(const std::string& text) {
  EXPECT_EQ(text.back(), '\n');
  return parse_preference_row({.text = text.substr(0, text.size() - 1), .number = 1},
                              "pairs.jsonl");
}

TEST(TraceRows, AreReadBackInEitherForm) {
  for (const PairForm form : {PairForm::preference, PairForm::benchmark}) {
    const PreferenceRow row = read(trace_row(kPair, 1, form));
    EXPECT_EQ(row.prompt.at(0).content, kPair.prompt);
    EXPECT_EQ(row.chosen, kPair.chosen);
    EXPECT_EQ(row.rejected, std::vector<std::string>{kPair.rejected});
    EXPECT_EQ(reason_to_leave_out(row), "");
    EXPECT_EQ(row.setting, form == PairForm::benchmark ? "S-Drop" : "");
    EXPECT_EQ(row.length, form == PairForm::benchmark ? "8k" : "");
  }
}

TEST(TraceRows, SettingsAreTheBenchmarksOwn) {
  const char* const names[] = {"S-Noise", "S-Drop", "S-Delayed", "S-Contradictory",
                               "P-Noise", "P-Drop", "P-Delayed", "P-Contradictory"};
  for (int kind = 0; kind < kTraceKinds; ++kind) EXPECT_EQ(trace_setting(kind), names[kind]);
}

TEST(TraceRows, LengthClassesHaveTheirEdgesAtThousands) {
  EXPECT_EQ(length_class(0), "8k");
  EXPECT_EQ(length_class(8000), "8k");
  EXPECT_EQ(length_class(8109), "16k");
  EXPECT_EQ(length_class(49728), "64k");
  EXPECT_EQ(length_class(64001), "128k");
  EXPECT_EQ(length_class(300000), "128k");
  TracePair pair = kPair;  // question and both answers count
  for (int i = 0; i < 3990; ++i) pair.prompt += " word";
  for (int i = 0; i < 4000; ++i) pair.rejected += " word";
  EXPECT_EQ(read(trace_row(pair, 0, PairForm::benchmark)).length, "8k");
  pair.rejected += " word word";
  EXPECT_EQ(read(trace_row(pair, 0, PairForm::benchmark)).length, "16k");
}

}  // namespace
}  // namespace elastron::reward
